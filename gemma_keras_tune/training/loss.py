"""Cross-entropy straight from the hidden states, without ever holding all logits.

With Gemma's 262,144-word vocabulary the logits are the largest array of a training step. Here
they exist for one chunk of supervised positions at a time, and the gradient of the hidden states
is made in the same pass, so the backward pass computes nothing again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp


def fused_cross_entropy(
    hidden: jax.Array,
    head: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    *,
    chunk: int = 256,
    softcap: float | None = None,
) -> tuple[jax.Array, jax.Array]:
    """Sum of next-token cross-entropy, and how many tokens it covers.

    Never a mean: micro-batches hold unequal numbers of answer tokens, so only the caller can
    divide correctly, once. Work and memory grow with the supervised positions, not with all.

    Args:
        hidden: `[..., width]` after the final norm, any float dtype.
        head: `[vocab, width]` output projection. Its gradient costs an array of its size, and
            is made only where it is asked for.
        targets: `[...]` int32, the token that follows each position.
        mask: `[...]`, 1 where the target counts, 0 elsewhere.
        chunk: Positions whose logits exist at once.
        softcap: Logits become `softcap * tanh(logits / softcap)`.

    Returns:
        `(loss, count)`, float32 scalars, in nats and tokens.

    Raises:
        ValueError: If shapes disagree.

    Source:
        The gradient made in the forward pass: Hsu et al. 2024, Liger Kernel, arXiv:2410.10989.
    """
    if not hidden.shape[:-1] == targets.shape == mask.shape:
        raise ValueError(
            f"hidden {hidden.shape}, targets {targets.shape} and mask {mask.shape} disagree"
        )
    flat = hidden.reshape(-1, hidden.shape[-1])
    mask = mask.reshape(-1).astype(jnp.float32)
    loss = _summed_loss(flat, head, targets.reshape(-1), mask, chunk, softcap)
    return loss, mask.sum()


def token_log_probabilities(
    hidden: jax.Array,
    head: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    *,
    chunk: int = 256,
    softcap: float | None = None,
) -> jax.Array:
    """Log-probability of each target, `[...]` float32 in nats, 0 where the mask is 0.

    Args are those of `fused_cross_entropy`; there is no gradient.
    """
    flat = hidden.reshape(-1, hidden.shape[-1])
    flat_mask = mask.reshape(-1).astype(jnp.float32)
    chunks = _Chunks(flat, head, targets.reshape(-1), flat_mask, chunk, softcap)

    def add(rows: jax.Array, found: jax.Array) -> jax.Array:
        return found.at[rows].set(-chunks.losses(rows)[0], mode="drop")

    found = chunks.fold(add, jnp.zeros(flat.shape[0], jnp.float32))
    return found.reshape(mask.shape)


class _Chunks:
    """The supervised positions, a few at a time, and what they cost.

    A chunk is a vector of positions; those beyond the last one are out of bounds and weigh 0.
    """

    def __init__(
        self,
        hidden: jax.Array,
        head: jax.Array,
        targets: jax.Array,
        mask: jax.Array,
        size: int,
        softcap: float | None,
    ) -> None:
        arrays = (jnp.asarray(array) for array in (hidden, head, targets, mask))
        self.hidden, self.head, self.targets, self.mask = arrays
        self.softcap = softcap
        total = hidden.shape[0]
        self.size = min(size, total)
        order = jnp.argsort(self.mask == 0, stable=True).astype(jnp.int32)
        self.order = jnp.concatenate([order, jnp.full(self.size, total, jnp.int32)])
        self.count = jnp.count_nonzero(self.mask).astype(jnp.int32)

    def fold(self, step: Callable[[jax.Array, Any], Any], start: Any) -> Any:
        """`step(positions, carry)` over whole chunks, and over the rest in small ones.

        A classification has a handful of answer tokens a batch: computing a whole chunk for
        them would cost more than the model.
        """
        small = max(1, self.size // 8)
        whole = self.count // self.size
        rest = (self.count - whole * self.size + small - 1) // small

        def at(offset: jax.Array, size: int, carry: Any) -> Any:
            return step(jax.lax.dynamic_slice_in_dim(self.order, offset, size), carry)

        carry = jax.lax.fori_loop(
            0, whole, lambda index, carry: at(index * self.size, self.size, carry), start
        )
        first = whole * self.size
        return jax.lax.fori_loop(
            0, rest, lambda index, carry: at(first + index * small, small, carry), carry
        )

    def states(self, rows: jax.Array) -> jax.Array:
        """Hidden states at those positions, `[rows, width]`."""
        return self.hidden.at[rows].get(mode="fill", fill_value=0)

    def losses(self, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`(weighted losses [rows], logits [rows, vocab])`, float32."""
        targets = self.targets.at[rows].get(mode="fill", fill_value=0)
        scores = jnp.matmul(self.states(rows), self.head.T, preferred_element_type=jnp.float32)
        if self.softcap is not None:
            scores = self.softcap * jnp.tanh(scores / self.softcap)
        chosen = jnp.take_along_axis(scores, targets[:, None], axis=-1)[:, 0]
        return (jax.nn.logsumexp(scores, axis=-1) - chosen) * self.weights(rows), scores

    def weights(self, rows: jax.Array) -> jax.Array:
        """The mask at those positions, `[rows]`."""
        return self.mask.at[rows].get(mode="fill", fill_value=0.0)

    def pulls(self, rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`(weighted losses [rows], their gradient with respect to the uncapped logits)`."""
        losses, scores = self.losses(rows)
        weights = self.weights(rows)
        targets = self.targets.at[rows].get(mode="fill", fill_value=0)
        pull = jax.nn.softmax(scores, axis=-1) * weights[:, None]
        pull = pull.at[jnp.arange(rows.size), targets].add(-weights)
        if self.softcap is not None:
            pull *= 1 - (scores / self.softcap) ** 2
        return losses, pull.astype(self.head.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _summed_loss(
    hidden: jax.Array,
    head: jax.Array,
    targets: jax.Array,
    mask: jax.Array,
    size: int,
    softcap: float | None,
) -> jax.Array:
    chunks = _Chunks(hidden, head, targets, mask, size, softcap)
    return chunks.fold(lambda rows, total: total + chunks.losses(rows)[0].sum(), jnp.float32(0))


def _forward(
    hidden: Any, head: Any, targets: Any, mask: Any, size: int, softcap: float | None
) -> tuple[jax.Array, tuple[Any, ...]]:
    """The loss, and the gradients of those inputs that somebody asks for."""
    with_head = head.perturbed
    chunks = _Chunks(hidden.value, head.value, targets.value, mask.value, size, softcap)

    def add(rows: jax.Array, sums: tuple[Any, ...]) -> tuple[Any, ...]:
        total, of_hidden, of_head = sums
        losses, pull = chunks.pulls(rows)
        gradient = jnp.matmul(pull, chunks.head, preferred_element_type=jnp.float32)
        of_hidden = of_hidden.at[rows].set(gradient.astype(of_hidden.dtype), mode="drop")
        if with_head:
            states = chunks.states(rows)
            of_head += jnp.matmul(pull.T, states, preferred_element_type=jnp.float32)
        return total + losses.sum(), of_hidden, of_head

    empty_head = jnp.zeros(head.value.shape, jnp.float32) if with_head else None
    start = (jnp.float32(0), jnp.zeros_like(hidden.value), empty_head)
    total, of_hidden, of_head = chunks.fold(add, start)
    return total, (of_hidden, of_head, head.value if with_head else None)


def _backward(
    size: int, softcap: float | None, kept: tuple[Any, ...], cotangent: Any
) -> tuple[Any, ...]:
    of_hidden, of_head, head = kept
    if of_head is not None:
        of_head = (of_head * cotangent).astype(head.dtype)
    return of_hidden * cotangent.astype(of_hidden.dtype), of_head, None, None


_summed_loss.defvjp(_forward, _backward, symbolic_zeros=True)

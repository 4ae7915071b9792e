"""Cross-entropy straight from the hidden states, without ever holding all logits.

With Gemma's 262,144-word vocabulary the logits are the largest array of a training step. Here
they exist for a few supervised positions and a few thousand words at a time, and the gradient of
the hidden states is made in the same pass: each tile of words adds its share under the highest
logit so far, as attention by blocks does, and the backward pass computes nothing again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ..model.narrow import cut, is_narrow, rows_of, turned
from ..model.tiles import vocabulary_tile

_NONE = float(jnp.finfo(jnp.float32).min)


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
        chunk: Positions at once.
        softcap: Logits become `softcap * tanh(logits / softcap)`.

    Returns:
        `(loss, count)`, float32 scalars, in nats and tokens.

    Raises:
        ValueError: If shapes disagree.

    Source:
        The gradient made in the forward pass: Hsu et al. 2024, Liger Kernel, arXiv:2410.10989;
        the running maximum: Milakov and Gimelshein 2018, arXiv:1805.02867.
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
        return found.at[rows].set(-chunks.losses(rows), mode="drop")

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
        self.words = head.shape[0]
        # Bfloat16 states are turned once; the head's rows would have to be in every tile.
        self.word_axis = 0 if is_narrow(self.head) else 1
        self.tile = min(vocabulary_tile(jax.default_backend()), self.words)

    def fold(self, step: Callable[[jax.Array, Any], Any], start: Any) -> Any:
        """`step(positions, carry)` over whole chunks, and over the rest in smaller ones.

        A classification has a handful of answer tokens a batch: computing a whole chunk for
        them would cost more than the model.
        """
        half, small = max(1, self.size // 2), max(1, self.size // 8)
        whole = self.count // self.size
        rest = self.count - whole * self.size
        is_nearly_whole = rest > half + small
        whole += is_nearly_whole
        rest = jnp.where(is_nearly_whole, 0, rest)
        halves = (rest > small).astype(jnp.int32)
        rest = jnp.maximum(rest - halves * half, 0)
        first, carry = jnp.int32(0), start
        for size, count in ((self.size, whole), (half, halves), (small, -(-rest // small))):

            def at(index: Any, carry: Any, size: int = size, first: jax.Array = first) -> Any:
                rows = jax.lax.dynamic_slice_in_dim(self.order, first + index * size, size)
                return step(rows, carry)

            carry = jax.lax.fori_loop(0, count, at, carry)
            first = first + count * size
        return carry

    def states(self, rows: jax.Array) -> jax.Array:
        """Hidden states at those positions, `[rows, width]`."""
        return self.hidden.at[rows].get(mode="fill", fill_value=0)

    def weights(self, rows: jax.Array) -> jax.Array:
        """The mask at those positions, `[rows]`."""
        return self.mask.at[rows].get(mode="fill", fill_value=0.0)

    def losses(self, rows: jax.Array) -> jax.Array:
        """Weighted losses, `[rows]` float32."""
        log_sum = self._over_words(rows, with_pull=False)[0]
        return (log_sum - self._chosen(rows)[0]) * self.weights(rows)

    def losses_and_pulls(self, rows: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """`(losses [rows], gradient of the states [rows, width], log-sums [rows])`, float32."""
        weights = self.weights(rows)
        log_sum, mean = self._over_words(rows, with_pull=True)
        chosen, slope, word = self._chosen(rows)
        pull = (mean - slope[:, None] * word.astype(jnp.float32)) * weights[:, None]
        return (log_sum - chosen) * weights, pull, log_sum

    def head_pull(self, rows: jax.Array, log_sum: jax.Array, of_head: jax.Array) -> jax.Array:
        """`of_head`, `[vocab, width]` float32, with those positions' gradient of the head added."""
        states, weights = self.states(rows), self.weights(rows)
        columns = self._as_columns(states)
        of_rows = partial(jnp.expand_dims, axis=self.word_axis)

        def add(of_head: jax.Array, index: jax.Array) -> tuple[jax.Array, None]:
            start, words, is_new = self._tile(index)
            scores, slope = self._scores(columns, words)
            shares = jnp.where(is_new, jnp.exp(scores - of_rows(log_sum)) * slope, 0.0)
            shares = (shares * of_rows(weights)).astype(words.dtype)
            by_words = shares if self.word_axis == 0 else shares.T
            more = jnp.matmul(by_words, states, preferred_element_type=jnp.float32)
            old = jax.lax.dynamic_slice_in_dim(of_head, start, self.tile)
            return jax.lax.dynamic_update_slice_in_dim(of_head, old + more, start, axis=0), None

        of_head, _ = jax.lax.scan(add, of_head, jnp.arange(-(-self.words // self.tile)))
        _, slope, _ = self._chosen(rows)
        targets = self.targets.at[rows].get(mode="fill", fill_value=0)
        own = states.astype(jnp.float32) * (slope * weights)[:, None]
        return of_head.at[targets].add(-own)

    def _over_words(self, rows: jax.Array, *, with_pull: bool) -> tuple[jax.Array, jax.Array]:
        """`(log-sum of the exponentials [rows], mean of the head's rows under them [rows, width])`.

        Where logits are capped, each word's share in the mean is bent by the cap's slope. Without
        `with_pull` the mean is zeros.
        """
        states, count = self._as_columns(self.states(rows)), rows.size
        of_rows = partial(jnp.expand_dims, axis=self.word_axis)

        def add(carry: Any, index: jax.Array) -> tuple[Any, None]:
            top, total, mean = carry
            _, words, is_new = self._tile(index)
            scores, slope = self._scores(states, words)
            scores = jnp.where(is_new, scores, _NONE)
            higher = jnp.maximum(top, scores.max(axis=self.word_axis))
            shares, shrink = jnp.exp(scores - of_rows(higher)), jnp.exp(top - higher)
            total = total * shrink + shares.sum(axis=self.word_axis)
            if with_pull:
                bent = (shares * slope).astype(words.dtype)
                by_rows = bent if self.word_axis == 1 else turned(bent)
                more = jnp.matmul(by_rows, words, preferred_element_type=jnp.float32)
                mean = mean * shrink[:, None] + more
            return (higher, total, mean), None

        nothing = jnp.zeros((count, self.head.shape[1]), jnp.float32)
        start = (jnp.full(count, _NONE), jnp.zeros(count, jnp.float32), nothing)
        tiles = jnp.arange(-(-self.words // self.tile))
        (top, total, mean), _ = jax.lax.scan(add, start, tiles)
        return top + jnp.log(total), mean / total[:, None]

    def _tile(self, index: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """`(first word, their rows of the head [tile, width], which weren't seen before)`.

        The last tile begins early where the vocabulary is no multiple. What was seen is shaped to
        stand beside logits.
        """
        start = jnp.minimum(index * self.tile, self.words - self.tile)
        words = cut(self.head, start, self.tile)
        is_new = start + jnp.arange(self.tile) >= index * self.tile
        return start, words, jnp.expand_dims(is_new, 1 - self.word_axis)

    def _as_columns(self, states: jax.Array) -> jax.Array:
        """States `[rows, width]` as `_scores` wants them."""
        return states if self.word_axis == 1 else turned(states)

    def _scores(self, states: jax.Array, words: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`(logits [rows, tile], slope of the cap)`, float32; turned where `word_axis` is 0."""
        pair = (states, words.T) if self.word_axis == 1 else (words, states)
        return self._capped(jnp.matmul(*pair, preferred_element_type=jnp.float32))

    def _chosen(self, rows: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """`(logits of the targets [rows], slopes [rows], the head's rows [rows, width])`."""
        targets = self.targets.at[rows].get(mode="fill", fill_value=0)
        words = rows_of(self.head, targets)
        raw = jnp.einsum("rw,rw->r", self.states(rows), words, preferred_element_type=jnp.float32)
        scores, slope = self._capped(raw)
        return scores, jnp.broadcast_to(slope, scores.shape), words

    def _capped(self, scores: jax.Array) -> tuple[jax.Array, jax.Array]:
        if self.softcap is None:
            return scores, jnp.ones((), jnp.float32)
        bent = jnp.tanh(scores / self.softcap)
        return self.softcap * bent, 1 - bent**2


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
    return chunks.fold(lambda rows, total: total + chunks.losses(rows).sum(), jnp.float32(0))


def _forward(
    hidden: Any, head: Any, targets: Any, mask: Any, size: int, softcap: float | None
) -> tuple[jax.Array, tuple[Any, ...]]:
    """The loss, and the gradients of those inputs that somebody asks for."""
    with_head = head.perturbed
    chunks = _Chunks(hidden.value, head.value, targets.value, mask.value, size, softcap)

    def add(rows: jax.Array, sums: tuple[Any, ...]) -> tuple[Any, ...]:
        total, of_hidden, of_head = sums
        losses, pull, log_sum = chunks.losses_and_pulls(rows)
        of_hidden = of_hidden.at[rows].set(pull.astype(of_hidden.dtype), mode="drop")
        if with_head:
            of_head = chunks.head_pull(rows, log_sum, of_head)
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

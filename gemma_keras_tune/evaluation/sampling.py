"""The choice of the next token: temperature, top-k and top-p as in `transformers`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

_TOP_K_SIZES = 64  # top-k's compiled size is this, doubled until it holds k
_RUN = 1024  # tokens among which the largest logit's place is looked for
_NUCLEUS_SIZE = 1024  # top-p looks among so many tokens first, and among all only if it must


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("temperature", "top_k", "top_p"),
    meta_fields=("greedy", "top_k_size", "nucleus"),
)
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are chosen. The numbers are arrays, so that changing them compiles nothing.

    Attributes:
        temperature: float32 scalar that the logits are divided by.
        top_k: int32 scalar, tokens to choose among; read only where `top_k_size` is not 0.
        top_p: float32 scalar, read only where `nucleus` is set.
        greedy: Take the most probable token; all else is without effect.
        top_k_size: How many of the largest logits are looked at for top-k; 0 for no top-k.
        nucleus: Whether there is a top-p.
    """

    temperature: jax.Array
    top_k: jax.Array
    top_p: jax.Array
    greedy: bool
    top_k_size: int
    nucleus: bool


def make_sampling(
    temperature: float, top_k: int | None, top_p: float | None, *, vocab_size: int
) -> Sampling:
    """The checked settings.

    Args:
        temperature: 0 for the most probable token, else what the logits are divided by.
        top_k: Choose among so many most probable tokens; more than there are means all.
        top_p: Choose among the most probable tokens that together have this probability.
        vocab_size: Number of tokens.

    Raises:
        ValueError: If a value is outside its range.
    """
    if not 0 <= temperature < float("inf"):
        raise ValueError(f"temperature must be a finite number of at least 0, not {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1 or None, not {top_k}")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie above 0 and be at most 1, or be None, not {top_p}")
    greedy = temperature == 0
    size = 0
    if top_k is not None and top_k < vocab_size and not greedy:
        size = _TOP_K_SIZES
        while size < top_k:
            size *= 2
    return Sampling(
        temperature=jnp.float32(1.0 if greedy else temperature),
        top_k=jnp.int32(min(top_k or 1, vocab_size)),
        top_p=jnp.float32(1.0 if top_p is None else top_p),
        greedy=greedy,
        top_k_size=min(size, vocab_size),
        nucleus=top_p is not None and top_p < 1 and not greedy,
    )


def choose(logits: jax.Array, sampling: Sampling, keys: jax.Array) -> jax.Array:
    """The chosen token of every row, `[batch]` int32.

    Args:
        logits: `[batch, vocab]` float32.
        sampling: The settings.
        keys: `[batch]` random keys, one a row, so that a row's choice is its own affair.
    """
    if not sampling.greedy:
        noise = jax.vmap(partial(jax.random.gumbel, shape=logits.shape[1:]))(keys)
        logits = filtered_logits(logits, sampling) + noise
    return argmax(logits)


def argmax(logits: jax.Array) -> jax.Array:
    """The place of each row's largest number, `[batch]` int32; of equal ones the first.

    First among runs of a row, then within one run: a CPU finds a maximum many times faster than
    its place. The barrier has the numbers made once, not for each of the two.

    Args:
        logits: `[batch, vocab]`.
    """
    size = math.gcd(logits.shape[-1], _RUN)
    runs = jax.lax.optimization_barrier(logits).reshape(len(logits), -1, size)
    best = jnp.argmax(runs.max(axis=-1), axis=-1, keepdims=True)
    run = jnp.take_along_axis(runs, best[:, :, None], axis=1)[:, 0]
    return (best[:, 0] * size + jnp.argmax(run, axis=-1)).astype(jnp.int32)


def filtered_logits(logits: jax.Array, sampling: Sampling) -> jax.Array:
    """Logits over the temperature, with -inf at the tokens that top-k, then top-p, rule out.

    Tokens of equal logits stay or go together; `transformers` does the same for top-k, and for
    top-p keeps whichever its sort puts first.

    Args:
        logits: `[batch, vocab]` float32.
        sampling: The settings; `greedy` is not looked at.

    Source:
        Fan et al. 2018, arXiv:1805.04833 (top-k); Holtzman et al. 2019, arXiv:1904.09751
        (top-p, among what top-k left).
    """
    logits = logits / sampling.temperature
    if sampling.top_k_size:
        largest = jax.lax.top_k(logits, sampling.top_k_size)[0]
        last = jnp.take(largest, sampling.top_k - 1, axis=-1)
        logits = jnp.where(logits < last[:, None], -jnp.inf, logits)
    if sampling.nucleus:
        last = _last_of_nucleus(logits, sampling.top_p)
        logits = jnp.where(logits < last[:, None], -jnp.inf, logits)
    return logits


def _last_of_nucleus(logits: jax.Array, top_p: jax.Array) -> jax.Array:
    """The smallest logit that top-p keeps, `[batch]`, or less where it keeps all.

    A token is kept while the tokens above it have less than `top_p` together.
    """
    total = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    largest = jax.lax.top_k(logits, min(_NUCLEUS_SIZE, logits.shape[-1]))[0]
    shares = jnp.exp(largest - total)
    together = jnp.cumsum(shares, axis=-1)
    kept = jnp.sum(together - shares < top_p, axis=-1)
    last = jnp.take_along_axis(largest, kept[:, None] - 1, axis=-1)[:, 0]
    if logits.shape[-1] <= _NUCLEUS_SIZE:
        return last
    enough = jnp.all(together[:, -1] >= top_p)
    return jax.lax.cond(enough, lambda: last, lambda: _bisected(logits, total, top_p))


def _bisected(logits: jax.Array, total: jax.Array, top_p: jax.Array) -> jax.Array:
    """What `_last_of_nucleus` gives, looked for among all tokens.

    What lies between the smallest and the largest float32 number is halved 32 times, in the order
    of their bits: so many sums over the tokens are many times quicker than sorting them.
    """
    shares, places = jnp.exp(logits - total), _in_order(logits)
    batch = len(logits)

    def halve(_: int, between: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = between
        middle = (low & high) + ((low ^ high) >> 1)
        above = jnp.where(places > middle[:, None], shares, 0).sum(axis=-1)
        is_kept = above < top_p
        return jnp.where(is_kept, low, middle), jnp.where(is_kept, middle, high)

    low = jnp.full(batch, _in_order(jnp.float32(-jnp.inf)) - 1)
    high = jnp.full(batch, _in_order(jnp.float32(jnp.inf)))
    _, found = jax.lax.fori_loop(0, 32, halve, (low, high))
    return jax.lax.bitcast_convert_type(_in_order_bits(found), jnp.float32)


def _in_order(numbers: jax.Array) -> jax.Array:
    """int32 in the order of float32 numbers."""
    return _in_order_bits(jax.lax.bitcast_convert_type(numbers, jnp.int32))


def _in_order_bits(bits: jax.Array) -> jax.Array:
    """From the bits of float32 numbers to integers in their order, and back."""
    return jnp.where(bits < 0, bits ^ jnp.int32(0x7FFFFFFF), bits)

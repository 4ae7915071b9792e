"""Attention over long rows a block at a time: no array of [length, length] ever exists.

The scores of a block of queries with a block of keys are computed, used, and forgotten; the
backward pass computes them again from each query's log-sum. Blocks that no query can see (later
ones, those beyond the window, those of segments that ended before) are not computed at all.

Source:
    Dao 2023, FlashAttention-2, algorithms 1 and 2, arXiv:2307.08691. Plain XLA, for any device.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .narrow import kept

ATTENDED = "attended"
"""What is kept of attention where the backward pass computes the rest again."""

_MASKED = float(jnp.finfo(jnp.float32).min)
NOBODY = -1
"""The segment of what a row is padded with."""


@dataclass(frozen=True, kw_only=True)
class BlockSettings:
    """What is known when the program is compiled.

    Attributes:
        block: Queries, and keys, of a block.
        window: How far back a query sees in a local layer, its own token included.
        softcap: Scores become `softcap * tanh(scores / softcap)`.
    """

    block: int
    window: int
    softcap: float | None = None


class Places(NamedTuple):
    """Where the tokens of a batch stand.

    Attributes:
        positions: `[batch, length]` int32, counted from 0 in each segment.
        segments: `[batch, length]` int32. The tokens of a segment stand together, in order.
        branches: `[batch, length]` int32; those of branch 0 are seen by the whole segment, those
            of another only by their own. None where there are none.
    """

    positions: jax.Array
    segments: jax.Array
    branches: jax.Array | None = None


def blockwise_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    places: Places,
    is_local: bool | jax.Array,
    settings: BlockSettings,
) -> jax.Array:
    """Attended values, `[batch, length, heads, head_dim]`, as `attention` gives with a mask.

    Scores, their softmax and the sums of values are float32.

    Args:
        query: `[batch, length, heads, head_dim]`, already scaled.
        key: `[batch, length, kv_heads, head_dim]`; each serves heads / kv_heads query heads.
        value: Shaped like `key`.
        places: Where the tokens stand.
        is_local: Whether the window counts; known now, or when the program runs.
        settings: Blocks, window and cap.
    """
    batch, length, heads, head_dim = query.shape
    kv_heads = key.shape[2]
    more = -length % settings.block
    grouped = query.reshape(batch, length, kv_heads, heads // kv_heads, head_dim)
    q = padded(jnp.moveaxis(grouped, 1, 3), more, axis=3)
    k, v = (padded(jnp.moveaxis(array, 1, 2), more, axis=2) for array in (key, value))
    positions, segments, branches = places
    filled = Places(
        padded(positions, more, axis=1),
        padded(segments, more, axis=1, fill=NOBODY),
        None if branches is None else padded(branches, more, axis=1),
    )
    out = _attend(q, k, v, filled, jnp.asarray(is_local), settings)
    return jnp.moveaxis(out[..., :length, :], 3, 1).reshape(batch, length, heads, head_dim)


def padded(array: jax.Array, more: int, *, axis: int, fill: int = 0) -> jax.Array:
    """The array with so many more entries, all `fill`, at the end of an axis."""
    width = [(0, more if at == axis else 0) for at in range(array.ndim)]
    return jnp.pad(array, width, constant_values=fill)


class _Blocks:
    """The blocks of a batch: which see which, and their scores.

    Queries are `[batch, kv_heads, group, length, head_dim]`, keys and values
    `[batch, kv_heads, length, head_dim]`.
    """

    def __init__(
        self, places: Places, is_local: jax.Array, settings: BlockSettings, length: int
    ) -> None:
        self.places, self.is_local, self.settings = places, is_local, settings
        self.size, self.count = settings.block, length // settings.block

    def first_keys(self) -> jax.Array:
        """The first block of keys that each block of queries sees, `[blocks]` int32."""
        index = jnp.arange(self.places.segments.shape[1])
        segments = self.places.segments
        begins = jnp.concatenate(
            [jnp.ones_like(segments[:, :1], bool), segments[:, 1:] != segments[:, :-1]], axis=1
        )
        starts = jax.lax.cummax(jnp.where(begins, index, 0), axis=1)
        first = starts[:, :: self.size].min(axis=0)
        if self.places.branches is None:  # then distances are those of positions
            reached = index[:: self.size] - (self.settings.window - 1)
            first = jnp.where(self.is_local, jnp.maximum(first, reached), first)
        return first // self.size

    def part(self, array: jax.Array, index: jax.Array, *, axis: int) -> jax.Array:
        """One block of an array."""
        return jax.lax.dynamic_slice_in_dim(array, index * self.size, self.size, axis=axis)

    def seen(self, queries: jax.Array, keys: jax.Array) -> jax.Array:
        """`[batch, 1, 1, block, block]` bool: which key each query sees."""

        def both(array: jax.Array) -> tuple[jax.Array, jax.Array]:
            of_queries, of_keys = (self.part(array, at, axis=1) for at in (queries, keys))
            return of_queries[:, :, None], of_keys[:, None, :]

        (q_at, k_at), (q_in, k_in) = both(self.places.positions), both(self.places.segments)
        distance = q_at - k_at
        seen = (q_in == k_in) & (distance >= 0)
        seen &= jnp.logical_not(self.is_local) | (distance < self.settings.window)
        if self.places.branches is not None:
            q_of, k_of = both(self.places.branches)
            seen &= (q_of == k_of) | (k_of == 0)
        return seen[:, None, None]

    def scores(
        self, q: jax.Array, k: jax.Array, queries: jax.Array, keys: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """`(scores, slope)` of two blocks, `[batch, kv_heads, group, block, block]` float32.

        The slope is that of the cap, by which a gradient of the scores is to be multiplied.
        """
        raw = jnp.einsum("bkgqd,bksd->bkgqs", q, k, preferred_element_type=jnp.float32)
        slope = jnp.ones((), jnp.float32)
        if self.settings.softcap is not None:
            bent = jnp.tanh(raw / self.settings.softcap)
            raw, slope = self.settings.softcap * bent, 1 - bent**2
        return jnp.where(self.seen(queries, keys), raw, _MASKED), slope


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    places: Places,
    is_local: jax.Array,
    settings: BlockSettings,
) -> jax.Array:
    return _forward(q, k, v, places, is_local, settings)[0]


def _forward(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    places: Places,
    is_local: jax.Array,
    settings: BlockSettings,
) -> tuple[jax.Array, Any]:
    """The attended values, and with them what the backward pass needs."""
    blocks = _Blocks(places, is_local, settings, q.shape[3])
    first = blocks.first_keys()

    def one_block(_: None, index: jax.Array) -> tuple[None, Any]:
        of_q = blocks.part(q, index, axis=3)

        def add(keys: jax.Array, carry: Any) -> Any:
            top, total, out = carry
            scores, _ = blocks.scores(of_q, blocks.part(k, keys, axis=2), index, keys)
            higher = jnp.maximum(top, scores.max(axis=-1, keepdims=True))
            shares = jnp.exp(scores - higher)
            shrink = jnp.exp(top - higher)
            added = jnp.einsum(
                "bkgqs,bksd->bkgqd",
                shares.astype(v.dtype),
                blocks.part(v, keys, axis=2),
                preferred_element_type=jnp.float32,
            )
            total = total * shrink + shares.sum(axis=-1, keepdims=True)
            return higher, total, out * shrink + added

        column = (*of_q.shape[:-1], 1)
        start = (
            jnp.full(column, _MASKED, jnp.float32),
            jnp.zeros(column, jnp.float32),
            jnp.zeros(of_q.shape, jnp.float32),
        )
        top, total, out = jax.lax.fori_loop(first[index], index + 1, add, start)
        return None, ((out / total).astype(v.dtype), (top + jnp.log(total))[..., 0])

    _, (outs, log_sums) = jax.lax.scan(one_block, None, jnp.arange(blocks.count))
    out = _joined(outs)
    log_sum = jnp.moveaxis(log_sums, 0, 3).reshape(out.shape[:-1])
    out, log_sum = kept(out, ATTENDED), kept(log_sum, ATTENDED)
    return out, (q, k, v, places, is_local, out, log_sum)


def _backward(settings: BlockSettings, kept: Any, pull: jax.Array) -> tuple[Any, ...]:
    q, k, v, places, is_local, out, log_sum = kept
    blocks = _Blocks(places, is_local, settings, q.shape[3])
    first = blocks.first_keys()
    pull = pull.astype(v.dtype)
    mean = jnp.einsum("bkgqd,bkgqd->bkgq", pull, out, preferred_element_type=jnp.float32)

    def one_block(carry: Any, index: jax.Array) -> tuple[Any, jax.Array]:
        of_q, of_pull = (blocks.part(array, index, axis=3) for array in (q, pull))
        of_log_sum, of_mean = (
            blocks.part(array, index, axis=3)[..., None] for array in (log_sum, mean)
        )

        def add(keys: jax.Array, carry: Any) -> Any:
            q_pull, k_pull, v_pull = carry
            of_k, of_v = (blocks.part(array, keys, axis=2) for array in (k, v))
            scores, slope = blocks.scores(of_q, of_k, index, keys)
            shares = jnp.exp(scores - of_log_sum)
            share_pull = jnp.einsum(
                "bkgqd,bksd->bkgqs", of_pull, of_v, preferred_element_type=jnp.float32
            )
            score_pull = (shares * (share_pull - of_mean) * slope).astype(q.dtype)
            shares = shares.astype(v.dtype)
            q_pull += _product("bkgqs,bksd->bkgqd", score_pull, of_k)
            k_pull = _added(k_pull, _product("bkgqs,bkgqd->bksd", score_pull, of_q), keys)
            v_pull = _added(v_pull, _product("bkgqs,bkgqd->bksd", shares, of_pull), keys)
            return q_pull, k_pull, v_pull

        def _added(whole: jax.Array, more: jax.Array, at: jax.Array) -> jax.Array:
            new = blocks.part(whole, at, axis=2) + more
            return jax.lax.dynamic_update_slice_in_dim(whole, new, at * blocks.size, axis=2)

        start = (jnp.zeros(of_q.shape, jnp.float32), *carry)
        q_pull, *carry = jax.lax.fori_loop(first[index], index + 1, add, start)
        return tuple(carry), q_pull.astype(q.dtype)

    start = (jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32))
    (k_pull, v_pull), q_pulls = jax.lax.scan(one_block, start, jnp.arange(blocks.count))
    return _joined(q_pulls), k_pull.astype(k.dtype), v_pull.astype(v.dtype), None, None


def _product(form: str, one: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.einsum(form, one, other, preferred_element_type=jnp.float32)


def _joined(parts: jax.Array) -> jax.Array:
    """`[blocks, batch, kv_heads, group, block, head_dim]` as one array along the length."""
    blocks, *front, size, head_dim = parts.shape
    return jnp.moveaxis(parts, 0, 3).reshape(*front, blocks * size, head_dim)


_attend.defvjp(_forward, _backward)

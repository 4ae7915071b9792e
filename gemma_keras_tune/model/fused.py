"""Attention over long rows in kernels of our own for a GPU, by Pallas and Triton.

It gives what `blockwise_attention` gives, and like it never holds an array of [length, length]:
the scores of a tile stay in the GPU's registers. Tiles that no query of a layer sees are not
visited. Elsewhere than on a GPU Pallas interprets the kernels, slowly; that is for tests.

Source:
    Dao 2023, FlashAttention-2, algorithms 1 and 2, arXiv:2307.08691.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from .blockwise import ATTENDED, NOBODY, BlockSettings, Places, padded
from .dealt_heads import Heads, on_each_device
from .narrow import kept

_MASKED = float(jnp.finfo(jnp.float32).min)
_LOG2_E = 1.4426950408889634  # a GPU has powers of two, not of e


@dataclass(frozen=True, kw_only=True)
class _Tiles:
    """How the work is cut, known when the program is compiled.

    Attributes:
        held: Tokens whose numbers a program keeps in registers: a power of two.
        passed: Tokens of a tile that passes by them: a power of two, at most `held`.
        softcap: Scores become `softcap * tanh(scores / softcap)`.
    """

    held: int
    passed: int
    softcap: float | None

    @classmethod
    def of(cls, settings: BlockSettings, head_dim: int, *, backward: bool = False) -> _Tiles:
        """Tiles that pass two at a time through what a program has of a GPU's shared memory.

        Triton 3.9 compiles them for compute capabilities 8.0 to 12.0 with at most 98 KB of it, of
        99 that the smallest has, and (nearly) without spilling registers.
        """
        passed = max(16, (4096 if backward else 8192) // head_dim)
        held = settings.block
        return cls(held=held, passed=min(held, passed), softcap=settings.softcap)


class _Span(NamedTuple):
    """Which tokens each block of them has to do with.

    Attributes:
        segments: `[batch, length]` int32.
        window: `[1]` int32; how far back a query sees, its own token included.
        first_key: `[batch, blocks]` int32; the first that a block of queries sees.
        last_query: `[batch, blocks]` int32; the last that sees a block of keys.
    """

    segments: jax.Array
    window: jax.Array
    first_key: jax.Array
    last_query: jax.Array


def fused_attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    places: Places,
    is_local: bool | jax.Array,
    settings: BlockSettings,
    mesh: Mesh | None = None,
) -> jax.Array:
    """Attended values, `[batch, length, heads, head_dim]` in the query's dtype.

    Scores, their softmax and the sums of values are float32.

    Args:
        query: `[batch, length, heads, head_dim]`, already scaled; head_dim is a power of two.
        key: `[batch, length, kv_heads, head_dim]`; each serves heads / kv_heads query heads.
        value: Shaped like `key`.
        places: Where the tokens stand; distances are those within the row, so no branches.
        is_local: Whether the window counts; known now, or when the program runs.
        settings: Blocks, window and cap; a block is a power of two, 16 or more.
        mesh: The mesh that the weights lie on, over whose `model` the heads are dealt out; None
            for a single device.

    Raises:
        ValueError: If there are branches.
    """
    if places.branches is not None:
        raise ValueError("fused attention knows no branches: attend to them by blocks")
    length = query.shape[1]
    more = -length % settings.block
    q, k, v = (jnp.moveaxis(padded(array, more, axis=1), 2, 1) for array in (query, key, value))
    segments = padded(places.segments, more, axis=1, fill=NOBODY)
    attend: Callable[..., Heads] = partial(_attend_in, settings=settings)
    if mesh is not None:
        attend = on_each_device(attend, mesh, heads=q.shape[1], kv_heads=k.shape[1])
    out = attend(q, k, v, segments, jnp.asarray(is_local))
    return jnp.moveaxis(out, 1, 2)[:, :length]


def _attend_in(
    q: Heads,
    k: Heads,
    v: Heads,
    segments: jax.Array,
    is_local: jax.Array,
    *,
    settings: BlockSettings,
) -> Heads:
    """Attended values of one device's heads, shaped like `q`."""
    window = jnp.where(is_local, settings.window, segments.shape[1]).astype(jnp.int32)
    return _attend(q, k, v, _span(segments, window, settings.block), settings)


def _span(segments: jax.Array, window: jax.Array, held: int) -> _Span:
    length = segments.shape[1]
    index = jnp.arange(length, dtype=jnp.int32)
    edge = segments[:, 1:] != segments[:, :-1]
    side = jnp.ones_like(segments[:, :1], bool)
    begins, ends = jnp.concatenate([side, edge], 1), jnp.concatenate([edge, side], 1)
    start = jax.lax.cummax(jnp.where(begins, index, 0), axis=1)
    last = jax.lax.cummin(jnp.where(ends, index, length - 1), axis=1, reverse=True)
    first_key = jnp.maximum(start, index - (window - 1))
    last_query = jnp.minimum(last, index + (window - 1))
    blocks = (segments.shape[0], -1, held)
    return _Span(
        segments=segments,
        window=window.reshape(1),
        first_key=first_key.reshape(blocks).min(axis=2),
        last_query=last_query.reshape(blocks).max(axis=2),
    )


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend(q: Heads, k: Heads, v: Heads, span: _Span, settings: BlockSettings) -> Heads:
    return _forward(q, k, v, span, settings)[0]


def _forward(
    q: Heads, k: Heads, v: Heads, span: _Span, settings: BlockSettings
) -> tuple[Heads, Any]:
    """The attended values, and with them what the backward pass needs."""
    call = _Call(q, k, _Tiles.of(settings, q.shape[-1]))
    out, log_sum = call.by_queries(
        _forward_kernel,
        inputs=[(q, call.own_q), (k, call.all_k), (v, call.all_k)],
        outputs=[(q, call.own_q), (call.log_sums, call.own_sums)],
        span=span,
        name="fused_attention",
    )
    out, log_sum = kept(out, ATTENDED), kept(log_sum, ATTENDED)
    return out, (q, k, v, span, out, log_sum)


def _backward(settings: BlockSettings, saved: Any, pull: Heads) -> tuple[Any, ...]:
    q, k, v, span, out, log_sum = saved
    call = _Call(q, k, _Tiles.of(settings, q.shape[-1], backward=True))
    pull = pull.astype(v.dtype)
    mean = jnp.sum(pull.astype(jnp.float32) * out.astype(jnp.float32), axis=-1)
    (q_pull,) = call.by_queries(
        _queries_kernel,
        inputs=[
            *((q, call.own_q), (k, call.all_k), (v, call.all_k)),
            *((pull, call.own_q), (log_sum, call.own_sums), (mean, call.own_sums)),
        ],
        outputs=[(q, call.own_q)],
        span=span,
        name="fused_attention_queries",
    )
    k_pull, v_pull = call.by_keys(
        _keys_kernel,
        inputs=[
            *((q, call.all_q), (k, call.own_k), (v, call.own_k)),
            *((pull, call.all_q), (log_sum, call.all_sums), (mean, call.all_sums)),
        ],
        outputs=[(k, call.own_k), (v, call.own_k)],
        span=span,
        name="fused_attention_keys",
    )
    return q_pull, k_pull, v_pull, None


_attend.defvjp(_forward, _backward)


class _Call:
    """The kernels' grids, and which part of each array a program sees.

    The grid is (blocks, rows, heads): a GPU goes through the blocks first, so that programs that
    read the same keys run side by side.
    """

    def __init__(self, q: Heads, k: Heads, tiles: _Tiles) -> None:
        from jax.experimental import pallas as pl

        self.tiles = tiles
        self.batch, self.heads, length, head_dim = q.shape
        self.kv_heads = k.shape[1]
        self.blocks = length // tiles.held
        group = self.heads // self.kv_heads
        self.log_sums = jax.ShapeDtypeStruct(q.shape[:3], jnp.float32)
        held = tiles.held
        own, whole = (None, None, held, head_dim), (None, None, length, head_dim)
        self.own_q = pl.BlockSpec(own, lambda i, b, h: (b, h, i, 0))
        self.own_k = self.own_q
        self.own_sums = pl.BlockSpec((None, None, held), lambda i, b, h: (b, h, i))
        self.all_k = pl.BlockSpec(whole, lambda i, b, h: (b, h // group, 0, 0))
        self.all_q = pl.BlockSpec((None, group, length, head_dim), lambda i, b, h: (b, h, 0, 0))
        self.all_sums = pl.BlockSpec((None, group, length), lambda i, b, h: (b, h, 0))

    def by_queries(self, kernel: Callable[..., None], **how: Any) -> tuple[jax.Array, ...]:
        """A program for each block of queries and each of their heads."""
        return self._run(kernel, heads=self.heads, **how)

    def by_keys(self, kernel: Callable[..., None], **how: Any) -> tuple[jax.Array, ...]:
        """A program for each block of keys and each of their heads, with all queries of it."""
        return self._run(kernel, heads=self.kv_heads, **how)

    def _run(
        self,
        kernel: Callable[..., None],
        *,
        heads: int,
        inputs: list[tuple[jax.Array, Any]],
        outputs: list[tuple[Any, Any]],
        span: _Span,
        name: str,
    ) -> tuple[jax.Array, ...]:
        from jax.experimental import pallas as pl
        from jax.experimental.pallas import triton

        own_row = partial(pl.BlockSpec, index_map=lambda i, b, h: (b, 0))
        places: list[Any] = [
            own_row((None, span.segments.shape[1])),
            pl.BlockSpec((1,), lambda i, b, h: (0,)),
            own_row((None, self.blocks)),
            own_row((None, self.blocks)),
        ]
        found: tuple[jax.Array, ...] = pl.pallas_call(
            partial(kernel, tiles=self.tiles),
            grid=(self.blocks, self.batch, heads),
            in_specs=[_Span(*places), *(spec for _, spec in inputs)],
            out_specs=tuple(spec for _, spec in outputs),
            out_shape=tuple(jax.ShapeDtypeStruct(like.shape, like.dtype) for like, _ in outputs),
            compiler_params=triton.CompilerParams(num_warps=8, num_stages=2),
            interpret=jax.default_backend() != "gpu",
            name=name,
        )(span, *(array for array, _ in inputs))
        return found


class _Scores:
    """Scores of one tile of queries with one of keys, in powers of two."""

    def __init__(self, span: _Span, tiles: _Tiles) -> None:
        self.span, self.tiles = span, tiles
        self.window = span.window[0]

    def of(self, q: jax.Array, k: jax.Array, queries: Any, keys: Any) -> tuple[Any, Any]:
        """`(scores, slope)`, `[queries, keys]` float32; the slope is the cap's, None without.

        Args:
            q: `[queries, head_dim]`.
            k: `[keys, head_dim]`.
            queries: Where the queries stand in the row, a slice.
            keys: Where the keys stand.
        """
        raw, slope = _dot(q, k.T), None
        if self.tiles.softcap is not None:
            bent = jnp.tanh(raw / self.tiles.softcap)
            raw, slope = self.tiles.softcap * bent, 1 - bent * bent
        return jnp.where(self._seen(queries, keys), raw * _LOG2_E, _MASKED), slope

    def _seen(self, queries: Any, keys: Any) -> jax.Array:
        q_in, k_in = self.span.segments[queries], self.span.segments[keys]
        q_at, k_at = (part.start + jnp.arange(part.size) for part in (queries, keys))
        distance = q_at[:, None] - k_at[None, :]
        seen = (distance >= 0) & (distance < self.window)
        return seen & (q_in[:, None] == k_in[None, :])


def _dot(one: jax.Array, other: jax.Array) -> jax.Array:
    return jnp.dot(one, other, preferred_element_type=jnp.float32)


def _tile(at: Any, size: int) -> Any:
    from jax.experimental import pallas as pl

    return pl.ds(at * size, size)


def _program() -> Any:
    from jax.experimental import pallas as pl

    return pl.program_id(0)


def _tiles_of_keys(span: _Span, at: Any, tiles: _Tiles) -> tuple[Any, Any]:
    """The first tile of keys that a block of queries sees, and the one after its own last."""
    return span.first_key[at] // tiles.passed, (at + 1) * (tiles.held // tiles.passed)


def _forward_kernel(
    span: _Span, q_ref: Any, k_ref: Any, v_ref: Any, out_ref: Any, sums_ref: Any, *, tiles: _Tiles
) -> None:
    at, scores = _program(), _Scores(span, tiles)
    queries, q = _tile(at, tiles.held), q_ref[...]

    def add(tile: Any, carry: Any) -> Any:
        top, total, out = carry
        keys = _tile(tile, tiles.passed)
        found, _ = scores.of(q, k_ref[keys, :], queries, keys)
        higher = jnp.maximum(top, found.max(axis=1))
        shares, shrink = jnp.exp2(found - higher[:, None]), jnp.exp2(top - higher)
        added = _dot(shares.astype(v_ref.dtype), v_ref[keys, :])
        return higher, total * shrink + shares.sum(axis=1), out * shrink[:, None] + added

    start = (
        jnp.full((tiles.held,), _MASKED, jnp.float32),
        jnp.zeros((tiles.held,), jnp.float32),
        jnp.zeros(q.shape, jnp.float32),
    )
    top, total, out = jax.lax.fori_loop(*_tiles_of_keys(span, at, tiles), add, start)
    out_ref[...] = (out / total[:, None]).astype(out_ref.dtype)
    sums_ref[...] = top + jnp.log2(total)


def _queries_kernel(
    span: _Span,
    q_ref: Any,
    k_ref: Any,
    v_ref: Any,
    pull_ref: Any,
    sums_ref: Any,
    mean_ref: Any,
    q_pull_ref: Any,
    *,
    tiles: _Tiles,
) -> None:
    at, scores = _program(), _Scores(span, tiles)
    queries, q, pull = _tile(at, tiles.held), q_ref[...], pull_ref[...]
    sums, mean = sums_ref[...], mean_ref[...]

    def add(tile: Any, q_pull: jax.Array) -> jax.Array:
        keys = _tile(tile, tiles.passed)
        k = k_ref[keys, :]
        found, slope = scores.of(q, k, queries, keys)
        _, score_pull = _pulls(found, slope, sums, mean, _dot(pull, v_ref[keys, :].T))
        return q_pull + _dot(score_pull.astype(k.dtype), k)

    start = jnp.zeros(q.shape, jnp.float32)
    q_pull = jax.lax.fori_loop(*_tiles_of_keys(span, at, tiles), add, start)
    q_pull_ref[...] = q_pull.astype(q_pull_ref.dtype)


def _keys_kernel(
    span: _Span,
    q_ref: Any,
    k_ref: Any,
    v_ref: Any,
    pull_ref: Any,
    sums_ref: Any,
    mean_ref: Any,
    k_pull_ref: Any,
    v_pull_ref: Any,
    *,
    tiles: _Tiles,
) -> None:
    at, scores = _program(), _Scores(span, tiles)
    keys, k, v = _tile(at, tiles.held), k_ref[...], v_ref[...]

    def add_head(head: Any, carry: Any) -> Any:
        def add(tile: Any, carry: Any) -> Any:
            k_pull, v_pull = carry
            queries = _tile(tile, tiles.passed)
            q, pull = q_ref[head, queries, :], pull_ref[head, queries, :]
            found, slope = scores.of(q, k, queries, keys)
            shares, score_pull = _pulls(
                found, slope, sums_ref[head, queries], mean_ref[head, queries], _dot(pull, v.T)
            )
            v_pull += _dot(shares.astype(v.dtype).T, pull)
            return k_pull + _dot(score_pull.astype(q.dtype).T, q), v_pull

        first, end = at * (tiles.held // tiles.passed), span.last_query[at] // tiles.passed + 1
        return jax.lax.fori_loop(first, end, add, carry)

    start = (jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32))
    k_pull, v_pull = jax.lax.fori_loop(0, q_ref.shape[0], add_head, start)
    k_pull_ref[...] = k_pull.astype(k_pull_ref.dtype)
    v_pull_ref[...] = v_pull.astype(v_pull_ref.dtype)


def _pulls(
    scores: jax.Array, slope: Any, sums: jax.Array, mean: jax.Array, share_pull: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The shares of a tile, and the gradient of its scores."""
    shares = jnp.exp2(scores - sums[:, None])
    score_pull = shares * (share_pull - mean[:, None])
    return shares, score_pull if slope is None else score_pull * slope

"""The kernels of `fused`: what one program of a GPU does with its tiles.

Scores are in powers of two, as a GPU has no powers of e. What is read through a `Span` or a `_ref`
is the program's own part of an array.

Source:
    Dao 2023, FlashAttention-2, algorithms 1 and 2, arXiv:2307.08691.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from .blockwise import BlockSettings

_MASKED = float(jnp.finfo(jnp.float32).min)
_LOG2_E = 1.4426950408889634


@dataclass(frozen=True, kw_only=True)
class Tiles:
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
    def of(cls, settings: BlockSettings, head_dim: int, *, backward: bool = False) -> Tiles:
        """Tiles that pass two at a time through what a program has of a GPU's shared memory.

        Triton 3.9 compiles them for compute capabilities 8.0 to 12.0 with at most 98 KB of it, of
        99 that the smallest has, and (nearly) without spilling registers.
        """
        passed = max(16, (4096 if backward else 8192) // head_dim)
        held = settings.block
        return cls(held=held, passed=min(held, passed), softcap=settings.softcap)


class Span(NamedTuple):
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


class _Scores:
    """Scores of one tile of queries with one of keys, in powers of two."""

    def __init__(self, span: Span, tiles: Tiles) -> None:
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


def _tiles_of_keys(span: Span, at: Any, tiles: Tiles) -> tuple[Any, Any]:
    """The first tile of keys that a block of queries sees, and the one after its own last."""
    return span.first_key[at] // tiles.passed, (at + 1) * (tiles.held // tiles.passed)


def forward_kernel(
    span: Span, q_ref: Any, k_ref: Any, v_ref: Any, out_ref: Any, sums_ref: Any, *, tiles: Tiles
) -> None:
    """A block of queries with all keys that it sees: attended values, and log-sums."""
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


def queries_kernel(
    span: Span,
    q_ref: Any,
    k_ref: Any,
    v_ref: Any,
    pull_ref: Any,
    sums_ref: Any,
    mean_ref: Any,
    q_pull_ref: Any,
    *,
    tiles: Tiles,
) -> None:
    """The gradient of a block of queries, from all keys that it sees."""
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


def keys_kernel(
    span: Span,
    q_ref: Any,
    k_ref: Any,
    v_ref: Any,
    pull_ref: Any,
    sums_ref: Any,
    mean_ref: Any,
    k_pull_ref: Any,
    v_pull_ref: Any,
    *,
    tiles: Tiles,
) -> None:
    """The gradients of a block of keys and values, from all queries that see it."""
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

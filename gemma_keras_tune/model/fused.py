"""Attention over long rows in kernels of our own for a GPU, by Pallas and Triton.

It gives what `blockwise_attention` gives, and like it never holds an array of [length, length]:
the scores of a tile stay in the GPU's registers. Tiles that no query of a layer sees are not
visited. Elsewhere than on a GPU Pallas interprets the kernels, slowly; that is for tests.

Source:
    Dao 2023, FlashAttention-2, algorithms 1 and 2, arXiv:2307.08691.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from .blockwise import ATTENDED, BlockSettings, Places
from .fused_kernels import Span, Tiles, forward_kernel, keys_kernel, queries_kernel
from .heads_first import Heads, attended
from .narrow import kept


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
    return attended(
        partial(_attend_in, settings=settings), query, key, value,
        places=places, is_local=is_local, settings=settings, mesh=mesh,
    )  # fmt: skip


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


def _span(segments: jax.Array, window: jax.Array, held: int) -> Span:
    """What blocks of `held` tokens see, for a window of so many tokens."""
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
    return Span(
        segments=segments,
        window=window.reshape(1),
        first_key=first_key.reshape(blocks).min(axis=2),
        last_query=last_query.reshape(blocks).max(axis=2),
    )


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend(q: Heads, k: Heads, v: Heads, span: Span, settings: BlockSettings) -> Heads:
    return _forward(q, k, v, span, settings)[0]


def _forward(
    q: Heads, k: Heads, v: Heads, span: Span, settings: BlockSettings
) -> tuple[Heads, Any]:
    """The attended values, and with them what the backward pass needs."""
    call = _Call(q, k, Tiles.of(settings, q.shape[-1]))
    out, log_sum = call.by_queries(
        forward_kernel,
        inputs=[(q, call.own_q), (k, call.all_k), (v, call.all_k)],
        outputs=[(q, call.own_q), (call.log_sums, call.own_sums)],
        span=span,
        name="fused_attention",
    )
    out, log_sum = kept(out, ATTENDED), kept(log_sum, ATTENDED)
    return out, (q, k, v, span, out, log_sum)


def _backward(settings: BlockSettings, saved: Any, pull: Heads) -> tuple[Any, ...]:
    q, k, v, span, out, log_sum = saved
    call = _Call(q, k, Tiles.of(settings, q.shape[-1], backward=True))
    pull = pull.astype(v.dtype)
    mean = jnp.sum(pull.astype(jnp.float32) * out.astype(jnp.float32), axis=-1)
    (q_pull,) = call.by_queries(
        queries_kernel,
        inputs=[
            *((q, call.own_q), (k, call.all_k), (v, call.all_k)),
            *((pull, call.own_q), (log_sum, call.own_sums), (mean, call.own_sums)),
        ],
        outputs=[(q, call.own_q)],
        span=span,
        name="fused_attention_queries",
    )
    k_pull, v_pull = call.by_keys(
        keys_kernel,
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

    def __init__(self, q: Heads, k: Heads, tiles: Tiles) -> None:
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
        span: Span,
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
            in_specs=[Span(*places), *(spec for _, spec in inputs)],
            out_specs=tuple(spec for _, spec in outputs),
            out_shape=tuple(jax.ShapeDtypeStruct(like.shape, like.dtype) for like, _ in outputs),
            compiler_params=triton.CompilerParams(num_warps=8, num_stages=2),
            interpret=jax.default_backend() != "gpu",
            name=name,
        )(span, *(array for array, _ in inputs))
        return found

"""Attention over long rows by JAX's own kernel for a TPU, "splash attention".

It gives what `blockwise_attention` gives, and like it never holds an array of [length, length]:
masks are computed where they are needed, blocks that no query of a layer sees are not visited.
Elsewhere than on a TPU Pallas interprets the kernel, slowly; that is for tests.

Source:
    `jax.experimental.pallas.ops.tpu.splash_attention` of JAX 0.10.2, after Dao 2023,
    FlashAttention-2, arXiv:2307.08691.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from .blockwise import ATTENDED, BlockSettings, Places
from .heads_first import Heads, attended


def splash_attention(
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
        query: `[batch, length, heads, head_dim]`, already scaled.
        key: `[batch, length, kv_heads, head_dim]`; each serves heads / kv_heads query heads.
        value: Shaped like `key`.
        places: Where the tokens stand; distances are those within the row, so no branches.
        is_local: Whether the window counts; known now, or when the program runs.
        settings: Blocks, window and cap; a block is a multiple of 128.
        mesh: The mesh that the weights lie on, over whose `model` the heads are dealt out; None
            for a single device.

    Raises:
        ValueError: If there are branches.
    """
    if settings.window >= query.shape[1]:
        is_local = False
    known = is_local if isinstance(is_local, bool) else None
    return attended(
        partial(_attend, known=known, settings=settings), query, key, value,
        places=places, is_local=is_local, settings=settings, mesh=mesh,
    )  # fmt: skip


def _attend(
    q: Heads,
    k: Heads,
    v: Heads,
    segments: jax.Array,
    is_local: jax.Array,
    *,
    known: bool | None,
    settings: BlockSettings,
) -> Heads:
    """Attended values of one device's heads, shaped like `q`.

    Args:
        q: Queries.
        k: Keys.
        v: Values.
        segments: `[batch, length]` int32.
        is_local: A scalar bool, read where it isn't known.
        known: What it is, where that is known when the program is compiled.
        settings: Blocks, window and cap.
    """

    def by_kernel(
        q: Heads, k: Heads, v: Heads, segments: jax.Array, *, window: int | None
    ) -> Heads:
        kernel = _kernel(
            q.shape[1], q.shape[2], window=window, settings=settings,
            interpret=jax.default_backend() != "tpu",
        )  # fmt: skip
        return jax.vmap(kernel)(q, k, v, _segment_ids(segments))

    local, everywhere = partial(by_kernel, window=settings.window), partial(by_kernel, window=None)
    if known is not None:
        return (local if known else everywhere)(q, k, v, segments)
    out: Heads = jax.lax.cond(is_local, local, everywhere, q, k, v, segments)
    return out


@lru_cache(maxsize=8)  # seconds for rows of 32,768 tokens, and layers that follow each other ask
def _kernel(
    heads: int, length: int, *, window: int | None, settings: BlockSettings, interpret: bool
) -> Any:
    """The kernel of one row: `(q, k, v, segment_ids)` to what `q` is shaped like.

    Args:
        heads: Query heads.
        length: Tokens, a multiple of the block.
        window: How far back a query sees, its own token included; None for all before it.
        settings: Blocks and cap.
        interpret: Whether Pallas interprets it.
    """
    from jax.experimental.pallas.ops.tpu.splash_attention import (
        splash_attention_kernel as kernels,
    )
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    shape, block = (length, length), settings.block
    mask: Any = masks.CausalMask(shape)
    if window is not None:
        mask = masks.LocalMask(shape, window_size=(window - 1, 0), offset=0)
    sizes = kernels.BlockSizes(
        block_q=block, block_kv=block, block_kv_compute=block,
        block_q_dkv=block, block_kv_dkv=block, block_kv_dkv_compute=block,
        block_q_dq=block, block_kv_dq=block,
    )  # fmt: skip
    with jax.ensure_compile_time_eval():  # what is kept must not belong to the program being traced
        kernel = kernels.make_splash_mha(
            masks.MultiHeadMask([mask] * heads),
            block_sizes=sizes,
            head_shards=1,
            q_seq_shards=1,
            attn_logits_soft_cap=settings.softcap,
            residual_checkpoint_name=ATTENDED,
            interpret=interpret,
        )
        return jax.tree.map(np.asarray, kernel)


def _segment_ids(segments: jax.Array) -> Any:
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as kernels

    return kernels.SegmentIds(q=segments, kv=segments)

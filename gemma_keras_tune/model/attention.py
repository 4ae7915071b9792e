"""Attention and its rotary positions, as pure functions: masks, caps, windows, shared keys."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp

from .config import GemmaConfig
from .narrow import is_narrow

SinCos = tuple[jax.Array, jax.Array]
"""Sines and cosines of the rotary tables of one layer."""


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("local_sin", "local_cos", "global_sin", "global_cos"),
    meta_fields=(),
)
@dataclass(frozen=True, kw_only=True)
class RopeTables:
    """Sines and cosines of the rotary embedding, each `[batch, length, head_dim / 2]` float32.

    The size of a head is that of the layers they are for.
    """

    local_sin: jax.Array
    local_cos: jax.Array
    global_sin: jax.Array
    global_cos: jax.Array

    def select(self, is_local: bool | jax.Array) -> SinCos:
        """The tables of one layer; `is_local` is a bool, known now or when the program runs."""
        if isinstance(is_local, bool):
            local, everywhere = (self.local_sin, self.local_cos), (self.global_sin, self.global_cos)
            return local if is_local else everywhere
        return (
            jnp.where(is_local, self.local_sin, self.global_sin),
            jnp.where(is_local, self.local_cos, self.global_cos),
        )


def attention(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    mask: jax.Array,
    softcap: float | None = None,
) -> jax.Array:
    """Attended values, `[batch, length, heads, head_dim]`; the softmax is taken in float32.

    Args:
        query: `[batch, length, heads, head_dim]`, already scaled.
        key: `[batch, kv_heads, keys, head_dim]`; each serves heads / kv_heads query heads. Products
            read it so where it lies; any other order costs a copy of it.
        value: Shaped like `key`.
        mask: `[batch, length, keys]` bool, True where a query sees a key.
        softcap: Scores become `softcap * tanh(scores / softcap)`.
    """
    batch, length, heads, head_dim = query.shape
    kv_heads = key.shape[1]
    grouped = jnp.swapaxes(query, 1, 2).reshape(batch, kv_heads, -1, length, head_dim)
    scores = softcap_scores(_scores(grouped, key), softcap)
    scores = jnp.where(mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
    shares = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    wide = jnp.float32 if is_narrow(value) else None
    out = jnp.einsum("bkgts,bksd->bkgtd", shares, value, preferred_element_type=wide)
    out = out.astype(value.dtype)
    return jnp.swapaxes(out.reshape(batch, heads, length, head_dim), 1, 2)


def _scores(query: jax.Array, key: jax.Array) -> jax.Array:
    """`[batch, kv_heads, group, length, keys]` float32; of one token without turning the keys."""
    in_float32 = {"preferred_element_type": jnp.float32}
    if query.shape[3] > 1:
        return jnp.einsum("bkgtd,bksd->bkgts", query, key, **in_float32)
    return jnp.moveaxis(jnp.einsum("bksd,bkgtd->bksgt", key, query, **in_float32), 2, -1)


def attention_masks(
    config: GemmaConfig,
    positions: jax.Array,
    segment_ids: jax.Array,
    branch_ids: jax.Array | None = None,
) -> tuple[jax.Array, jax.Array]:
    """`(local, global)`, each `[batch, length, length]` bool, True where a query sees a key."""
    distance = positions[:, :, None] - positions[:, None, :]
    seen = (segment_ids[:, :, None] == segment_ids[:, None, :]) & (distance >= 0)
    if branch_ids is not None:
        same = branch_ids[:, :, None] == branch_ids[:, None, :]
        seen &= same | (branch_ids[:, None, :] == 0)
    return seen & (distance < config.sliding_window), seen


def rope_tables(config: GemmaConfig, positions: jax.Array) -> RopeTables:
    """Rotary tables for positions `[batch, length]` int32.

    Source:
        Su et al. 2021, RoFormer, section 3.4.2, arXiv:2104.09864.
    """

    def angles(head_dim: int, theta: float, scaling: float, share: float = 1.0) -> jax.Array:
        half, turned = head_dim // 2, int(share * head_dim // 2)
        exponents = jnp.arange(half, dtype=jnp.float32) / half
        found = positions[..., None].astype(jnp.float32) / scaling / theta**exponents
        return found if turned == half else jnp.where(jnp.arange(half) < turned, found, 0.0)

    global_head_dim = config.global_head_dim or config.head_dim
    local_angles = angles(config.head_dim, config.rope_theta_local, 1.0)
    global_angles = angles(
        global_head_dim, config.rope_theta, config.rope_scaling, config.rope_share
    )
    return RopeTables(
        local_sin=jnp.sin(local_angles),
        local_cos=jnp.cos(local_angles),
        global_sin=jnp.sin(global_angles),
        global_cos=jnp.cos(global_angles),
    )


def rotate(x: jax.Array, sin_cos: SinCos) -> jax.Array:
    """`x` `[batch, length, heads, head_dim]` with each half-pair turned by its angle."""
    sin, cos = (table[:, :, None, :] for table in sin_cos)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)


def softcap_scores(scores: jax.Array, cap: float | None) -> jax.Array:
    """`cap * tanh(scores / cap)`, or the scores themselves without a cap."""
    return scores if cap is None else cap * jnp.tanh(scores / cap)

"""One decoder block of any family, and what it is made of: projections, adapters, norms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ..recipe import LORA_TARGETS
from .attention import SinCos, rotate
from .config import GemmaConfig, LayerKind
from .lora import Adapters
from .narrow import kept
from .products import PRODUCT, low_rank_product, product

Project = Callable[[str, jax.Array], jax.Array]
Attend = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
KeyValue = tuple[jax.Array, jax.Array]
"""Keys, rotated, and values, each `[batch, length, kv_heads, head_dim]`."""


def projector(layer: Mapping[str, Any], adapters: Adapters | None) -> Project:
    """A function of (projection name, `[..., in]`) that returns `[..., out]`, adapter added.

    Source:
        Hu et al. 2021, LoRA, section 4.1, arXiv:2106.09685.
    """
    dropout_key = layer.get("dropout_key")

    def project(name: str, x: jax.Array) -> jax.Array:
        y = product(x, layer[name])
        pair = layer["adapters"].get(name)
        if pair is not None and adapters is not None:
            if dropout_key is not None:
                key = jax.random.fold_in(dropout_key, LORA_TARGETS.index(name))
                x = dropout(x, adapters.config.dropout, key=key)
            a, b = (pair[part].astype(x.dtype) for part in ("a", "b"))
            y = y + low_rank_product(x, a, b) * jnp.asarray(adapters.scale, x.dtype)
        return kept(y, PRODUCT)

    return project


def decoder_layer(
    config: GemmaConfig,
    kind: LayerKind,
    layer: Mapping[str, Any],
    x: jax.Array,
    *,
    project: Project,
    sin_cos: SinCos,
    attend: Attend,
    shared: KeyValue | None = None,
) -> tuple[jax.Array, KeyValue]:
    """One block's output, `[batch, length, width]`, and the keys and values it attended to.

    Args:
        config: The family's data.
        kind: What the layer is made of; where layers are scanned, `is_local` isn't asked.
        layer: One layer's slices of the stacked weights.
        x: `[batch, length, width]`.
        project: Multiplies by a named projection (and adds its adapter).
        sin_cos: Rotary tables of this layer, each `[batch, length, head_dim / 2]`.
        attend: Turns query `[batch, length, heads, head_dim]`, and key and value
            `[batch, length, kv_heads, head_dim]`, into `[batch, length, heads, head_dim]`.
        shared: Keys, rotated, and values of an earlier layer, for one that has none of its own.
    """
    batch, length, _ = x.shape
    h = rms_norm(x, layer["input_norm"], config)
    query = project("q_proj", h).reshape(batch, length, config.heads, kind.head_dim)
    if config.qk_norm:
        query = rms_norm(query, layer["q_norm"], config)
    query = rotate(query, sin_cos) * jnp.asarray(config.query_scale, x.dtype)
    key_value = shared
    if kind.has_key:
        key_value = own_key_value(config, kind, layer, h, project=project, sin_cos=sin_cos)
    assert key_value is not None  # noqa: S101  # a layer without keys comes with those of another
    attended = attend(query, *key_value)
    out = project("o_proj", attended.reshape(batch, length, -1))
    if config.post_norms:
        out = rms_norm(out, layer["post_attention_norm"], config)
    x = x + out
    h = rms_norm(x, layer["pre_feedforward_norm"], config)
    gate = jax.nn.gelu(project("gate_proj", h), approximate=True)
    out = project("down_proj", gate * project("up_proj", h))
    if config.post_norms:
        out = rms_norm(out, layer["post_feedforward_norm"], config)
    x = x + out
    if config.per_layer_width:
        gate = kept(product(x, layer["per_layer_input_gate"]), PRODUCT)
        gate = jax.nn.gelu(gate, approximate=True)
        out = product(gate * layer["input"], layer["per_layer_projection"])
        out = kept(out, PRODUCT)
        x = x + rms_norm(out, layer["post_per_layer_input_norm"], config)
    if config.layer_scalar:
        x = x * layer["layer_scalar"].astype(x.dtype)
    return x, key_value


def own_key_value(
    config: GemmaConfig,
    kind: LayerKind,
    layer: Mapping[str, Any],
    h: jax.Array,
    *,
    project: Project,
    sin_cos: SinCos,
) -> KeyValue:
    """A layer's keys, rotated, and values, each `[batch, length, kv_heads, head_dim]`.

    Args:
        config: The family's data.
        kind: What the layer is made of.
        layer: Its weights.
        h: Its normalised input, `[batch, length, width]`.
        project: Multiplies by a named projection.
        sin_cos: Its rotary tables.
    """
    shape = (*h.shape[:2], kind.kv_heads, kind.head_dim)
    key = project("k_proj", h).reshape(shape)
    value = project("v_proj", h).reshape(shape) if kind.has_value else key
    if config.qk_norm:
        key = rms_norm(key, layer["k_norm"], config)
    if config.value_norm:
        value = rms_norm(value, None, config)
    return rotate(key, sin_cos), value


def rms_norm(x: jax.Array, scale: jax.Array | None, config: GemmaConfig) -> jax.Array:
    """`x` over its root mean square, times `norm_offset + scale`; computed in float32.

    Without a scale it isn't multiplied by anything.

    Source:
        Zhang and Sennrich 2019, arXiv:1910.07467; the offset is Gemma's.
    """
    wide = x.astype(jnp.float32)
    wide = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + config.rms_eps)
    if scale is not None:
        wide = wide * (config.norm_offset + scale.astype(jnp.float32))
    return wide.astype(x.dtype)


def dropout(x: jax.Array, share: float, *, key: jax.Array) -> jax.Array:
    """`x` with that share of its entries zeroed and the others scaled up to keep the mean."""
    kept = jax.random.bernoulli(key, 1 - share, x.shape)
    return jnp.where(kept, x / jnp.asarray(1 - share, x.dtype), jnp.zeros((), x.dtype))

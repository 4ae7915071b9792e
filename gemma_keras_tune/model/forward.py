"""The forward pass: pure functions over a pytree of weights, up to the hidden states.

A family is data (`GemmaConfig`): norms, caps, windows, rope. One `lax.scan` runs over the
layers, whose weights are stacked, so that the compiled program holds the layer once; what
differs between layers (local or global attention) is an array beside the weights.

The mathematics is that of KerasHub's backbone and of `transformers`; the tests compare both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from ..recipe import LORA_TARGETS
from .config import GemmaConfig
from .lora import Adapters

Remat = Literal["none", "dots", "full"]
Project = Callable[[str, jax.Array], jax.Array]
Attend = Callable[[jax.Array, jax.Array, jax.Array], jax.Array]
SinCos = tuple[jax.Array, jax.Array]


@dataclass(frozen=True, kw_only=True)
class RopeTables:
    """Sines and cosines of the rotary embedding, each `[batch, length, head_dim / 2]` float32."""

    local_sin: jax.Array
    local_cos: jax.Array
    global_sin: jax.Array
    global_cos: jax.Array

    def select(self, is_local: jax.Array) -> SinCos:
        """The tables of one layer; `is_local` is a bool scalar."""
        return (
            jnp.where(is_local, self.local_sin, self.global_sin),
            jnp.where(is_local, self.local_cos, self.global_cos),
        )


def hidden_states(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    token_ids: jax.Array,
    *,
    positions: jax.Array,
    segment_ids: jax.Array,
    branch_ids: jax.Array | None = None,
    adapters: Adapters | None = None,
    dropout_key: jax.Array | None = None,
    remat: Remat = "none",
) -> jax.Array:
    """Hidden states after the final norm, `[batch, length, width]` in the weights' dtype.

    A token attends to the tokens of its own segment at its own or an earlier position, and in
    local layers only to the last `config.sliding_window` of them.

    Args:
        config: The family's data.
        weights: The pytree that `model.weights.weight_shapes` describes.
        token_ids: `[batch, length]` int32.
        positions: `[batch, length]` int32, counted from 0 in each segment.
        segment_ids: `[batch, length]` int32; examples of a packed row have different ids,
            padding has 0. States at padding are finite and mean nothing.
        branch_ids: `[batch, length]` int32 or None. Tokens of branch 0 are seen by the whole
            segment; those of another branch only by their own. Several answers to one prompt
            thus share the prompt's computation.
        adapters: LoRA matrices beside the frozen ones.
        dropout_key: Key of the adapters' dropout; None switches it off.
        remat: What the backward pass computes again: nothing, all but matrix products, all.
    """
    x = embed(config, weights, token_ids)
    rope = rope_tables(config, positions)
    masks = attention_masks(config, positions, segment_ids, branch_ids)

    def layer_step(x: jax.Array, layer: dict[str, Any]) -> tuple[jax.Array, None]:
        mask = jnp.where(layer["is_local"], masks[0], masks[1])

        def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
            return attention(query, key, value, mask=mask, softcap=config.attention_softcap)

        project = projector(layer, adapters)
        sin_cos = rope.select(layer["is_local"])
        return decoder_layer(
            config, layer, x, project=project, sin_cos=sin_cos, attend=attend
        ), None

    layers = stacked_layers(config, weights, adapters, dropout_key)
    x, _ = jax.lax.scan(_rematerialised(layer_step, remat), x, layers)
    return rms_norm(x, weights["final_norm"], config)


def embed(config: GemmaConfig, weights: Mapping[str, Any], token_ids: jax.Array) -> jax.Array:
    """Embeddings scaled by sqrt(width), `[batch, length, width]` in the weights' dtype."""
    table = weights["embedding"]
    return table[token_ids] * jnp.asarray(config.width**0.5, table.dtype)


def logits(config: GemmaConfig, weights: Mapping[str, Any], hidden: jax.Array) -> jax.Array:
    """Next-token logits, `[..., vocab]` float32, from hidden states `[..., width]`."""
    scores = jnp.einsum(
        "...w,vw->...v", hidden, weights["embedding"], preferred_element_type=jnp.float32
    )
    return softcap_scores(scores, config.final_softcap)


def stacked_layers(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    adapters: Adapters | None,
    dropout_key: jax.Array | None = None,
) -> dict[str, Any]:
    """Everything the scan over layers slices: weights, adapters, kind of attention, keys."""
    layers = dict(weights["layers"])
    layers["is_local"] = jnp.asarray(config.layer_is_local)
    layers["adapters"] = adapters.tree if adapters is not None else {}
    if adapters is not None and dropout_key is not None and adapters.config.dropout > 0:
        layers["dropout_key"] = jax.random.split(dropout_key, config.layers)
    return layers


def projector(layer: Mapping[str, Any], adapters: Adapters | None) -> Project:
    """A function of (projection name, `[..., in]`) that returns `[..., out]`, adapter added.

    Source:
        Hu et al. 2021, LoRA, section 4.1, arXiv:2106.09685.
    """
    dropout_key = layer.get("dropout_key")

    def project(name: str, x: jax.Array) -> jax.Array:
        y = x @ layer[name]
        pair = layer["adapters"].get(name)
        if pair is None or adapters is None:
            return y
        if dropout_key is not None:
            key = jax.random.fold_in(dropout_key, LORA_TARGETS.index(name))
            x = dropout(x, adapters.config.dropout, key=key)
        a, b = (pair[part].astype(x.dtype) for part in ("a", "b"))
        return y + low_rank_product(x, a, b) * jnp.asarray(adapters.scale, x.dtype)

    return project


@jax.custom_vjp
def low_rank_product(x: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """`x @ a @ b`, `[..., out]`, with a backward pass written out.

    Left to itself, JAX makes the gradient of `a` by a product whose long side comes first, which
    XLA's CPU kernels do slowly: for seven adapted projections it cost a third of a step.

    Args:
        x: `[..., in]`.
        a: `[in, rank]`.
        b: `[rank, out]`.
    """
    return (x @ a) @ b


def _low_rank_forward(
    x: jax.Array, a: jax.Array, b: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    low = x @ a
    return low @ b, (x, a, b, low)


def _low_rank_backward(
    kept: tuple[jax.Array, ...], pull: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, a, b, low = kept
    low_pull = pull @ b.T
    x_flat, low_flat, pull_flat, low_pull_flat = (
        array.reshape(-1, array.shape[-1]) for array in (x, low, pull, low_pull)
    )
    return low_pull @ a.T, (low_pull_flat.T @ x_flat).T, low_flat.T @ pull_flat


low_rank_product.defvjp(_low_rank_forward, _low_rank_backward)


def decoder_layer(
    config: GemmaConfig,
    layer: Mapping[str, Any],
    x: jax.Array,
    *,
    project: Project,
    sin_cos: SinCos,
    attend: Attend,
) -> jax.Array:
    """One block's output, `[batch, length, width]`, from its input of the same shape.

    Args:
        config: The family's data.
        layer: One layer's slices of the stacked weights.
        x: `[batch, length, width]`.
        project: Multiplies by a named projection (and adds its adapter).
        sin_cos: Rotary tables of this layer, each `[batch, length, head_dim / 2]`.
        attend: Turns query `[batch, length, heads, head_dim]`, and key and value
            `[batch, length, kv_heads, head_dim]`, into `[batch, length, heads, head_dim]`.
    """
    batch, length, _ = x.shape
    h = rms_norm(x, layer["input_norm"], config)
    query = project("q_proj", h).reshape(batch, length, config.heads, config.head_dim)
    key = project("k_proj", h).reshape(batch, length, config.kv_heads, config.head_dim)
    value = project("v_proj", h).reshape(batch, length, config.kv_heads, config.head_dim)
    if config.qk_norm:
        query = rms_norm(query, layer["q_norm"], config)
        key = rms_norm(key, layer["k_norm"], config)
    query = rotate(query, sin_cos) * jnp.asarray(config.query_scale, x.dtype)
    attended = attend(query, rotate(key, sin_cos), value)
    out = project("o_proj", attended.reshape(batch, length, -1))
    if config.post_norms:
        out = rms_norm(out, layer["post_attention_norm"], config)
    x = x + out
    h = rms_norm(x, layer["pre_feedforward_norm"], config)
    gate = jax.nn.gelu(project("gate_proj", h), approximate=True)
    out = project("down_proj", gate * project("up_proj", h))
    if config.post_norms:
        out = rms_norm(out, layer["post_feedforward_norm"], config)
    return x + out


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
        key: `[batch, keys, kv_heads, head_dim]`; each serves heads / kv_heads query heads.
        value: Shaped like `key`.
        mask: `[batch, length, keys]` bool, True where a query sees a key.
        softcap: Scores become `softcap * tanh(scores / softcap)`.
    """
    batch, length, heads, head_dim = query.shape
    kv_heads = key.shape[2]
    grouped = query.reshape(batch, length, kv_heads, heads // kv_heads, head_dim)
    scores = jnp.einsum("btkgd,bskd->bkgts", grouped, key, preferred_element_type=jnp.float32)
    scores = softcap_scores(scores, softcap)
    scores = jnp.where(mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
    shares = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    out = jnp.einsum("bkgts,bskd->btkgd", shares, value)
    return out.reshape(batch, length, heads, head_dim)


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
    half = config.head_dim // 2
    exponents = jnp.arange(half, dtype=jnp.float32) / half

    def angles(theta: float, scaling: float) -> jax.Array:
        return positions[..., None].astype(jnp.float32) / scaling / theta**exponents

    local_angles = angles(config.rope_theta_local, 1.0)
    global_angles = angles(config.rope_theta, config.rope_scaling)
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


def rms_norm(x: jax.Array, scale: jax.Array, config: GemmaConfig) -> jax.Array:
    """`x` over its root mean square, times `norm_offset + scale`; computed in float32.

    Source:
        Zhang and Sennrich 2019, arXiv:1910.07467; the offset is Gemma's.
    """
    wide = x.astype(jnp.float32)
    wide = wide * jax.lax.rsqrt(jnp.mean(wide**2, axis=-1, keepdims=True) + config.rms_eps)
    return (wide * (config.norm_offset + scale.astype(jnp.float32))).astype(x.dtype)


def dropout(x: jax.Array, share: float, *, key: jax.Array) -> jax.Array:
    """`x` with that share of its entries zeroed and the others scaled up to keep the mean."""
    kept = jax.random.bernoulli(key, 1 - share, x.shape)
    return jnp.where(kept, x / jnp.asarray(1 - share, x.dtype), jnp.zeros((), x.dtype))


def softcap_scores(scores: jax.Array, cap: float | None) -> jax.Array:
    """`cap * tanh(scores / cap)`, or the scores themselves without a cap."""
    return scores if cap is None else cap * jnp.tanh(scores / cap)


def _rematerialised(step: Callable[..., Any], remat: Remat) -> Callable[..., Any]:
    """The scan's step, forgetting what `remat` says it may compute again."""
    if remat == "none":
        return step
    policy = None if remat == "full" else jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    return jax.checkpoint(step, policy=policy, prevent_cse=False)

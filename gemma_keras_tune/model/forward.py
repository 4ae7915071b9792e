"""The forward pass: pure functions over a pytree of weights, up to the hidden states.

A family is data (`GemmaConfig`): norms, caps, windows, rope. Where all layers have weights of the
same shapes, one `lax.scan` runs over them, so that the compiled program holds the layer once; what
differs between layers (local or global attention) is then an array beside the weights. Layers that
differ (Gemma 4) follow each other in the program.

The mathematics is that of KerasHub's backbone and of `transformers`; the tests compare both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from .attention import attention as with_mask
from .attention import attention_masks, rope_tables, softcap_scores
from .blockwise import ATTENDED, BlockSettings, Places, blockwise_attention
from .config import GemmaConfig
from .fused import fused_attention
from .layers import Attend, KeyValue, decoder_layer, projector, rms_norm
from .lora import Adapters
from .mesh import MODEL
from .narrow import layer_of, rows_of
from .paths import AttentionWish, attention_path
from .products import PRODUCT, product, scores
from .splash import splash_attention
from .weights import layer_places, output_matrix

Remat = Literal["none", "dots", "full", "offload"]


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
    attention: AttentionWish = "plain",
    mesh: Mesh | None = None,
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
        remat: What the backward pass computes again: nothing, all but matrix products, all; with
            `offload` it has the products brought back from the machine's memory.
        attention: Whether long rows may be attended to by a kernel of the device's own.
        mesh: The mesh that the weights lie on, which such a kernel must know.
    """
    x = embed(config, weights, token_ids)
    rope = rope_tables(config, positions)
    places = Places(positions, segment_ids, branch_ids)
    attend_in = _attention_of(config, places, x.dtype, asked=attention, mesh=mesh)

    def scanned(x: jax.Array, slices: dict[str, Any]) -> tuple[jax.Array, None]:
        layer = layer_of(stacked, slices, slices["index"])
        x, _ = decoder_layer(
            config,
            config.kinds[0],
            layer,
            x,
            project=projector(layer, adapters),
            sin_cos=rope.select(layer["is_local"]),
            attend=attend_in(layer["is_local"]),
        )
        return x, None

    def alone(index: int, x: jax.Array, layer: dict[str, Any], shared: KeyValue | None) -> Any:
        kind = config.kinds[index]
        return decoder_layer(
            config,
            kind,
            layer,
            x,
            project=projector(layer, adapters),
            sin_cos=rope.select(kind.is_local),
            attend=attend_in(kind.is_local),
            shared=shared,
        )

    if config.is_uniform:
        stacked = stacked_layers(config, weights, adapters, dropout_key)
        x, _ = jax.lax.scan(_rematerialised(scanned, remat), x, stacked)
    else:
        kept: dict[int, KeyValue] = {}
        single = single_layers(config, weights, token_ids, x, adapters, dropout_key)
        for index, layer in enumerate(single):
            step = _rematerialised(partial(alone, index), remat, prevent_cse=True)
            x, kept[index] = step(x, layer, kept.get(config.kv_sources[index]))
    return rms_norm(x, weights["final_norm"], config)


def _attention_of(
    config: GemmaConfig, places: Places, dtype: Any, *, asked: AttentionWish, mesh: Mesh | None
) -> Callable[[bool | jax.Array], Attend]:
    """From whether a layer is local to its attention, in the way that `attention_path` says."""
    length, softcap = places.positions.shape[1], config.attention_softcap
    path = attention_path(
        config,
        length=length,
        platform=jax.default_backend(),
        dtype=jnp.dtype(dtype).name,
        asked=asked,
        cuts=1 if mesh is None else mesh.shape[MODEL],
        branched=places.branches is not None,
    )
    if path.name != "mask":
        window = config.sliding_window if any(config.layer_is_local) else length
        settings = BlockSettings(block=path.block, window=window, softcap=softcap)
        ways: dict[str, Callable[..., Any]] = {
            "blocks": blockwise_attention,
            "splash": partial(splash_attention, mesh=mesh),
            "fused": partial(fused_attention, mesh=mesh),
        }
        by_blocks = partial(ways[path.name], places=places, settings=settings)
        return lambda is_local: partial(by_blocks, is_local=is_local)
    local, everywhere = attention_masks(config, *places)

    def attend_in(is_local: bool | jax.Array) -> Attend:
        mask = jnp.where(is_local, local, everywhere)

        def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
            key, value = (jnp.swapaxes(array, 1, 2) for array in (key, value))
            return with_mask(query, key, value, mask=mask, softcap=softcap)

        return attend

    return attend_in


def embed(config: GemmaConfig, weights: Mapping[str, Any], token_ids: jax.Array) -> jax.Array:
    """Embeddings scaled by sqrt(width), `[batch, length, width]` in the weights' dtype."""
    table = weights["embedding"]
    return rows_of(table, token_ids) * jnp.asarray(config.width**0.5, table.dtype)


def logits(config: GemmaConfig, weights: Mapping[str, Any], hidden: jax.Array) -> jax.Array:
    """Next-token logits, `[..., vocab]` float32, from hidden states `[..., width]`."""
    return softcap_scores(scores(hidden, output_matrix(weights)), config.final_softcap)


def stacked_layers(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    adapters: Adapters | None,
    dropout_key: jax.Array | None = None,
) -> dict[str, Any]:
    """Everything the scan over layers slices: index, weights, adapters, kind of attention, keys."""
    layers = dict(weights["layers"])
    layers["index"] = jnp.arange(config.layers)
    layers["is_local"] = jnp.asarray(config.layer_is_local)
    layers["adapters"] = adapters.tree if adapters is not None else {}
    if adapters is not None and dropout_key is not None and adapters.config.dropout > 0:
        layers["dropout_key"] = jax.random.split(dropout_key, config.layers)
    return layers


def single_layers(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    token_ids: jax.Array,
    embedded: jax.Array,
    adapters: Adapters | None,
    dropout_key: jax.Array | None = None,
) -> list[dict[str, Any]]:
    """What `stacked_layers` gives, layer by layer, where the layers aren't alike.

    Args:
        config: The family's data.
        weights: The pytree of weights.
        token_ids: `[batch, length]` int32.
        embedded: What `embed` makes of them.
        adapters: LoRA matrices beside the weights.
        dropout_key: Key of the adapters' dropout; None switches it off.
    """
    layers = split_layers(config, weights, adapters, take=lambda stack, row: stack[row])
    if adapters is not None and dropout_key is not None and adapters.config.dropout > 0:
        keys = jax.random.split(dropout_key, config.layers)
        for layer, one_key in zip(layers, keys, strict=True):
            layer["dropout_key"] = one_key
    if config.per_layer_width:
        inputs = per_layer_inputs(config, weights, token_ids, embedded)
        for index, layer in enumerate(layers):
            layer["input"] = inputs[:, :, index]
    return layers


def split_layers(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    adapters: Adapters | None,
    *,
    take: Callable[[Any, int], Any],
) -> list[dict[str, Any]]:
    """Each layer's weights, and under `adapters` its LoRA matrices; `take(stack, row)` is one."""
    tree = adapters.tree if adapters is not None else {}
    layers: list[dict[str, Any]] = [{"adapters": {}} for _ in range(config.layers)]
    for (name, index), (key, row) in layer_places(config).items():
        layers[index][name] = take(weights["layers"][key], row)
        if key in tree:
            pair = {part: take(matrix, row) for part, matrix in tree[key].items()}
            layers[index]["adapters"][name] = pair
    return layers


def per_layer_inputs(
    config: GemmaConfig, weights: Mapping[str, Any], token_ids: jax.Array, embedded: jax.Array
) -> jax.Array:
    """What each layer is told of the tokens, `[batch, length, layers, per_layer_width]`.

    The mean of an embedding of its own and a projection of the embedded token, times sqrt(2).

    Source:
        Gemma 3n and 4's per-layer embeddings, as in `transformers` 5's `Gemma4TextModel`.
    """
    shape = (*token_ids.shape, config.layers, config.per_layer_width)
    table = weights["per_layer_embedding"]
    own = rows_of(table, token_ids)
    own = own * jnp.asarray(config.per_layer_width**0.5, table.dtype)
    projected = product(embedded, weights["per_layer_model_projection"])
    projected = projected * jnp.asarray(config.width**-0.5, projected.dtype)
    projected = rms_norm(projected.reshape(shape), weights["per_layer_projection_norm"], config)
    return (projected + own.reshape(shape)) * jnp.asarray(2**-0.5, projected.dtype)


def _rematerialised(
    step: Callable[..., Any], remat: Remat, *, prevent_cse: bool = False
) -> Callable[..., Any]:
    """A layer's step, forgetting what `remat` says it may compute again, or have brought back.

    Outside of a scan the compiler would merge the second computation with the first, unless
    `prevent_cse` forbids it.
    """
    if remat == "none":
        return step
    policies = {
        "dots": jax.checkpoint_policies.save_only_these_names(PRODUCT, ATTENDED),
        "full": None,
        "offload": jax.checkpoint_policies.save_and_offload_only_these_names(
            names_which_can_be_saved=[],
            names_which_can_be_offloaded=[PRODUCT, ATTENDED],
            offload_src="device",
            offload_dst="pinned_host",
        ),
    }
    return jax.checkpoint(step, policy=policies[remat], prevent_cse=prevent_cse)

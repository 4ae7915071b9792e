"""New tokens by a program for each layer, instead of one for all: what a processor does fastest.

XLA's loop over layers copies each layer's matrices before it multiplies by them on a CPU, and
keeps bfloat16 ones as float32 as well. Here they are read where they lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .config import GemmaConfig
from .decode import Cache, Tokens, check_room, one_layer, through_layers, tokens_at, with_last
from .forward import embed, per_layer_inputs, split_layers
from .layers import rms_norm
from .lora import Adapters
from .tiles import MOST_AT_ONCE

Layers = list[dict[str, Any]]


def layers_in_place(
    config: GemmaConfig, weights: Mapping[str, Any], adapters: Adapters | None
) -> Layers | None:
    """Each layer's matrices, in the memory of the stacked ones; None where no processor has them.

    Args:
        config: The family's data.
        weights: The pytree of weights.
        adapters: LoRA matrices beside the weights.
    """
    arrays = jax.tree.leaves((weights, adapters))
    devices = {device for array in arrays for device in array.devices()}
    if len(devices) > 1 or {device.platform for device in devices} != {"cpu"}:
        return None

    def take(stack: jax.Array, row: int) -> jax.Array:
        return jax.device_put(np.asarray(stack)[row], *devices, may_alias=True)

    return split_layers(config, weights, adapters, take=take)


def prefill_by_layers(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    layers: Layers,
    token_ids: jax.Array,
    *,
    lengths: jax.Array,
    cache: Cache,
    adapters: Adapters | None = None,
    chunk: int = MOST_AT_ONCE,
) -> tuple[jax.Array, Cache]:
    """What `decode.prefill` gives, not to be compiled as a whole.

    Args:
        config: The family's data.
        weights: The pytree of weights.
        layers: Of `layers_in_place`.
        token_ids: `[batch, length]` int32, as `prefill` takes them.
        lengths: `[batch]` int32, tokens of each prompt, at least 1.
        cache: Empty, by layer, with at least `length` slots; its memory is taken.
        adapters: LoRA matrices beside the weights.
        chunk: Tokens of a row that are computed at once.
    """
    batch, length = token_ids.shape
    size = min(chunk, length)
    last = jnp.zeros((batch, config.width), weights["embedding"].dtype)
    for start in range(0, length, size):
        hidden, cache = extend_by_layers(
            config,
            weights,
            layers,
            token_ids[:, start : start + size],
            starts=jnp.full(batch, start, jnp.int32),
            lengths=lengths,
            cache=cache,
            adapters=adapters,
        )
        last = _with_last(last, hidden, lengths=lengths, start=start)
    return last, cache


def extend_by_layers(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    layers: Layers,
    token_ids: jax.Array,
    *,
    starts: jax.Array,
    cache: Cache,
    lengths: jax.Array | None = None,
    adapters: Adapters | None = None,
) -> tuple[jax.Array, Cache]:
    """What `decode.extend` gives, not to be compiled as a whole.

    Args:
        config: The family's data.
        weights: The pytree of weights.
        layers: Of `layers_in_place`.
        token_ids: `[batch, length]` int32, as `extend` takes them.
        starts: `[batch]` int32, tokens that each row has already.
        cache: By layer; its memory is taken.
        lengths: `[batch]` int32, tokens of each row without padding; None where there is none.
        adapters: LoRA matrices beside the weights.

    Raises:
        ValueError: If more tokens are given than a ring can take at once.
    """
    check_room(config, cache, length=token_ids.shape[1])
    tables = {name: table for name, table in weights.items() if name != "layers"}
    x, tokens, inputs = _begin(config, cache.sizes, tables, token_ids, starts, lengths)
    if inputs:
        layers = [layer | {"input": one} for layer, one in zip(layers, inputs, strict=True)]
    made_with = None if adapters is None else replace(adapters, tree={})
    x, cache = through_layers(config, layers, made_with, tokens, x, cache, step=_one_layer)
    return _normed(x, weights["final_norm"], config), cache


_with_last = jax.jit(with_last)
_one_layer = jax.jit(
    one_layer, static_argnames=("config", "kind"), donate_argnames=("keys", "values")
)
_normed = jax.jit(rms_norm, static_argnames="config")


@partial(jax.jit, static_argnums=(0, 1))
def _begin(
    config: GemmaConfig,
    slots: tuple[int, ...],
    tables: Mapping[str, Any],
    token_ids: jax.Array,
    starts: jax.Array,
    lengths: jax.Array | None,
) -> tuple[jax.Array, Tokens, list[jax.Array]]:
    """The embedded tokens, where they are, and what each layer is told of them, if anything."""
    x = embed(config, tables, token_ids)
    tokens = tokens_at(config, starts, lengths, length=token_ids.shape[1], slots=slots)
    if not config.per_layer_width:
        return x, tokens, []
    inputs = per_layer_inputs(config, tables, token_ids, x)
    return x, tokens, [inputs[:, :, index] for index in range(config.layers)]

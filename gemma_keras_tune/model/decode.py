"""One prompt pass and then a token at a time, with keys and values kept.

A cache slot's index is the token's position: row `b` of a right-padded batch writes its next
token into slot `lengths[b]`, over whatever padding left there, and a query at position `p` sees
the slots up to `p`. Hence rows of different lengths need no mask of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .config import GemmaConfig
from .forward import (
    attention,
    decoder_layer,
    embed,
    projector,
    rms_norm,
    rope_tables,
    stacked_layers,
)
from .lora import Adapters


@partial(jax.tree_util.register_dataclass, data_fields=("keys", "values"), meta_fields=())
@dataclass(frozen=True)
class Cache:
    """Keys and values of all layers, each `[layers, batch, slots, kv_heads, head_dim]`."""

    keys: jax.Array
    values: jax.Array


def empty_cache(config: GemmaConfig, *, batch: int, slots: int, dtype: Any) -> Cache:
    """A cache of zeros for `batch` rows of at most `slots` tokens."""
    shape = (config.layers, batch, slots, config.kv_heads, config.head_dim)
    return Cache(keys=jnp.zeros(shape, dtype), values=jnp.zeros(shape, dtype))


def grow_cache(cache: Cache, *, slots: int) -> Cache:
    """The same cache with room for `slots` tokens a row, at least as many as it has."""
    more = slots - cache.keys.shape[2]
    width = [(0, 0), (0, 0), (0, more), (0, 0), (0, 0)]
    return Cache(keys=jnp.pad(cache.keys, width), values=jnp.pad(cache.values, width))


def prefill(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    token_ids: jax.Array,
    *,
    lengths: jax.Array,
    cache: Cache,
    adapters: Adapters | None = None,
    chunk: int = 256,
) -> tuple[jax.Array, Cache]:
    """`(last, cache)`: the hidden state at each prompt's last token, and the prompts' cache.

    The prompts go through the model a chunk at a time, so that attention scores exist for
    `chunk` queries only.

    Args:
        config: The family's data.
        weights: The pytree of weights.
        token_ids: `[batch, length]` int32, right-padded; `length` is at most `chunk`, or a
            multiple of it.
        lengths: `[batch]` int32, tokens of each prompt, at least 1.
        cache: Empty, with at least `length` slots.
        adapters: LoRA matrices beside the weights.
        chunk: Tokens of a row that are computed at once.

    Returns:
        `last` `[batch, width]` after the final norm, and the filled cache.
    """
    batch, length = token_ids.shape
    size = min(chunk, length)
    rows = jnp.arange(batch)

    def one_chunk(carry: tuple[Cache, jax.Array], start: jax.Array) -> tuple[Any, None]:
        cache, last = carry
        ids = jax.lax.dynamic_slice_in_dim(token_ids, start, size, axis=1)
        starts = jnp.full(batch, start, jnp.int32)
        hidden, cache = extend(config, weights, ids, starts=starts, cache=cache, adapters=adapters)
        place = lengths - 1 - start
        found = hidden[rows, jnp.clip(place, 0, size - 1)]
        here = (place >= 0) & (place < size)
        return (cache, jnp.where(here[:, None], found, last)), None

    last = jnp.zeros((batch, config.width), weights["embedding"].dtype)
    starts = jnp.arange(0, length, size, dtype=jnp.int32)
    (cache, last), _ = jax.lax.scan(one_chunk, (cache, last), starts)
    return last, cache


def extend(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    token_ids: jax.Array,
    *,
    starts: jax.Array,
    cache: Cache,
    adapters: Adapters | None = None,
) -> tuple[jax.Array, Cache]:
    """`(hidden, cache)` after the tokens at positions `starts[b], starts[b] + 1, ...`.

    Args:
        config: The family's data.
        weights: The pytree of weights.
        token_ids: `[batch, length]` int32; a whole prompt (right-padded), or one token a row.
        starts: `[batch]` int32, tokens that each row has already.
        cache: Holds the earlier tokens; must have `starts + length` slots at least.
        adapters: LoRA matrices beside the weights.

    Returns:
        `hidden` `[batch, length, width]` after the final norm, and the cache with the tokens in.
    """
    batch, length = token_ids.shape
    positions = starts[:, None] + jnp.arange(length, dtype=jnp.int32)
    rope = rope_tables(config, positions)
    slots = jnp.arange(cache.keys.shape[2])
    distance = positions[:, :, None] - slots
    rows = jnp.arange(batch)[:, None]

    def layer_step(carry: tuple[jax.Array, Cache], layer: dict[str, Any]) -> tuple[Any, None]:
        x, cache = carry
        index = layer["index"]
        after: list[Cache] = []

        def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
            keys = cache.keys.at[index, rows, positions].set(key)
            values = cache.values.at[index, rows, positions].set(value)
            after.append(Cache(keys=keys, values=values))
            window = jnp.where(layer["is_local"], config.sliding_window, slots.size)
            mask = (distance >= 0) & (distance < window)
            softcap = config.attention_softcap
            return attention(query, keys[index], values[index], mask=mask, softcap=softcap)

        project = projector(layer, adapters)
        sin_cos = rope.select(layer["is_local"])
        x = decoder_layer(config, layer, x, project=project, sin_cos=sin_cos, attend=attend)
        return (x, after[0]), None

    layers = stacked_layers(config, weights, adapters) | {"index": jnp.arange(config.layers)}
    # The cache is carried, not stacked, so that XLA writes the new tokens into it in place.
    start = (embed(config, weights, token_ids), cache)
    (x, cache), _ = jax.lax.scan(layer_step, start, layers)
    return rms_norm(x, weights["final_norm"], config), cache

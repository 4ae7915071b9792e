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

from .attention import attention, rope_tables
from .config import GemmaConfig, LayerKind
from .forward import embed, single_layers, stacked_layers
from .layers import decoder_layer, projector, rms_norm
from .lora import Adapters


@partial(jax.tree_util.register_dataclass, data_fields=("keys", "values"), meta_fields=())
@dataclass(frozen=True)
class Cache:
    """Keys and values of all layers.

    Attributes:
        keys: Arrays `[layers, batch, slots, kv_heads, head_dim]`: one, or one for each layer
            that has keys of its own where layers differ.
        values: Shaped like `keys`.
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]

    @property
    def slots(self) -> int:
        """For how many tokens of a row it has room."""
        return self.keys[0].shape[2]


def empty_cache(config: GemmaConfig, *, batch: int, slots: int, dtype: Any) -> Cache:
    """A cache of zeros for `batch` rows of at most `slots` tokens."""
    kinds = [kind for kind in config.kinds if kind.has_key]
    stacks = [(config.layers, kinds[0])] if config.is_uniform else [(1, kind) for kind in kinds]
    shapes = [(layers, batch, slots, kind.kv_heads, kind.head_dim) for layers, kind in stacks]

    def zeros() -> tuple[jax.Array, ...]:
        return tuple(jnp.zeros(shape, dtype) for shape in shapes)

    return Cache(keys=zeros(), values=zeros())


def grow_cache(cache: Cache, *, slots: int) -> Cache:
    """The same cache with room for `slots` tokens a row, at least as many as it has."""
    width = [(0, 0), (0, 0), (0, slots - cache.slots), (0, 0), (0, 0)]
    return jax.tree.map(lambda array: jnp.pad(array, width), cache)


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
    slots = jnp.arange(cache.slots)
    distance = positions[:, :, None] - slots
    rows = jnp.arange(batch)[:, None]

    def step(
        kind: LayerKind,
        layer: dict[str, Any],
        x: jax.Array,
        keys: jax.Array,
        values: jax.Array,
        index: int | jax.Array,
        is_local: bool | jax.Array,
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """`(x, keys, values)` after a layer whose keys and values are at `index`."""
        after = [keys, values]

        def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
            if kind.has_key:
                after[0] = keys.at[index, rows, positions].set(key)
                after[1] = values.at[index, rows, positions].set(value)
            window = jnp.where(is_local, config.sliding_window, slots.size)
            mask = (distance >= 0) & (distance < window)
            softcap = config.attention_softcap
            return attention(query, after[0][index], after[1][index], mask=mask, softcap=softcap)

        x, _ = decoder_layer(
            config,
            kind,
            layer,
            x,
            project=projector(layer, adapters),
            sin_cos=rope.select(is_local),
            attend=attend,
            # a layer that shares attends to what the cache holds, whatever it is given here
            shared=None if kind.has_key else (keys, values),
        )
        return x, after[0], after[1]

    x = embed(config, weights, token_ids)
    if config.is_uniform:

        def scanned(
            carry: tuple[jax.Array, jax.Array, jax.Array], layer: dict[str, Any]
        ) -> tuple[Any, None]:
            x, keys, values = carry
            index, is_local = layer["index"], layer["is_local"]
            return step(config.kinds[0], layer, x, keys, values, index, is_local), None

        layers = stacked_layers(config, weights, adapters) | {"index": jnp.arange(config.layers)}
        # The cache is carried, not stacked, so that XLA writes the new tokens into it in place.
        start = (x, cache.keys[0], cache.values[0])
        (x, keys, values), _ = jax.lax.scan(scanned, start, layers)
        return rms_norm(x, weights["final_norm"], config), Cache((keys,), (values,))

    all_keys, all_values = list(cache.keys), list(cache.values)
    own = [index for index, kind in enumerate(config.kinds) if kind.has_key]
    for index, layer in enumerate(single_layers(config, weights, token_ids, x, adapters)):
        kind, place = config.kinds[index], own.index(config.kv_sources[index])
        x, all_keys[place], all_values[place] = step(
            kind, layer, x, all_keys[place], all_values[place], 0, kind.is_local
        )
    x = rms_norm(x, weights["final_norm"], config)
    return x, Cache(tuple(all_keys), tuple(all_values))

"""One prompt pass and then a token at a time, with keys and values kept.

A cache slot's index is the token's position: row `b` of a right-padded batch writes its next
token into slot `lengths[b]`, over whatever padding left there, and a query at position `p` sees
the slots up to `p`. Hence rows of different lengths need no mask of their own.

Where the cache is longer than the window of local layers, those keep a ring of slots: a token goes
to its position modulo their number, over one that no later query sees.
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
from .tiles import MOST_AT_ONCE, cache_slots


@partial(jax.tree_util.register_dataclass, data_fields=("keys", "values"), meta_fields=())
@dataclass(frozen=True)
class Cache:
    """Keys and values of all layers.

    Attributes:
        keys: Arrays `[layers, batch, slots, kv_heads, head_dim]`: one, or one for each layer that
            has keys of its own, where layers differ or local ones keep fewer slots.
        values: Shaped like `keys`.
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]

    @property
    def slots(self) -> int:
        """For how many tokens of a row it has room."""
        return max(keys.shape[2] for keys in self.keys)


def empty_cache(
    config: GemmaConfig, *, batch: int, slots: int, dtype: Any, rings: bool = True
) -> Cache:
    """A cache of zeros for `batch` rows of at most `slots` tokens.

    Args:
        config: The family's data.
        batch: Rows.
        slots: Tokens of a row.
        dtype: Of keys and values.
        rings: Whether local layers may keep no more than their window; then no more than
            `MOST_AT_ONCE` tokens of a row can be written at once.
    """
    shapes = [
        (layers, batch, own, kind.kv_heads, kind.head_dim)
        for layers, own, kind in _stacks(config, slots, rings=rings)
    ]

    def zeros() -> tuple[jax.Array, ...]:
        return tuple(jnp.zeros(shape, dtype) for shape in shapes)

    return Cache(keys=zeros(), values=zeros())


def grow_cache(config: GemmaConfig, cache: Cache, *, slots: int) -> Cache:
    """The same cache with room for `slots` tokens a row, at least as many as it has."""
    stacks = _stacks(config, slots)

    def grown(arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        if len(arrays) < len(stacks):  # from here on local layers keep less
            arrays = tuple(arrays[0][layer, None] for layer in range(config.layers))
        return tuple(
            jnp.pad(array, [(0, 0), (0, 0), (0, own - array.shape[2]), (0, 0), (0, 0)])
            for array, (_, own, _) in zip(arrays, stacks, strict=True)
        )

    return Cache(keys=grown(cache.keys), values=grown(cache.values))


def _stacks(
    config: GemmaConfig, slots: int, *, rings: bool = True
) -> list[tuple[int, int, LayerKind]]:
    """`(layers, slots, kind)` of each array of a cache."""
    kinds = [kind for kind in config.kinds if kind.has_key]
    own = cache_slots(config, slots) if rings else (slots,) * len(kinds)
    if config.is_uniform and set(own) == {slots}:
        return [(config.layers, slots, kinds[0])]
    return [(1, *one) for one in zip(own, kinds, strict=True)]


def prefill(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    token_ids: jax.Array,
    *,
    lengths: jax.Array,
    cache: Cache,
    adapters: Adapters | None = None,
    chunk: int = MOST_AT_ONCE,
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
        chunk: Tokens of a row that are computed at once, `MOST_AT_ONCE` at most.

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
        hidden, cache = extend(
            config, weights, ids, starts=starts, lengths=lengths, cache=cache, adapters=adapters
        )
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
    lengths: jax.Array | None = None,
    adapters: Adapters | None = None,
) -> tuple[jax.Array, Cache]:
    """`(hidden, cache)` after the tokens at positions `starts[b], starts[b] + 1, ...`.

    Args:
        config: The family's data.
        weights: The pytree of weights.
        token_ids: `[batch, length]` int32; a whole prompt (right-padded), or one token a row.
            A cache with rings takes `MOST_AT_ONCE` at once.
        starts: `[batch]` int32, tokens that each row has already.
        cache: Holds the earlier tokens; must have `starts + length` slots at least.
        lengths: `[batch]` int32, tokens of each row without padding; None where there is none.
        adapters: LoRA matrices beside the weights.

    Returns:
        `hidden` `[batch, length, width]` after the final norm, and the cache with the tokens in.

    Raises:
        ValueError: If more tokens are given than a ring can take at once.
    """
    batch, length = token_ids.shape
    rings = {keys.shape[2] for keys in cache.keys} - {cache.slots}
    if rings and length > min(rings) - config.sliding_window:
        raise ValueError(f"{length} tokens at once are more than a cache with rings takes")
    positions = starts[:, None] + jnp.arange(length, dtype=jnp.int32)
    rope = rope_tables(config, positions)
    rows = jnp.arange(batch)[:, None]
    ends = starts + length if lengths is None else jnp.minimum(starts + length, lengths)
    places = {
        size: _places(positions, ends, slots=size, is_ring=size in rings)
        for size in (cache.slots, *rings)
    }

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
        written, distance = places[keys.shape[2]]

        def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
            if kind.has_key:
                after[0] = keys.at[index, rows, written].set(key, mode="drop")
                after[1] = values.at[index, rows, written].set(value, mode="drop")
            window = jnp.where(is_local, config.sliding_window, cache.slots)
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
    if config.is_uniform and len(cache.keys) == 1:

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


def _places(
    positions: jax.Array, ends: jax.Array, *, slots: int, is_ring: bool
) -> tuple[jax.Array, jax.Array]:
    """`(the slot that each token is written to, how far behind it what each slot then holds is)`.

    Args:
        positions: `[batch, length]` int32.
        ends: `[batch]` int32, tokens of each row once these are written; the rest is padding.
        slots: Of the cache.
        is_ring: Whether positions go round. Padding is then written nowhere (beyond the last slot),
            and what was never written is in front of every query.

    Returns:
        `[batch, length]` and `[batch, length, slots]`, int32.
    """
    index = jnp.arange(slots)
    if not is_ring:
        return positions, positions[:, :, None] - index
    written = jnp.where(positions < ends[:, None], positions % slots, slots)
    last = ends[:, None] - 1
    held = last - (last - index) % slots
    held = jnp.where(held >= 0, held, jnp.iinfo(jnp.int32).max // 2)
    return written, positions[:, :, None] - held[:, None, :]

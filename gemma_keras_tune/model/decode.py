"""One prompt pass and then a token at a time, with keys and values kept.

A cache slot's index is the token's position: row `b` of a right-padded batch writes its next
token into slot `lengths[b]`, over whatever padding left there, and a query at position `p` sees
the slots up to `p`. Hence rows of different lengths need no mask of their own.

Where the cache is longer than the window of local layers, those keep a ring of slots: a token goes
to its position modulo their number, over one that no later query sees.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .attention import RopeTables, attention, rope_tables
from .config import GemmaConfig, LayerKind
from .forward import embed, single_layers, stacked_layers
from .layers import decoder_layer, projector, rms_norm
from .lora import Adapters
from .narrow import layer_of, numbers, put, stored_dtype
from .tiles import MOST_AT_ONCE, cache_slots


@partial(jax.tree_util.register_dataclass, data_fields=("keys", "values"), meta_fields=())
@dataclass(frozen=True)
class Cache:
    """Keys and values of all layers.

    Attributes:
        keys: Arrays `[layers, batch, kv_heads, slots, head_dim]`: one, or one for each layer that
            has keys of its own, where layers differ or local ones keep fewer slots.
        values: Shaped like `keys`; both of `stored_dtype`.
    """

    keys: tuple[jax.Array, ...]
    values: tuple[jax.Array, ...]

    @property
    def slots(self) -> int:
        """For how many tokens of a row it has room."""
        return self.sizes[-1]

    @property
    def sizes(self) -> tuple[int, ...]:
        """The slots of its arrays, each size once, smallest first: all but the last are rings."""
        return tuple(sorted({keys.shape[3] for keys in self.keys}))


def empty_cache(
    config: GemmaConfig,
    *,
    batch: int,
    slots: int,
    dtype: Any,
    rings: bool = True,
    by_layer: bool = False,
) -> Cache:
    """A cache of zeros for `batch` rows of at most `slots` tokens.

    Args:
        config: The family's data.
        batch: Rows.
        slots: Tokens of a row.
        dtype: Of keys and values.
        rings: Whether local layers may keep no more than their window; then no more than
            `MOST_AT_ONCE` tokens of a row can be written at once.
        by_layer: Whether each layer has arrays of its own even where all are alike.
    """
    shapes = [
        (layers, batch, kind.kv_heads, own, kind.head_dim)
        for layers, own, kind in _stacks(config, slots, rings=rings, by_layer=by_layer)
    ]

    def zeros() -> tuple[jax.Array, ...]:
        return tuple(jnp.zeros(shape, stored_dtype(dtype)) for shape in shapes)

    return Cache(keys=zeros(), values=zeros())


def grow_cache(config: GemmaConfig, cache: Cache, *, slots: int) -> Cache:
    """The same cache with room for `slots` tokens a row, at least as many as it has."""
    stacks = _stacks(config, slots, by_layer=len(cache.keys) > 1)

    def grown(arrays: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        if len(arrays) < len(stacks):  # from here on local layers keep less
            arrays = tuple(arrays[0][layer, None] for layer in range(config.layers))
        return tuple(
            jnp.pad(array, [(0, 0), (0, 0), (0, 0), (0, own - array.shape[3]), (0, 0)])
            for array, (_, own, _) in zip(arrays, stacks, strict=True)
        )

    return Cache(keys=grown(cache.keys), values=grown(cache.values))


def _stacks(
    config: GemmaConfig, slots: int, *, rings: bool = True, by_layer: bool = False
) -> list[tuple[int, int, LayerKind]]:
    """`(layers, slots, kind)` of each array of a cache."""
    kinds = [kind for kind in config.kinds if kind.has_key]
    own = cache_slots(config, slots) if rings else (slots,) * len(kinds)
    if config.is_uniform and set(own) == {slots} and not by_layer:
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

    def one_chunk(carry: tuple[Cache, jax.Array], start: jax.Array) -> tuple[Any, None]:
        cache, last = carry
        ids = jax.lax.dynamic_slice_in_dim(token_ids, start, size, axis=1)
        starts = jnp.full(batch, start, jnp.int32)
        hidden, cache = extend(
            config, weights, ids, starts=starts, lengths=lengths, cache=cache, adapters=adapters
        )
        return (cache, with_last(last, hidden, lengths=lengths, start=start)), None

    last = jnp.zeros((batch, config.width), weights["embedding"].dtype)
    starts = jnp.arange(0, length, size, dtype=jnp.int32)
    (cache, last), _ = jax.lax.scan(one_chunk, (cache, last), starts)
    return last, cache


def with_last(
    last: jax.Array, hidden: jax.Array, *, lengths: jax.Array, start: int | jax.Array
) -> jax.Array:
    """`last` `[batch, width]`, with the states at the ends of those rows that end here.

    Args:
        last: What the chunks before gave.
        hidden: `[batch, length, width]`, of the chunk that begins at position `start`.
        lengths: `[batch]` int32, tokens of each row.
        start: The chunk's first position.
    """
    place, size = lengths - 1 - start, hidden.shape[1]
    found = hidden[jnp.arange(len(lengths)), jnp.clip(place, 0, size - 1)]
    return jnp.where(((place >= 0) & (place < size))[:, None], found, last)


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
    length = token_ids.shape[1]
    check_room(config, cache, length=length)
    x = embed(config, weights, token_ids)
    tokens = tokens_at(config, starts, lengths, length=length, slots=cache.sizes)
    if config.is_uniform and len(cache.keys) == 1:

        def scanned(
            carry: tuple[jax.Array, jax.Array, jax.Array], slices: dict[str, Any]
        ) -> tuple[Any, None]:
            x, keys, values = carry
            layer = layer_of(stacked, slices, slices["index"])
            at = {"index": layer["index"], "is_local": layer["is_local"]}
            kind = config.kinds[0]
            return one_layer(config, kind, adapters, tokens, layer, x, keys, values, **at), None

        stacked = stacked_layers(config, weights, adapters)
        # The cache is carried, not stacked, so that XLA writes the new tokens into it in place.
        start = (x, cache.keys[0], cache.values[0])
        (x, keys, values), _ = jax.lax.scan(scanned, start, stacked)
        return rms_norm(x, weights["final_norm"], config), Cache((keys,), (values,))
    single = single_layers(config, weights, token_ids, x, adapters)
    x, cache = through_layers(config, single, adapters, tokens, x, cache)
    return rms_norm(x, weights["final_norm"], config), cache


def check_room(config: GemmaConfig, cache: Cache, *, length: int) -> None:
    """Refuses more tokens of a row at once than a cache with rings can take.

    Raises:
        ValueError: If there are more.
    """
    if cache.sizes[:-1] and length > cache.sizes[0] - config.sliding_window:
        raise ValueError(f"{length} tokens at once are more than a cache with rings takes")


@partial(jax.tree_util.register_dataclass, data_fields=("rope", "places"), meta_fields=())
@dataclass(frozen=True)
class Tokens:
    """Where new tokens are.

    Attributes:
        rope: Their rotary tables.
        places: By a cache's slots: the slot that each token is written to `[batch, length]`, and
            how far behind it what each slot then holds is `[batch, length, slots]`, int32.
    """

    rope: RopeTables
    places: dict[int, tuple[jax.Array, jax.Array]]


def tokens_at(
    config: GemmaConfig,
    starts: jax.Array,
    lengths: jax.Array | None,
    *,
    length: int,
    slots: tuple[int, ...],
) -> Tokens:
    """Where `length` tokens a row are, after the `starts` that it has.

    Args:
        config: The family's data.
        starts: `[batch]` int32, tokens that each row has already.
        lengths: `[batch]` int32, tokens of each row without padding; None where there is none.
        length: New tokens a row.
        slots: What the arrays of a cache have room for, the smallest first; all but the last are
            rings.
    """
    positions = starts[:, None] + jnp.arange(length, dtype=jnp.int32)
    ends = starts + length if lengths is None else jnp.minimum(starts + length, lengths)
    places = {
        size: _places(positions, ends, slots=size, is_ring=size < slots[-1]) for size in slots
    }
    return Tokens(rope_tables(config, positions), places)


def one_layer(
    config: GemmaConfig,
    kind: LayerKind,
    adapters: Adapters | None,
    tokens: Tokens,
    layer: Mapping[str, Any],
    x: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    *,
    index: int | jax.Array = 0,
    is_local: bool | jax.Array | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`(x, keys, values)` after a layer.

    Args:
        config: The family's data.
        kind: What the layer is made of.
        adapters: What its LoRA matrices were made with.
        layer: Its weights and LoRA matrices.
        tokens: Where the tokens are.
        x: `[batch, length, width]`.
        keys: `[layers, batch, kv_heads, slots, head_dim]`, with the layer's at `index`.
        values: Shaped like `keys`.
        index: Where in them the layer is.
        is_local: Whether it has a window, where that isn't what `kind` says.
    """
    after = [keys, values]
    rows = jnp.arange(x.shape[0])[:, None]
    written, distance = tokens.places[keys.shape[3]]
    is_local = kind.is_local if is_local is None else is_local

    def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        if kind.has_key:
            after[0] = put(keys, np.index_exp[index, rows, :, written], key)
            after[1] = put(values, np.index_exp[index, rows, :, written], value)
        window = jnp.where(is_local, config.sliding_window, max(tokens.places))
        mask = (distance >= 0) & (distance < window)
        key, value = (numbers(array[index]) for array in after)
        softcap = config.attention_softcap
        return attention(query, key, value, mask=mask, softcap=softcap)

    x, _ = decoder_layer(
        config,
        kind,
        layer,
        x,
        project=projector(layer, adapters),
        sin_cos=tokens.rope.select(is_local),
        attend=attend,
        # a layer that shares attends to what the cache holds, whatever it is given here
        shared=None if kind.has_key else (keys, values),
    )
    return x, after[0], after[1]


def through_layers(
    config: GemmaConfig,
    layers: Sequence[Mapping[str, Any]],
    adapters: Adapters | None,
    tokens: Tokens,
    x: jax.Array,
    cache: Cache,
    *,
    step: Callable[..., tuple[jax.Array, jax.Array, jax.Array]] = one_layer,
) -> tuple[jax.Array, Cache]:
    """`(x, cache)` after all layers, each of which has arrays of its own.

    Args:
        config: The family's data.
        layers: What `single_layers` gives.
        adapters: What the LoRA matrices of the layers were made with.
        tokens: Where the tokens are.
        x: `[batch, length, width]`, what they are embedded as.
        cache: With an array for each layer that has keys of its own.
        step: What does a layer's work: `one_layer`, or the same compiled.
    """
    keys, values = list(cache.keys), list(cache.values)
    own = [index for index, kind in enumerate(config.kinds) if kind.has_key]
    for index, layer in enumerate(layers):
        # alike but for their windows, one program can serve them all
        kind = config.kinds[0 if config.is_uniform else index]
        is_local = config.layer_is_local[index] if config.is_uniform else None
        place = own.index(config.kv_sources[index])
        x, keys[place], values[place] = step(
            config, kind, adapters, tokens, layer, x, keys[place], values[place], is_local=is_local
        )
    return x, Cache(tuple(keys), tuple(values))


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

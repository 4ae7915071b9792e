"""The token loop of a batch of answers, the way that is fastest where the weights lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from ..model.config import GemmaConfig
from ..model.decode import Cache, empty_cache, extend, grow_cache, prefill
from ..model.decode_layers import extend_by_layers, layers_in_place, prefill_by_layers
from ..model.forward import logits
from ..model.lora import Adapters
from .sampling import Sampling, choose

_NOTHING = Cache((), ())


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("row_keys", "lengths", "limits", "stop_ids", "sampling"),
    meta_fields=(),
)
@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a batch's rows are bound to: `[batch]` keys, prompt lengths and longest answers."""

    row_keys: jax.Array
    lengths: jax.Array
    limits: jax.Array
    stop_ids: jax.Array
    sampling: Sampling


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("cache", "ids", "counts", "done", "step"),
    meta_fields=(),
)
@dataclass(frozen=True, kw_only=True)
class State:
    """A batch after `step` tokens a row: `ids` `[batch, room]`, `counts` and `done` `[batch]`."""

    cache: Cache
    ids: jax.Array
    counts: jax.Array
    done: jax.Array
    step: jax.Array


class TokenLoop:
    """Makes answers a token at a time.

    On an accelerator the loop is one program; on a processor each layer is one, which reads its
    matrices where they lie (`model.decode_layers`).

    Args:
        config: The family's data.
        weights: The pytree of weights.
        adapters: LoRA matrices beside the weights.
    """

    def __init__(
        self, config: GemmaConfig, weights: Mapping[str, Any], adapters: Adapters | None
    ) -> None:
        self._config, self._weights, self._adapters = config, weights, adapters
        self._layers = layers_in_place(config, weights, adapters)

    def first_tokens(self, token_ids: jax.Array, rules: Rules, *, room: int) -> State:
        """The state after the prompts and one token a row.

        Args:
            token_ids: `[batch, length]` int32, right-padded.
            rules: The rows' rules.
            room: New tokens a row that there will be room for.
        """
        config, weights, adapters = self._config, self._weights, self._adapters
        if self._layers is None:
            return _first_tokens(config, weights, adapters, token_ids, rules, room=room)
        hidden, cache = prefill_by_layers(
            config,
            weights,
            self._layers,
            token_ids,
            lengths=rules.lengths,
            cache=_cache_for(config, weights, token_ids, room=room, by_layer=True),
            adapters=adapters,
        )
        state = _before(_NOTHING, rules, room=room)
        return replace(_with_next(config, weights, state, rules, hidden), cache=cache)

    def more_tokens(self, state: State, rules: Rules, *, until: int) -> State:
        """The state after `until` tokens a row, or when all rows are done.

        Args:
            state: The state before, whose memory is taken.
            rules: The rows' rules.
            until: Tokens a row.
        """
        config, weights, adapters = self._config, self._weights, self._adapters
        if self._layers is None:
            return _more_tokens(config, weights, adapters, state, rules, until=until)
        cache, state = state.cache, replace(state, cache=_NOTHING)
        while _goes_on(state, until):
            token_ids, starts = _newest(state, rules)
            hidden, cache = extend_by_layers(
                config,
                weights,
                self._layers,
                token_ids,
                starts=starts,
                cache=cache,
                adapters=adapters,
            )
            state = _with_next(config, weights, state, rules, hidden[:, 0])
        return replace(state, cache=cache)

    def with_room(self, state: State, *, slots: int, room: int) -> State:
        """The same state with room for `room` new tokens a row, and `slots` in the cache."""
        ids = jnp.pad(state.ids, [(0, 0), (0, room - state.ids.shape[1])])
        return replace(state, cache=grow_cache(self._config, state.cache, slots=slots), ids=ids)


@jax.jit
def row_keys(seed: jax.Array, places: jax.Array) -> jax.Array:
    """`[batch]` keys that depend on the seed and on each prompt's place."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(jax.random.key(seed), places)


@partial(jax.jit, static_argnames=("config", "room"))
def _first_tokens(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    adapters: Adapters | None,
    token_ids: jax.Array,
    rules: Rules,
    *,
    room: int,
) -> State:
    hidden, cache = prefill(
        config,
        weights,
        token_ids,
        lengths=rules.lengths,
        cache=_cache_for(config, weights, token_ids, room=room),
        adapters=adapters,
    )
    return _with_next(config, weights, _before(cache, rules, room=room), rules, hidden)


@partial(jax.jit, static_argnames=("config",), donate_argnames=("state",))
def _more_tokens(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    adapters: Adapters | None,
    state: State,
    rules: Rules,
    *,
    until: jax.Array | int,
) -> State:
    def one_more(state: State) -> State:
        token_ids, starts = _newest(state, rules)
        hidden, cache = extend(
            config, weights, token_ids, starts=starts, cache=state.cache, adapters=adapters
        )
        return _with_next(config, weights, replace(state, cache=cache), rules, hidden[:, 0])

    return jax.lax.while_loop(partial(_goes_on, until=until), one_more, state)


def _cache_for(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    token_ids: jax.Array,
    *,
    room: int,
    by_layer: bool = False,
) -> Cache:
    batch, length = token_ids.shape
    dtype = weights["embedding"].dtype
    return empty_cache(config, batch=batch, slots=length + room, dtype=dtype, by_layer=by_layer)


def _before(cache: Cache, rules: Rules, *, room: int) -> State:
    """The state before the first new token."""
    batch = len(rules.limits)
    return State(
        cache=cache,
        ids=jnp.zeros((batch, room), jnp.int32),
        counts=jnp.zeros(batch, jnp.int32),
        done=rules.limits < 1,
        step=jnp.int32(0),
    )


@jax.jit
def _goes_on(state: State, until: jax.Array | int) -> jax.Array:
    return (state.step < until) & ~state.done.all()


@jax.jit
def _newest(state: State, rules: Rules) -> tuple[jax.Array, jax.Array]:
    """Each row's last token `[batch, 1]`, and how many tokens it has before that `[batch]`."""
    token_ids = jax.lax.dynamic_slice_in_dim(state.ids, state.step - 1, 1, axis=1)
    return token_ids, rules.lengths + state.step - 1


@partial(jax.jit, static_argnames=("config",))
def _with_next(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    state: State,
    rules: Rules,
    hidden: jax.Array,
) -> State:
    """The state with the token that follows `hidden` `[batch, width]` added to each row."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(rules.row_keys, state.step)
    tokens = choose(logits(config, weights, hidden), rules.sampling, keys)
    counts = state.counts + ~state.done
    stopped = (tokens[:, None] == rules.stop_ids).any(axis=-1)
    return replace(
        state,
        ids=jax.lax.dynamic_update_slice_in_dim(state.ids, tokens[:, None], state.step, axis=1),
        counts=counts,
        done=state.done | stopped | (counts >= rules.limits),
        step=state.step + 1,
    )

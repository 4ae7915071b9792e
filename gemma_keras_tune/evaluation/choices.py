"""How sure a model was of each token of an answer, and what else it could have said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..model.config import GemmaConfig
from ..model.forward import hidden_states, logits
from ..model.lora import Adapters
from ..model.value import Model

_BUCKET = 128  # lengths are rounded up to it, so that few shapes are compiled
_ROWS = 32  # positions whose logits exist at once


@dataclass(frozen=True, kw_only=True)
class TokenChoice:
    """One token of an answer.

    Attributes:
        id: The token.
        text: The same as text.
        probability: What the model gave it, before temperature, top-k and top-p.
        others: The likeliest other tokens at this place with their probabilities, the likeliest
            first.
    """

    id: int
    text: str
    probability: float
    others: tuple[tuple[str, float], ...]


def token_choices(
    model: Model, prompt_ids: Sequence[int], ids: Sequence[int], *, top: int
) -> list[TokenChoice]:
    """What the model thought of each token of an answer, by one pass over prompt and answer.

    Args:
        model: Its adapters count, if it has any.
        prompt_ids: What it was asked, at least one token.
        ids: What it answered.
        top: How many other tokens to tell of each place.

    Raises:
        ValueError: If there is no prompt, or `top` is below 1.
    """
    if not prompt_ids or top < 1:
        raise ValueError("a prompt and at least one alternative are needed")
    whole = [*prompt_ids, *ids]
    padded = np.zeros((1, -(-len(whole) // _BUCKET) * _BUCKET + _ROWS), np.int32)
    padded[0, : len(whole)] = whole
    hidden = _states(model.config, model.weights, padded, len(whole), model.adapters)
    found = []
    for first in range(0, len(ids), _ROWS):
        chosen = list(ids[first : first + _ROWS])
        targets = np.zeros(_ROWS, np.int32)
        targets[: len(chosen)] = chosen
        place = len(prompt_ids) - 1 + first
        chances, shares, names = jax.device_get(
            _chances(model.config, model.weights, hidden, place, targets, top=top + 1)
        )
        found += [
            TokenChoice(
                id=token,
                text=_text(model, token),
                probability=float(chances[at]),
                others=_others(model, token, names[at], shares[at]),
            )
            for at, token in enumerate(chosen)
        ]
    return found


def _others(model: Model, chosen: int, ids: Any, shares: Any) -> tuple[tuple[str, float], ...]:
    """All but the chosen token, or but the last where it isn't among them."""
    pairs = zip(map(int, ids), map(float, shares), strict=True)
    others = [(_text(model, token), share) for token, share in pairs if token != chosen]
    return tuple(others[: len(ids) - 1])


def _text(model: Model, token: int) -> str:
    """A token as text; some models have more ids than their tokenizer knows."""
    known = token < model.tokenizer.vocab_size
    return model.tokenizer.decode([token]) if known else f"#{token}"


@partial(jax.jit, static_argnames=("config",))
def _states(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    token_ids: jax.Array,
    length: jax.Array,
    adapters: Adapters | None,
) -> jax.Array:
    """Hidden states `[length, width]` of one row, of which the end is padding."""
    positions = jnp.arange(token_ids.shape[1], dtype=jnp.int32)[None]
    segment_ids = (positions < length).astype(jnp.int32)
    return hidden_states(
        config,
        weights,
        jnp.asarray(token_ids),
        positions=positions,
        segment_ids=segment_ids,
        adapters=adapters,
    )[0]


@partial(jax.jit, static_argnames=("config", "top"))
def _chances(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    hidden: jax.Array,
    first: jax.Array,
    targets: jax.Array,
    *,
    top: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of `_ROWS` places: the target's probability, and the `top` largest with their ids."""
    rows = jax.lax.dynamic_slice_in_dim(hidden, first, _ROWS)
    shares = jax.nn.softmax(logits(config, weights, rows), axis=-1)
    chosen = jnp.take_along_axis(shares, targets[:, None], axis=-1)[:, 0]
    largest, ids = jax.lax.top_k(shares, top)
    return chosen, largest, ids

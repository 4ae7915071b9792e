"""Our side of the gate: the logits and the greedy continuation of the model in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..model.config import GemmaConfig
from ..model.decode import Cache, empty_cache, extend
from ..model.forward import hidden_states, logits
from ..model.lora import Adapters
from ..model.value import Model
from .probes import Probes, Prompt


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """What the model in memory says.

    Attributes:
        logits: For each prompt `[keep, vocab]` float32.
        greedy: The continuation of the first prompt, ids.
        greedy_logits: `[greedy_tokens, vocab]` float32, what each id was chosen by.
    """

    logits: list[np.ndarray]
    greedy: list[int]
    greedy_logits: np.ndarray

    @property
    def std(self) -> float:
        """Standard deviation of the logits within a position, averaged over positions."""
        return float(np.mean([row.std() for rows in self.logits for row in rows]))


def reference(model: Model, probes: Probes) -> Reference:
    """The model's own answers, its adapters live beside the weights and nothing merged."""
    with jax.default_matmul_precision("highest"):
        ids, rows = greedy(model, probes.prompts[0].ids, count=probes.greedy_tokens)
        return Reference(
            logits=prompt_logits(model, probes.prompts), greedy=ids, greedy_logits=rows
        )


def in_float32(model: Model, base: Model | None) -> tuple[Model, Model | None]:
    """Both models with their weights as float32, the same numbers; what they share stays shared."""
    widened = _widened(model)
    if base is None or base.weights is not model.weights:
        return widened, base and _widened(base)
    return widened, base.replace(weights=widened.weights)


def _widened(model: Model) -> Model:
    if model.dtype == jnp.float32:
        return model
    return model.replace(weights=jax.tree.map(lambda a: a.astype(jnp.float32), model.weights))


def prompt_logits(model: Model, prompts: tuple[Prompt, ...]) -> list[np.ndarray]:
    """For each prompt the logits at its last positions, `[keep, vocab]` float32.

    Prompts up to 128 tokens go through in one batch, so that little is compiled.
    """
    longest = max((len(p.ids) for p in prompts if len(p.ids) <= 128), default=0)
    groups = [
        [p for p in prompts if len(p.ids) <= longest],
        *([p] for p in prompts if len(p.ids) > longest),
    ]
    found: dict[Prompt, np.ndarray] = {}
    with jax.default_matmul_precision("highest"):
        for group in groups:
            if group:
                found |= dict(zip(group, _batch_logits(model, group), strict=True))
    return [found[prompt] for prompt in prompts]


def greedy(model: Model, prompt: tuple[int, ...], *, count: int) -> tuple[list[int], np.ndarray]:
    """Ids that follow the prompt, each the most probable one, and their logits.

    Args:
        model: With or without adapters.
        prompt: Token ids.
        count: How many ids; nothing stops it earlier.

    Returns:
        `count` ids, and `[count, vocab]` float32.
    """
    slots = len(prompt) + count
    cache = empty_cache(model.config, batch=1, slots=slots, dtype=model.dtype, rings=False)
    tokens, ids, rows = list(prompt), [], []
    for step in range(count):
        start = 0 if step == 0 else len(prompt) + step - 1
        row, cache = _next_logits(
            model.config,
            model.weights,
            model.adapters,
            np.array([tokens], np.int32),
            np.array([start], np.int32),
            cache,
        )
        rows.append(np.asarray(row))
        tokens = [int(rows[-1].argmax())]
        ids += tokens
    return ids, np.stack(rows)


def _batch_logits(model: Model, prompts: list[Prompt]) -> list[np.ndarray]:
    lengths = np.array([len(prompt.ids) for prompt in prompts])
    ids = np.zeros((len(prompts), lengths.max()), np.int32)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt.ids)] = prompt.ids
    keep = max(prompt.keep for prompt in prompts)
    last = np.maximum(lengths[:, None] - keep + np.arange(keep), 0)
    rows = _last_logits(
        model.config, keep, model.weights, model.adapters, ids, lengths=lengths, last=last
    )
    host = np.asarray(rows)
    return [host[row, keep - prompt.keep :] for row, prompt in enumerate(prompts)]


@partial(jax.jit, static_argnums=(0, 1))
def _last_logits(
    config: GemmaConfig,
    keep: int,
    weights: Any,
    adapters: Adapters | None,
    ids: jax.Array,
    *,
    lengths: jax.Array,
    last: jax.Array,
) -> jax.Array:
    """`[batch, keep, vocab]` float32 at the positions `last` `[batch, keep]`."""
    positions = jnp.broadcast_to(jnp.arange(ids.shape[1], dtype=jnp.int32), ids.shape)
    hidden = hidden_states(
        config,
        weights,
        ids,
        positions=positions,
        segment_ids=(positions < lengths[:, None]).astype(jnp.int32),
        adapters=adapters,
    )
    return logits(config, weights, jnp.take_along_axis(hidden, last[..., None], axis=1))


@partial(jax.jit, static_argnums=(0,))
def _next_logits(
    config: GemmaConfig,
    weights: Any,
    adapters: Adapters | None,
    ids: jax.Array,
    starts: jax.Array,
    cache: Cache,
) -> tuple[jax.Array, Cache]:
    hidden, cache = extend(config, weights, ids, starts=starts, cache=cache, adapters=adapters)
    return logits(config, weights, hidden[:, -1])[0], cache

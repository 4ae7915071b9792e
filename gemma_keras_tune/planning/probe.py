"""The time of a step, measured on made-up weights of the real shapes."""

from __future__ import annotations

import time
from typing import Any

from .compiler import shapes_of
from .estimate import Setting
from .values import StepTime

_MOST_MICRO_BATCHES = 4
_TIMED = 2
_VALUE = 0.01  # of every made-up weight: how long a product takes doesn't depend on its numbers
_DEFAULT_ANSWERS = 0.35


def probe_step(setting: Setting) -> StepTime:
    """The time of an optimizer step: the better of two, after one that waits for the compiler.

    Of a step with more than four micro-batches four are computed, and the rest is reckoned.

    Args:
        setting: What is planned; its platform must be that of JAX.
    """
    import jax
    import jax.numpy as jnp

    from ..model.lora import init_adapters
    from ..training.step import initial_state, train_step

    recipe, config = setting.recipe, setting.config
    count = min(_MOST_MICRO_BATCHES, setting.micro_batches)
    _, shapes, _ = shapes_of(setting)
    weights = jax.tree.map(lambda one: jnp.full(one.shape, _VALUE, one.dtype), shapes)
    state = initial_state(init_adapters(config, recipe.model.lora), recipe.train)
    batches = _batches(setting, count)
    seconds = []
    for step in range(1, _TIMED + 2):
        began = time.perf_counter()
        state, _ = train_step(
            state, weights, batches, config=config, recipe=recipe.train, step=step
        )
        seconds.append(time.perf_counter() - began)
    best = min(seconds[1:])
    words = f"measured: {_TIMED} steps with made-up weights of the same shapes"
    if count < setting.micro_batches:
        words += f", {count} of {setting.micro_batches} micro-batches each"
    return StepTime(
        seconds=best * setting.micro_batches / count,
        source="probe",
        words=words,
        compile_seconds=max(0.0, seconds[0] - best),
    )


def _batches(setting: Setting, count: int) -> dict[str, Any]:
    """Full rows of one example each, with the usual share of answers at their ends."""
    import jax.numpy as jnp
    import numpy as np

    shape = (count, setting.rows, setting.length)
    share = _DEFAULT_ANSWERS if setting.answer_share is None else setting.answer_share
    answers = max(1, round(share * setting.length))
    mask = np.zeros(shape, np.float32)
    mask[..., -answers:] = 1
    positions = np.broadcast_to(np.arange(setting.length, dtype=np.int32), shape)
    ids = (positions * 7919 + 3) % setting.config.vocab_size
    return {
        "token_ids": jnp.asarray(ids),
        "targets": jnp.asarray(np.roll(ids, -1, axis=-1)),
        "loss_mask": jnp.asarray(mask),
        "positions": jnp.asarray(positions),
        "segment_ids": jnp.ones(shape, jnp.int32),
    }

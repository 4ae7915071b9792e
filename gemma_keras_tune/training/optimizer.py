"""The optimizer, and the learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from ..recipe import TrainRecipe


def learning_rate_at(recipe: TrainRecipe, *, step: float, total_steps: int) -> float:
    """The learning rate of optimizer step `step`, counted from 1.

    It rises straight over the first `warmup_share` of the steps (the first step already moves),
    reaches `recipe.learning_rate` there, and then falls as the schedule says: the last step
    still moves, and the one after it would have rate 0.

    Args:
        recipe: Highest rate, schedule and share of warm-up.
        step: From 1 to `total_steps`; no whole number where the schedule was stretched to another
            end, see `changes.py`.
        total_steps: Steps of the whole run.

    Raises:
        ValueError: If the step is outside the run.
    """
    if not 1 <= step <= total_steps:
        raise ValueError(f"step must be from 1 to {total_steps}, not {step}")
    warmup = math.ceil(recipe.warmup_share * total_steps)
    if step <= warmup:
        return recipe.learning_rate * step / warmup
    done = max(0.0, (step - 1 - warmup) / (total_steps - warmup))
    shape = {"constant": 1.0, "linear": 1.0 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}
    return recipe.learning_rate * shape[recipe.schedule]


def make_optimizer(recipe: TrainRecipe) -> optax.GradientTransformation:
    """AdamW whose learning rate and weight decay are part of its state, so they can change.

    Source:
        Loshchilov and Hutter 2019, arXiv:1711.05101.
    """
    return optax.inject_hyperparams(optax.adamw, static_args=("b1", "b2", "eps"))(
        learning_rate=recipe.learning_rate,
        b1=recipe.adam_b1,
        b2=recipe.adam_b2,
        eps=recipe.adam_eps,
        weight_decay=recipe.weight_decay,
    )


def with_learning_rate(state: Any, rate: float, *, weight_decay: float | None = None) -> Any:
    """The optimizer state with that learning rate, and that weight decay, for the next step.

    Args:
        state: The state of `make_optimizer`'s optimizer.
        rate: The learning rate.
        weight_decay: Multiplied by the rate; None leaves it as it is.
    """
    changed = {**state.hyperparams, "learning_rate": jnp.float32(rate)}
    if weight_decay is not None:
        changed["weight_decay"] = jnp.float32(weight_decay)
    return state._replace(hyperparams=changed)


def clipped(gradients: Any, norm: jax.Array, limit: float) -> Any:
    """Gradients scaled down to the norm `limit` where they are longer; 0 means no limit.

    Source:
        Pascanu et al. 2013, section 3.2, arXiv:1211.5063.
    """
    if limit == 0:
        return gradients
    factor = jnp.minimum(1.0, limit / jnp.maximum(norm, 1e-12))
    return jax.tree.map(lambda gradient: gradient * factor, gradients)

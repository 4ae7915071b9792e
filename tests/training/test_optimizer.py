"""The learning rate by hand, AdamW's first step by hand, and clipping."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.recipe import TrainRecipe
from gemma_keras_tune.training.optimizer import (
    clipped,
    learning_rate_at,
    make_optimizer,
    with_learning_rate,
)


def rates(steps: int, **settings: object) -> list[float]:
    recipe = TrainRecipe(learning_rate=1.0, **settings)  # type: ignore[arg-type]
    return [learning_rate_at(recipe, step=s, total_steps=steps) for s in range(1, steps + 1)]


def test_a_linear_schedule_rises_and_falls_as_worked_out_by_hand() -> None:
    found = rates(6, schedule="linear", warmup_share=1 / 3)
    np.testing.assert_allclose(found, [0.5, 1.0, 1.0, 0.75, 0.5, 0.25])


def test_a_cosine_is_halfway_down_in_the_middle() -> None:
    found = rates(4, schedule="cosine", warmup_share=0.0)
    np.testing.assert_allclose(found, [1, 0.5 + 0.5**0.5 / 2, 0.5, 0.5 - 0.5**0.5 / 2])


def test_a_constant_schedule_stays_after_the_warm_up() -> None:
    np.testing.assert_allclose(rates(5, schedule="constant", warmup_share=0.4), [0.5, 1, 1, 1, 1])


def test_every_step_moves() -> None:
    for schedule in ("constant", "linear", "cosine"):
        for share in (0.0, 0.05, 1.0):
            assert all(0 < rate <= 1 for rate in rates(7, schedule=schedule, warmup_share=share))


@pytest.mark.parametrize("step", [0, 5])
def test_a_step_outside_the_run_is_refused(step: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 4"):
        learning_rate_at(TrainRecipe(), step=step, total_steps=4)


def test_the_first_step_of_adamw_is_worked_out_by_hand() -> None:
    """m/(1-b1) = g and v/(1-b2) = g^2, so the step is rate * (sign(g) + decay * w)."""
    recipe = TrainRecipe(weight_decay=0.1, adam_eps=1e-12)
    optimizer = make_optimizer(recipe)
    weight, gradient = jnp.array([2.0, -3.0]), jnp.array([0.5, 0.25])
    state = with_learning_rate(optimizer.init(weight), 0.01)
    update, _ = optimizer.update(gradient, state, weight)
    np.testing.assert_allclose(update, [-0.01 * (1 + 0.2), -0.01 * (1 - 0.3)], rtol=1e-5)


def test_an_injected_weight_decay_takes_the_place_of_the_recipe_s() -> None:
    optimizer = make_optimizer(TrainRecipe(weight_decay=0.1, adam_eps=1e-12))
    weight, gradient = jnp.array([2.0]), jnp.array([0.5])
    state = with_learning_rate(optimizer.init(weight), 0.01, weight_decay=0.5)
    update, _ = optimizer.update(gradient, state, weight)
    np.testing.assert_allclose(update, [-0.01 * (1 + 0.5 * 2)], rtol=1e-5)


def test_gradients_longer_than_the_limit_are_scaled_to_it() -> None:
    gradients = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
    found = clipped(gradients, jnp.float32(5.0), 1.0)
    np.testing.assert_allclose([found["a"][0], found["b"][0]], [0.6, 0.8], rtol=1e-6)
    assert clipped(gradients, jnp.float32(5.0), 0) is gradients
    np.testing.assert_allclose(clipped(gradients, jnp.float32(5.0), 9.0)["a"], [3.0])

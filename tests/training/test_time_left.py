"""The time that a training still takes, with numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gemma_keras_tune.data.tokenize import TokenSet
from gemma_keras_tune.recipe import TrainRecipe
from gemma_keras_tune.training.plan import TrainPlan
from gemma_keras_tune.training.time_left import RECENT, TimeLeft, measurements


def tokens(examples: int, length: int) -> TokenSet:
    empty = np.zeros(0, np.int64)
    return TokenSet(
        ids=np.ones(examples * length, np.int32),
        supervised=np.ones(examples * length, bool),
        offsets=np.arange(examples + 1) * length,
        rows=np.arange(examples),
        cut_rows=empty,
        dropped_rows=empty,
        cut=0,
    )


def plan(**settings: Any) -> TrainPlan:
    """Of 20 full rows of 64 tokens, two rows a step: ten steps an epoch."""
    recipe = TrainRecipe(epochs=2, batch_tokens=128, micro_batch_tokens=64, **settings)
    return TrainPlan(tokens=tokens(20, 64), length=64, recipe=recipe, pad_id=0)


@pytest.mark.parametrize(
    ("every", "first", "count"),
    [
        (None, 1, 2), (None, 10, 2), (None, 11, 1), (None, 20, 1),  # after steps 10 and 20
        (6, 1, 4), (6, 6, 4), (6, 7, 3), (6, 18, 2), (6, 19, 1),  # 6, 12, 18 and the last
        (5, 1, 4), (5, 16, 1), (100, 1, 1),
    ],
)  # fmt: skip
def test_measurements_to_come_are_counted(every: int | None, first: int, count: int) -> None:
    made = plan(evaluate_every_steps=every)
    assert measurements(made, made.recipe, first=first, last=20) == count
    due = {step for step in range(first, 21) if (every and step % every == 0) or step == 20}
    if every is None:
        due = {step for step in (10, 20) if step >= first}
    assert len(due) == count


def test_steps_take_as_long_as_the_newest_and_the_first_foretells_nothing() -> None:
    made = plan()
    left = TimeLeft(made, None, scores_labels=False)
    left.step_took(60.0)
    assert left.after(1, last=20, recipe=made.recipe) is None
    left.step_took(2.0)
    left.step_took(4.0)
    assert left.after(3, last=20, recipe=made.recipe) == pytest.approx(17 * 3.0)
    for _ in range(RECENT):
        left.step_took(1.0)
    assert left.after(15, last=20, recipe=made.recipe) == pytest.approx(5.0)


def test_measuring_counts_as_it_took_and_before_that_by_its_tokens() -> None:
    made = plan(remat="full")
    left = TimeLeft(made, tokens(4, 64), scores_labels=True)
    left.step_took(60.0)
    left.step_took(3.0)
    # A step has 128 tokens in 6 passes, a measurement 256 and, for the labels, 256, in 2: 4/3 steps
    assert left.after(2, last=20, recipe=made.recipe) == pytest.approx(18 * 3.0 + 2 * 4.0)
    left.measurement_took(10.0)
    assert left.after(10, last=20, recipe=made.recipe) == pytest.approx(10 * 3.0 + 2 * 10.0)
    assert left.after(20, last=20, recipe=made.recipe) == pytest.approx(10.0)

"""Changes of a working run as pure functions: what counts at which step, worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gemma_keras_tune.event_types import ControlApplied
from gemma_keras_tune.recipe import TrainRecipe
from gemma_keras_tune.training.changes import Change, Changes, change_of, from_events, from_json

LINEAR = TrainRecipe(learning_rate=1.0, schedule="linear", warmup_share=0.0)


def changes(*found: tuple[int, str, Any]) -> Changes:
    return Changes(
        tuple(
            Change(id=str(n), step=step, key=key, value=value)
            for n, (step, key, value) in enumerate(found)
        )
    )


def rates(made: Changes, *, last: int, total: int = 10) -> list[float]:
    return [made.rate_at(step, LINEAR, total) for step in range(1, last + 1)]


def test_a_change_counts_from_the_step_after_the_one_it_was_made_at() -> None:
    made = changes((3, "weight_decay", 0.5))
    assert [made.recipe_for(step, LINEAR).weight_decay for step in (3, 4, 9)] == [0, 0.5, 0.5]
    assert made.recipe_for(3, LINEAR) is LINEAR


def test_a_new_peak_scales_the_rest_of_the_schedule() -> None:
    plain = rates(Changes(), last=10)
    np.testing.assert_allclose(plain, [1 - n / 10 for n in range(10)])
    found = rates(changes((4, "learning_rate", 0.5)), last=10)
    np.testing.assert_allclose(found, plain[:4] + [rate / 2 for rate in plain[4:]])


def test_an_earlier_end_squeezes_the_rest_of_the_schedule_without_a_jump() -> None:
    """After step 4 of 10, six steps' worth of schedule are left for two steps: 3 a step."""
    found = rates(changes((4, "end_step", 6)), last=6)
    np.testing.assert_allclose(found, [1, 0.9, 0.8, 0.7, 0.4, 0.1])


def test_an_end_that_is_put_back_stretches_what_is_left() -> None:
    """After step 5 the schedule stands at 7 of 10: three steps' worth for five steps."""
    made = changes((4, "end_step", 6), (5, "end_step", 10))
    found = rates(made, last=10)
    np.testing.assert_allclose(
        found, [1, 0.9, 0.8, 0.7, 0.4, *(0.4 - 0.06 * n for n in range(1, 6))]
    )
    assert [made.end_for(step, 10) for step in (4, 5, 6)] == [10, 6, 10]


def test_the_end_within_the_warm_up_keeps_the_schedule_s_shape() -> None:
    recipe = TrainRecipe(learning_rate=1.0, schedule="constant", warmup_share=0.5)
    made = changes((2, "end_step", 6))
    found = [made.rate_at(step, recipe, 10) for step in range(1, 7)]
    np.testing.assert_allclose(found, [0.2, 0.4, 0.8, 1, 1, 1])


def test_the_newest_wish_replaces_older_ones_that_lie_ahead() -> None:
    """After a kill: 0.5 was wished for after step 9, then, at step 4 of the resumed run, 0.25."""
    made = changes((2, "patience", 3), (9, "learning_rate", 0.5), (4, "learning_rate", 0.25))
    assert [(one.step, one.value) for one in made.effective] == [(2, 3), (4, 0.25)]
    assert len(made.all) == 3
    assert from_json(made.to_json()) == made


def test_changes_that_are_known_already_are_not_added_twice() -> None:
    made = changes((2, "patience", 3), (4, "patience", 5))
    again = Changes(made.all[:1]).with_more(made.all)
    assert again == made


def test_only_acknowledged_settings_are_changes() -> None:
    events = [
        ControlApplied(id="a", command="pause", step=1),
        ControlApplied(id="b", command="set", step=2, key="patience", value=None),
    ]
    assert from_events(events) == [Change(id="b", step=2, key="patience", value=None)]
    with pytest.raises(ValueError, match="pause"):
        change_of(events[0])

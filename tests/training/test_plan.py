"""The plan of steps: pure, complete, and counted right."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from gemma_keras_tune.data.tokenize import TokenSet
from gemma_keras_tune.recipe import TrainRecipe
from gemma_keras_tune.training.plan import TrainPlan


def tokens(lengths: list[int]) -> TokenSet:
    """Examples of those lengths whose second half is to be learned."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    supervised = np.concatenate([np.arange(n) >= n // 2 for n in lengths])
    nothing = np.zeros(0, np.int64)
    return TokenSet(
        ids=np.arange(offsets[-1], dtype=np.int32) % 97 + 4,
        supervised=supervised,
        offsets=offsets,
        rows=np.arange(len(lengths)),
        cut_rows=nothing,
        dropped_rows=nothing,
        cut=0,
    )


def plan_of(lengths: list[int], *, length: int = 16, **settings: object) -> TrainPlan:
    recipe = TrainRecipe(batch_tokens=64, micro_batch_tokens=32, **settings)  # type: ignore[arg-type]
    return TrainPlan(tokens=tokens(lengths), length=length, recipe=recipe, pad_id=0)


LENGTHS = [5, 9, 16, 3, 8, 8, 12, 4, 7, 2, 11, 13]


def test_every_example_is_seen_once_an_epoch() -> None:
    plan = plan_of(LENGTHS, epochs=3)
    seen: Counter[int] = Counter()
    for step in range(1, plan.total_steps + 1):
        seen.update(index for row in plan.examples_of(step) for index in row)
    assert seen == Counter({index: 3 for index in range(len(LENGTHS))})


def test_sizes_are_rounded_down_to_whole_rows_and_are_never_zero() -> None:
    plan = plan_of(LENGTHS)
    assert (plan.rows, plan.micro_batches) == (2, 2)
    wide = plan_of(LENGTHS, length=48)
    assert (wide.rows, wide.micro_batches) == (1, 1)


def test_a_step_does_not_depend_on_the_steps_asked_before() -> None:
    one, other = plan_of(LENGTHS, epochs=2), plan_of(LENGTHS, epochs=2)
    forwards = [one.examples_of(step) for step in range(1, one.total_steps + 1)]
    backwards = [other.examples_of(step) for step in range(other.total_steps, 0, -1)]
    assert forwards == backwards[::-1]


def test_epochs_differ_and_seeds_differ() -> None:
    plan = plan_of(LENGTHS * 4, epochs=2)
    first, second = plan.epoch_ends
    assert plan.examples_of(1) != plan.examples_of(first + 1)
    assert plan.examples_of(1) != plan_of(LENGTHS * 4, epochs=2, seed=1).examples_of(1)
    assert second == plan.total_steps


def test_max_steps_ends_the_plan_early() -> None:
    plan = plan_of(LENGTHS * 10, epochs=5, max_steps=7)
    assert plan.total_steps == 7
    with pytest.raises(ValueError, match="from 1 to 7"):
        plan.examples_of(8)


def test_the_epoch_is_counted_in_passes_over_the_data() -> None:
    plan = plan_of(LENGTHS, epochs=2)
    assert plan.epoch_at(0) == 0
    assert plan.epoch_at(plan.epoch_ends[0]) == 1
    assert plan.epoch_at(plan.total_steps) == 2


def test_an_epoch_that_is_cut_short_is_not_counted_as_seen_whole() -> None:
    one = plan_of(LENGTHS * 10, epochs=5).epoch_ends[0]
    plan = plan_of(LENGTHS * 10, epochs=5, max_steps=one - 1)
    assert plan.epoch_at(one - 1) == pytest.approx((one - 1) / one)
    assert plan.epoch_ends == (one - 1,), "it is measured at its end all the same"
    with pytest.raises(ValueError, match="beyond the last"):
        plan.epoch_at(one)


def test_a_step_has_all_its_micro_batches_even_if_the_data_ends_before() -> None:
    plan = plan_of([16])
    batches, count = plan.batches(1)
    assert batches["token_ids"].shape == (2, 2, 16)
    assert count == 16
    assert int(batches["loss_mask"].sum()) == 8

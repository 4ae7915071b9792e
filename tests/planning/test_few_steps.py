"""Too few steps to learn from are told, with what gives a run more; numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

import gemma_keras_tune as gkt
from gemma_keras_tune.planning.few_steps import FEWEST_STEPS, few_steps
from gemma_keras_tune.planning.speed import measuring_time
from gemma_keras_tune.planning.values import Steps, StepTime
from gemma_keras_tune.recipe_files import load_recipe, parse_assignments
from gemma_keras_tune.run_folder import HOME_VARIABLE
from tests.planning.support import tiny_setting
from tests.support.command_line import save_tiny_model, write_recipe, write_rows


def steps_of(
    total: int, *, rows: int, packed: int, tokens: int = 1000, validation: int = 0, test: int = 0
) -> Steps:
    return Steps(
        total=total, rows=rows, tokens=tokens, answer_share=0.1, counted="all",
        packed_rows=packed, validation_rows=validation, test_rows=test,
    )  # fmt: skip


def test_enough_steps_are_left_alone():
    setting = tiny_setting(epochs=2)
    assert few_steps(setting, steps_of(FEWEST_STEPS, rows=400, packed=40)) is None
    assert few_steps(setting, steps_of(FEWEST_STEPS - 1, rows=400, packed=38)) is not None


def test_smaller_batches_come_first():
    """80 packed rows of 4 rows each, 10 at a time: 8 steps a pass. 2 passes of 20 are 40 steps."""
    setting = tiny_setting(length=32, rows=5, micro_batches=2, epochs=2)
    found = few_steps(setting, steps_of(16, rows=320, packed=80))
    assert found is not None
    assert (found.set, found.steps) == (
        "train.batch_tokens=128 train.micro_batch_tokens=128",
        40,
    ), "4 packed rows a step, below the 5 that pass at once"
    assert "16 optimizer steps" in found.words


def test_then_come_more_passes_over_the_rows():
    """12 packed rows of 4 rows each: a step takes two of them for 8 rows, so a pass has 6 steps."""
    setting = tiny_setting(length=32, rows=2, micro_batches=4, epochs=1)
    found = few_steps(setting, steps_of(2, rows=48, packed=12))
    assert found is not None
    assert (found.set, found.steps) == ("train.batch_tokens=64 train.epochs=7", 42)


def test_rows_that_are_too_few_stay_too_few():
    """5 rows in one packed row: one step a pass, and ten passes are the most."""
    setting = tiny_setting(length=32, rows=1, micro_batches=1, epochs=2)
    found = few_steps(setting, steps_of(2, rows=5, packed=1))
    assert found is not None
    assert (found.set, found.steps) == ("train.epochs=10", 10)
    assert "5 rows to learn from are few" in found.words
    most = few_steps(
        tiny_setting(rows=1, micro_batches=1, epochs=12), steps_of(12, rows=5, packed=1)
    )
    assert most is not None and (most.set, most.steps) == ("", 12)


def test_a_run_that_is_asked_to_be_short_is_told_and_offered_nothing():
    found = few_steps(tiny_setting(max_steps=10), steps_of(10, rows=400, packed=100))
    assert found is not None and (found.set, found.steps) == ("", 10)
    assert "train.max_steps" in found.words


def test_the_limit_counts_where_it_is_not_what_makes_steps_few():
    setting = tiny_setting(length=32, rows=1, micro_batches=1, epochs=2, max_steps=5)
    found = few_steps(setting, steps_of(4, rows=16, packed=2))
    assert found is not None and (found.set, found.steps) == ("train.epochs=10", 5)
    assert "to learn from are few" not in found.words, "20 steps without the limit"


def test_a_run_that_ends_by_itself_may_have_more():
    """8 packed rows of 4 rows each, 2 a step: 4 steps a pass, and 25 passes for 100 steps."""
    patient = tiny_setting(rows=1, micro_batches=2, epochs=5, patience=3)
    found = few_steps(patient, steps_of(20, rows=32, packed=8))
    assert found is not None and (found.set, found.steps) == ("train.epochs=25", 100)
    assert (
        found.words
        == "It has 20 optimizer steps, and may have more: it ends when it gets no better."
    )
    assert few_steps(patient, steps_of(50, rows=32, packed=8)) is None
    limited = tiny_setting(rows=1, micro_batches=2, epochs=5, patience=3, max_steps=20)
    assert few_steps(limited, steps_of(20, rows=32, packed=8)) is None
    most = tiny_setting(rows=1, micro_batches=1, epochs=25, patience=3)
    assert few_steps(most, steps_of(25, rows=5, packed=1)) is None


@pytest.mark.parametrize(
    ("remat", "seconds"), [("dots", 90 * 10 * 0.25 / 2), ("full", 90 * 10 * 0.25 / 3)]
)
def test_measuring_takes_the_forward_share_of_a_token(remat, seconds):
    """30 held-back rows by two models, 15 validation rows twice; 10 tokens a row, 0.25 s each."""
    setting = tiny_setting(length=32, rows=1, micro_batches=1, remat=remat)
    steps = steps_of(8, rows=40, packed=4, tokens=400, validation=15, test=30)
    time = StepTime(seconds=8.0, source="probe", words="")
    assert measuring_time(setting, steps, time) == pytest.approx(seconds)


def test_labels_are_scored_at_each_measurement_too():
    """Every 3 of 8 steps: three measurements of 15 rows, of which 10 have their labels scored."""
    setting = tiny_setting(
        length=32, rows=1, micro_batches=1, task="classification", label_rows=10,
        evaluate_every_steps=3,
    )  # fmt: skip
    steps = steps_of(8, rows=40, packed=4, tokens=400, validation=15)
    time = StepTime(seconds=8.0, source="probe", words="")
    assert measuring_time(setting, steps, time) == pytest.approx(3 * 25 * 10 * 0.25 / 2)


def test_the_offered_settings_give_the_steps_that_are_promised(tmp_path: Path, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    pytest.importorskip("transformers")
    write_rows(tmp_path / "rows.csv", count=60)
    model = save_tiny_model(tmp_path / "model")
    path = write_recipe(tmp_path / "tiny.toml", data="rows.csv", preset=str(model), epochs=1)
    before = gkt.plan(load_recipe(path))
    assert before.few_steps is not None and before.few_steps.set
    changes = parse_assignments(before.few_steps.set.split())
    after = gkt.plan(load_recipe(path, overrides=changes))
    assert after.steps is not None and after.steps.total == before.few_steps.steps
    assert before.measuring_seconds is not None and before.measuring_seconds > 0

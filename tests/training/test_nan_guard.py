"""Steps that are not a number: skipped, done again from a checkpoint, or the end of the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.events import Event, RolledBack, Step, Warned, read_events, resolved
from gemma_keras_tune.model.value import Model
from gemma_keras_tune.recipe import LoraRecipe, TrainRecipe
from gemma_keras_tune.text.tokenizer import Tokenizer
from gemma_keras_tune.training import loop
from gemma_keras_tune.training.nan_guard import NanGuard
from tests.support.controlled_runs import Killed, bits, controlled, killed_after, of_kind
from tests.support.tiny_runs import tiny_model

RECIPE = TrainRecipe(
    epochs=3,
    batch_tokens=256,
    micro_batch_tokens=128,
    learning_rate=1e-2,
    checkpoint_every_steps=4,
    checkpoint_every_s=1e6,
)


@pytest.fixture(scope="module")
def model(tiny_tokenizer: Tokenizer) -> Model:
    return tiny_model(tiny_tokenizer, lora=LoraRecipe(rank=4, dropout=0.1))


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes some steps see weights that are NaN, so many times."""
    real, times = loop.train_step, dict[int, int]()

    def train_step(state: Any, weights: Any, batches: Any, *, step: int, **more: Any) -> Any:
        if times.get(step, 0) > 0:
            times[step] -= 1
            weights = {**weights, "embedding": weights["embedding"] * jnp.nan}
        return real(state, weights, batches, step=step, **more)

    monkeypatch.setattr(loop, "train_step", train_step)

    def plant(*steps: int, each: int = 1000) -> None:
        times.clear()
        times.update(dict.fromkeys(steps, each))

    return plant


def run(model: Model, folder: Path, *, on_nan: str, **more: Any) -> tuple[Any, list[Event]]:
    events: list[Event] = []
    settings = {"on_nan": on_nan, **more.pop("settings", {})}
    recipe = TrainRecipe(**{**RECIPE.model_dump(), **settings})
    result = controlled(model, recipe, folder, events=events, validation=False, **more)
    return result, events


def codes(events: list[Event]) -> list[str]:
    return [event.code for event in of_kind(events, Warned)]


def steps(events: list[Event]) -> list[int]:
    return [event.step for event in of_kind(events, Step)]


def test_the_verdicts() -> None:
    guard = NanGuard(TrainRecipe(on_nan="roll_back", nan_limit=3))
    assert [guard.verdict(7, bad_steps=bad) for bad in (0, 0, 1, 2)] == [
        "roll_back", "skip", "skip", "stop"
    ]  # fmt: skip
    assert guard.verdict(8, bad_steps=2) == "roll_back"
    assert NanGuard(TrainRecipe()).verdict(1, bad_steps=0) == "stop"
    skipping = NanGuard(TrainRecipe(on_nan="skip", nan_limit=1))
    assert skipping.verdict(1, bad_steps=0) == "stop"


def test_stop_ends_the_run_and_the_steps_before_are_kept(
    model: Model, tmp_path: Path, spoil: Any
) -> None:
    spoil(6)
    with pytest.raises(TuneError, match=r"step 6 .*rows \d+.*Nothing after step 5") as caught:
        run(model, tmp_path, on_nan="stop")
    assert caught.value.code == "LOSS_NAN"
    spoil()
    _, events = run(model, tmp_path, on_nan="stop")
    assert min(steps(events)) == 6


def test_a_skipped_step_changes_nothing_counts_as_done_and_names_its_rows(
    model: Model, tmp_path: Path, spoil: Any
) -> None:
    spoil(6)
    result, events = run(model, tmp_path, on_nan="skip")
    (warning,) = of_kind(events, Warned)
    assert warning.code == "STEP_SKIPPED" and "step 6" in warning.message
    assert "rows" in warning.message
    assert steps(events) == list(range(1, result.steps + 1))
    bad = of_kind(events, Step)[5]
    assert bad.loss != bad.loss  # NaN


def test_skipping_is_the_run_without_that_step_s_update(
    model: Model, tmp_path: Path, spoil: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Worked out with a good step 6 whose new state is thrown away."""
    spoil(6)
    expected, _ = run(model, tmp_path / "a", on_nan="skip")
    spoil()
    real = loop.train_step

    def without_six(state: Any, *args: Any, step: int, **more: Any) -> Any:
        if step != 6:
            return real(state, *args, step=step, **more)
        kept = jax.tree.map(jnp.copy, state)
        _, found = real(state, *args, step=step, **more)
        return kept, found

    monkeypatch.setattr(loop, "train_step", without_six)
    assert bits(run(model, tmp_path / "b", on_nan="stop")[0]) == bits(expected)


def test_so_many_bad_steps_in_a_row_end_the_run_but_not_with_a_good_one_between(
    model: Model, tmp_path: Path, spoil: Any
) -> None:
    spoil(5, 6, 8, 9)
    _, events = run(model, tmp_path / "a", on_nan="skip")
    assert codes(events) == ["STEP_SKIPPED"] * 4
    spoil(5, 6, 7)
    with pytest.raises(TuneError, match="step 7") as caught:
        run(model, tmp_path / "b", on_nan="skip")
    assert caught.value.code == "LOSS_NAN"
    with pytest.raises(TuneError, match="step 7"):  # and again after a resume
        run(model, tmp_path / "b", on_nan="skip")


def test_a_fault_that_does_not_come_again_costs_a_roll_back_nothing(
    model: Model, tmp_path: Path, spoil: Any
) -> None:
    expected, _ = run(model, tmp_path / "a", on_nan="roll_back")
    spoil(7, each=1)
    result, events = run(model, tmp_path / "b", on_nan="roll_back")
    assert bits(result) == bits(expected)
    assert codes(events) == ["STEP_ROLLED_BACK"]
    (back,) = of_kind(events, RolledBack)
    assert (back.step, back.bad_step) == (4, 7)
    assert steps(events)[:9] == [1, 2, 3, 4, 5, 6, 5, 6, 7]
    kept = resolved(read_events(tmp_path / "b" / "events.jsonl"))
    shown = [record.event.step for record in kept if isinstance(record.event, Step)]
    assert shown == list(range(1, result.steps + 1))


def test_a_step_that_is_bad_again_after_the_roll_back_is_skipped(
    model: Model, tmp_path: Path, spoil: Any
) -> None:
    spoil(7)
    expected, _ = run(model, tmp_path / "a", on_nan="skip")
    result, events = run(model, tmp_path / "b", on_nan="roll_back")
    assert bits(result) == bits(expected)
    assert codes(events) == ["STEP_ROLLED_BACK", "STEP_SKIPPED"]


def test_a_roll_back_before_the_first_checkpoint_starts_over(
    model: Model, tmp_path: Path, spoil: Any
) -> None:
    expected, _ = run(model, tmp_path / "a", on_nan="roll_back")
    spoil(2, each=1)
    result, events = run(model, tmp_path / "b", on_nan="roll_back")
    assert bits(result) == bits(expected)
    assert of_kind(events, RolledBack)[0].step == 0


def test_roll_backs_come_to_an_end_where_nothing_helps(
    model: Model, tmp_path: Path, spoil: Any
) -> None:
    spoil(*range(6, 100))
    with pytest.raises(TuneError) as caught:
        run(model, tmp_path, on_nan="roll_back")
    assert caught.value.code == "LOSS_NAN"


@pytest.mark.parametrize(("on_nan", "kill"), [("skip", 7), ("roll_back", 9)])
def test_a_kill_and_a_resume_give_the_same_bits(
    model: Model, tmp_path: Path, spoil: Any, on_nan: str, kill: int
) -> None:
    spoil(6, 7)
    expected, _ = run(model, tmp_path / "a", on_nan=on_nan)
    with pytest.raises(Killed):
        run(model, tmp_path / "b", on_nan=on_nan, ask=killed_after(kill))
    assert bits(run(model, tmp_path / "b", on_nan=on_nan)[0]) == bits(expected)

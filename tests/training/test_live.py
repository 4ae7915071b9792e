"""A working run that is asked for something obeys between two steps, and stays reproducible."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from gemma_keras_tune.control_file import send
from gemma_keras_tune.errors import DataError, StoppedWithCheckpoint
from gemma_keras_tune.events import (
    CheckpointSaved,
    ControlApplied,
    ControlRefused,
    Event,
    Note,
    Sample,
    Step,
    Validation,
)
from gemma_keras_tune.model.value import Model
from gemma_keras_tune.recipe import LoraRecipe, TrainRecipe
from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune.text.tokenizer import Tokenizer
from gemma_keras_tune.training import live
from gemma_keras_tune.training.checkpoints import CheckpointStore
from gemma_keras_tune.training.measure import LabelMeasure
from gemma_keras_tune.training.step import _train_step
from tests.support.controlled_runs import (
    Killed,
    after_step,
    bits,
    controlled,
    killed_after,
    of_kind,
    setting,
)
from tests.support.tiny_runs import tiny_model

RECIPE = TrainRecipe(
    epochs=4,
    batch_tokens=256,
    micro_batch_tokens=128,
    learning_rate=1e-2,
    evaluate_every_steps=3,
    checkpoint_every_steps=4,
    checkpoint_every_s=1e6,
)
RATE = setting("learning_rate", 2e-3)


@pytest.fixture(scope="module")
def model(tiny_tokenizer: Tokenizer) -> Model:
    return tiny_model(tiny_tokenizer, lora=LoraRecipe(rank=4, dropout=0.1))


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "POLL_S", 0.01)


def changed_run(
    model: Model, folder: Path, *commands: dict[str, Any], step: int = 5
) -> tuple[Any, list[Event]]:
    events: list[Event] = []
    result = controlled(model, RECIPE, folder, ask=after_step(step, *commands), events=events)
    return result, events


@pytest.fixture(scope="module")
def plain(model: Model, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[Event]]:
    return changed_run(model, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def slower(model: Model, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[Event]]:
    """The run whose learning rate was changed after step 5, never interrupted."""
    return changed_run(model, tmp_path_factory.mktemp("slower"), RATE)


def applied(events: list[Event]) -> list[tuple[str, int, str | None, Any]]:
    return [(e.command, e.step, e.key, e.value) for e in of_kind(events, ControlApplied)]


def losses(events: list[Event]) -> dict[int, float]:
    return {step.step: step.loss for step in of_kind(events, Step)}


def test_a_setting_counts_from_the_next_step_and_is_acknowledged_with_its_step(
    plain: tuple[Any, list[Event]], slower: tuple[Any, list[Event]]
) -> None:
    assert applied(slower[1]) == [("set", 5, "learning_rate", 2e-3)]
    before, after = ([s.learning_rate for s in of_kind(e, Step)] for e in (plain[1], slower[1]))
    assert after[:5] == before[:5]
    assert after[5:] == pytest.approx([rate / 5 for rate in before[5:]])
    assert bits(slower[0]) != bits(plain[0])
    assert losses(slower[1])[6] == losses(plain[1])[6]  # measured before its update
    assert losses(slower[1])[7] != losses(plain[1])[7]


@pytest.mark.parametrize("kill", [6, *(pytest.param(n, marks=pytest.mark.slow) for n in (7, 9))])
def test_a_run_killed_after_a_change_resumes_into_the_run_that_was_never_killed(
    model: Model, slower: tuple[Any, list[Event]], tmp_path: Path, kill: int
) -> None:
    """Killed in step 6, right before a checkpoint, the change stands in the events alone."""
    events: list[Event] = []
    with pytest.raises(Killed):
        controlled(
            model, RECIPE, tmp_path, ask=killed_after(kill, after_step(5, RATE)), events=events
        )
    assert applied(events) == applied(slower[1])
    again: list[Event] = []
    result = controlled(model, RECIPE, tmp_path, events=again)
    assert bits(result) == bits(slower[0])
    assert losses(events) | losses(again) == losses(slower[1])
    assert applied(again) == []
    resumed_at = min(losses(again)) - 1
    assert (resumed_at <= 5) == (kill == 6)
    told = any("learning_rate = 0.002" in note.message for note in of_kind(again, Note))
    assert told == (resumed_at <= 5)


def test_another_weight_decay_gives_another_result(
    model: Model, plain: tuple[Any, list[Event]], tmp_path: Path
) -> None:
    result, events = changed_run(model, tmp_path, setting("weight_decay", 1.0))
    before, after = losses(plain[1]), losses(events)
    assert [after[step] == before[step] for step in (5, 6, 7)] == [True, True, False]
    assert bits(result) != bits(plain[0])


def test_a_change_is_known_to_the_checkpoint_where_the_events_are_lost(
    model: Model, slower: tuple[Any, list[Event]], tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        controlled(model, RECIPE, tmp_path, ask=killed_after(9, after_step(5, RATE)))
    RunFolder(tmp_path).events.unlink()
    assert bits(controlled(model, RECIPE, tmp_path)) == bits(slower[0])


def test_a_newer_wish_of_the_resumed_run_replaces_one_that_lies_ahead(
    model: Model, tmp_path: Path
) -> None:
    """Wished for after step 6, killed, resumed from step 4, and wished otherwise after step 5."""
    late, early = setting("weight_decay", 0.9), setting("weight_decay", 0.1)
    expected = controlled(model, RECIPE, tmp_path / "a", ask=after_step(5, early), validation=False)
    for ask in (killed_after(7, after_step(6, late)), killed_after(6, after_step(5, early))):
        with pytest.raises(Killed):
            controlled(model, RECIPE, tmp_path / "b", ask=ask, validation=False)
    result = controlled(model, RECIPE, tmp_path / "b", validation=False)
    assert bits(result) == bits(expected)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("end_step", 8),
        *(
            pytest.param(*pair, marks=pytest.mark.slow)
            for pair in (("weight_decay", 0.5), ("evaluate_every_steps", 2), ("patience", 1))
        ),
    ],
)
def test_every_change_of_the_result_survives_a_kill(
    model: Model, tmp_path: Path, key: str, value: Any
) -> None:
    command, straight = setting(key, value), list[Event]()
    expected = controlled(
        model, RECIPE, tmp_path / "a", ask=after_step(5, command), events=straight
    )
    events: list[Event] = []
    with pytest.raises(Killed):
        ask = killed_after(6, after_step(5, command))
        controlled(model, RECIPE, tmp_path / "b", ask=ask, events=events)
    result = controlled(model, RECIPE, tmp_path / "b", events=events)
    assert bits(result) == bits(expected)
    assert (result.steps, result.best_step, result.stopped_early) == (
        expected.steps,
        expected.best_step,
        expected.stopped_early,
    )
    assert {e.step: e.loss for e in of_kind(events, Validation)} == {
        e.step: e.loss for e in of_kind(straight, Validation)
    }


def test_the_end_and_the_intervals_are_those_that_were_asked_for(
    model: Model, tmp_path: Path
) -> None:
    result, events = changed_run(
        model,
        tmp_path,
        setting("end_step", 9),
        setting("evaluate_every_steps", 4),
        setting("checkpoint_every_steps", 1),
    )
    assert result.steps == 9 and not result.stopped_early
    assert [v.step for v in of_kind(events, Validation)] == [3, 8, 9]
    saved = {event.step for event in of_kind(events, CheckpointSaved)}
    assert {6, 7, 8, 9} <= saved
    assert [s.total_steps for s in of_kind(events, Step)][4:6] == [result_total(events), 9]
    assert of_kind(events, Step)[-1].learning_rate < 1e-4 * 5


def result_total(events: list[Event]) -> int:
    return int(of_kind(events, Step)[0].total_steps)


def test_a_finished_run_with_another_end_is_finished_when_it_is_resumed(
    model: Model, tmp_path: Path
) -> None:
    result, _ = changed_run(model, tmp_path, setting("end_step", 7))
    events: list[Event] = []
    assert bits(controlled(model, RECIPE, tmp_path, events=events)) == bits(result)
    assert not of_kind(events, Step)


def test_what_can_t_be_done_is_refused_with_the_reason(model: Model, tmp_path: Path) -> None:
    commands = [
        setting("end_step", 5),
        setting("end_step", 999),
        setting("patience", 2),
        {"command": "resume"},
        {"command": "sample"},
        {"command": "sample", "value": "Who?"},
    ]
    events: list[Event] = []
    controlled(
        model, RECIPE, tmp_path, ask=after_step(5, *commands), events=events, validation=False
    )
    refused = of_kind(events, ControlRefused)
    assert len(refused) == len(commands) and {event.step for event in refused} == {5}
    for event, part in zip(
        refused, ["from 6", "got 999", "no validation", "not paused", "prompt", "process"],
        strict=True,
    ):  # fmt: skip
        assert part in event.reason
    assert applied(events) == []


# -- pause, checkpoint, stop ---------------------------------------------------------------------


def test_a_pause_keeps_the_process_and_its_compiled_step_and_changes_nothing(
    model: Model, plain: tuple[Any, list[Event]], tmp_path: Path
) -> None:
    events: list[Event] = []
    compiled, pids, step_function = list[int](), list[int](), cast(Any, _train_step)

    def ask(run: RunFolder, event: Event) -> None:
        pids.append(os.getpid())
        after(run, event)
        if isinstance(event, ControlApplied) and event.command == "pause":
            compiled.append(step_function._cache_size())
            threading.Timer(0.3, send, (run.control, "resume")).start()

    after = after_step(5, {"command": "pause"})
    began = time.monotonic()
    result = controlled(model, RECIPE, tmp_path, ask=ask, events=events)
    assert time.monotonic() - began > 0.3
    assert compiled == [step_function._cache_size()]
    assert set(pids) == {os.getpid()}
    assert bits(result) == bits(plain[0])
    assert applied(events) == [("pause", 5, None, None), ("resume", 5, None, None)]
    assert [
        (e.step, e.reason) for e in of_kind(events, CheckpointSaved) if e.reason == "pause"
    ] == [(5, "pause")]
    assert losses(events) == losses(plain[1])


def test_a_paused_run_obeys_and_knows_that_it_is_paused(
    model: Model, slower: tuple[Any, list[Event]], tmp_path: Path
) -> None:
    events: list[Event] = []
    commands = [{"command": name} for name in ("pause", "pause", "checkpoint", "resume")]
    ask = after_step(5, *commands[:3], RATE, commands[3])
    result = controlled(model, RECIPE, tmp_path, ask=ask, events=events)
    names = [name for name, *_ in applied(events)]
    assert names == ["pause", "checkpoint", "set", "resume"]
    assert {step for _, step, *_ in applied(events)} == {5}
    assert [event.reason for event in of_kind(events, ControlRefused)] == ["It is paused already."]
    assert [e.reason for e in of_kind(events, CheckpointSaved) if e.step == 5] == ["pause", "asked"]
    assert bits(result) == bits(slower[0])


def test_a_kill_during_a_pause_loses_nothing(
    model: Model, plain: tuple[Any, list[Event]], tmp_path: Path
) -> None:
    after = after_step(5, {"command": "pause"})

    def ask(run: RunFolder, event: Event) -> None:
        after(run, event)
        if isinstance(event, ControlApplied):
            raise Killed

    with pytest.raises(Killed):
        controlled(model, RECIPE, tmp_path, ask=ask)
    events: list[Event] = []
    assert bits(controlled(model, RECIPE, tmp_path, events=events)) == bits(plain[0])
    assert min(losses(events)) == 6  # and it isn't paused any more


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("by", ["command", "signal"])
def test_a_stop_saves_and_ends_also_while_paused(
    model: Model, plain: tuple[Any, list[Event]], tmp_path: Path, paused: bool, by: str
) -> None:
    events: list[Event] = []
    commands = [{"command": "pause"}] * paused + [{"command": "stop"}] * (by == "command")

    def signalled() -> bool:
        done = [event.step for event in of_kind(events, Step)]
        return by == "signal" and done[-1:] == [5] and (not paused or bool(applied(events)))

    with pytest.raises(StoppedWithCheckpoint) as caught:
        controlled(
            model, RECIPE, tmp_path, ask=after_step(5, *commands), events=events,
            should_stop=signalled,
        )  # fmt: skip
    assert caught.value.step == 5
    assert [name for name, *_ in applied(events)] == [command["command"] for command in commands]
    assert bits(controlled(model, RECIPE, tmp_path)) == bits(plain[0])


def test_time_spent_paused_brings_no_checkpoint_by_time(model: Model, tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(
        update={"checkpoint_every_steps": None, "checkpoint_every_s": 60.0, "epochs": 1}
    )
    clock = [time.monotonic()]
    events: list[Event] = []

    def tick() -> float:
        clock[0] += 1e-3
        return clock[0]

    def ask(run: RunFolder, event: Event) -> None:
        after_step(2, {"command": "pause"})(run, event)
        if isinstance(event, ControlApplied) and event.command == "pause":
            clock[0] += 3600  # of pausing
            send(run.control, "resume")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", tick)
        controlled(model, recipe, tmp_path, ask=ask, events=events, validation=False)
    assert [e.reason for e in of_kind(events, CheckpointSaved)] == ["pause", "end"]


def test_a_checkpoint_that_was_asked_for_is_there(model: Model, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        ask = killed_after(6, after_step(5, {"command": "checkpoint"}))
        controlled(model, RECIPE, tmp_path, ask=ask)
    newest = CheckpointStore(tmp_path / "checkpoints").latest()
    assert newest is not None and newest.step == 5


# -- samples and labels --------------------------------------------------------------------------


def answer(model: Model, prompts: Sequence[str], stop: Callable[[], bool]) -> list[str] | None:
    if any("long" in prompt for prompt in prompts):
        raise DataError("It is too long.", code="PROMPT_TOO_LONG")
    return None if stop() else [prompt.upper() for prompt in prompts]


def test_samples_come_when_asked_for_and_at_their_interval_and_change_nothing(
    model: Model, plain: tuple[Any, list[Event]], tmp_path: Path
) -> None:
    recipe = RECIPE.model_copy(update={"sample_prompts": ("a", "b"), "sample_every_steps": 4})
    events: list[Event] = []
    asked = [{"command": "sample"}, {"command": "sample", "value": "c"}]
    asked.append({"command": "sample", "value": "a long one"})
    ask = after_step(5, *asked)
    result = controlled(model, recipe, tmp_path, ask=ask, events=events, answer=answer)
    found = [(e.step, e.prompt, e.text) for e in of_kind(events, Sample)]
    assert found[:5] == [(4, "a", "A"), (4, "b", "B"), (5, "a", "A"), (5, "b", "B"), (5, "c", "C")]
    assert [step for step, prompt, _ in found if prompt == "a"] == [
        4, 5, *range(8, result.steps + 1, 4)
    ]  # fmt: skip
    assert [event.reason for event in of_kind(events, ControlRefused)] == ["It is too long."]
    assert bits(result) == bits(plain[0])


def test_a_stop_during_a_sample_asks_those_prompts_again_after_the_resume(
    model: Model, tmp_path: Path
) -> None:
    recipe = RECIPE.model_copy(update={"sample_prompts": ("a",), "sample_every_steps": 4})
    events: list[Event] = []
    with pytest.raises(StoppedWithCheckpoint) as caught:
        controlled(
            model, recipe, tmp_path, events=events, answer=answer,
            ask=after_step(4, {"command": "stop"}),
        )  # fmt: skip
    assert caught.value.step == 4 and not of_kind(events, Sample)
    controlled(model, recipe, tmp_path, events=events, answer=answer)
    assert [event.step for event in of_kind(events, Sample)][:2] == [4, 8]


def test_the_labels_measure_goes_into_the_event_and_changes_nothing(
    model: Model, plain: tuple[Any, list[Event]], tmp_path: Path
) -> None:
    found = LabelMeasure(rows=8, accuracy=0.75, macro_f1=0.7, confidence={"ham": 0.9, "spam": 0.6})
    events: list[Event] = []
    result = controlled(
        model, RECIPE, tmp_path, events=events, measure_labels=lambda model, stop, on_rows: found
    )
    for event in of_kind(events, Validation):
        assert (event.label_rows, event.accuracy, event.macro_f1) == (8, 0.75, 0.7)
        assert event.confidence == {"ham": 0.9, "spam": 0.6}
    assert bits(result) == bits(plain[0])
    assert of_kind(plain[1], Validation)[0].confidence is None


def test_a_stop_during_the_labels_measure_measures_that_step_anew(
    model: Model, plain: tuple[Any, list[Event]], tmp_path: Path
) -> None:
    found = LabelMeasure(rows=1, accuracy=1.0, macro_f1=1.0, confidence={})
    events: list[Event] = []
    with pytest.raises(StoppedWithCheckpoint):
        controlled(
            model, RECIPE, tmp_path, events=events, measure_labels=lambda model, stop, on_rows: None
        )
    assert not of_kind(events, Validation)
    controlled(
        model, RECIPE, tmp_path, events=events, measure_labels=lambda model, stop, on_rows: found
    )
    assert [e.step for e in of_kind(events, Validation)] == [
        e.step for e in of_kind(plain[1], Validation)
    ]

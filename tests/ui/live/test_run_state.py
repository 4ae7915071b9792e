"""How a run stands, against what `resolved` says of the same events."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import pytest

from gemma_keras_tune import event_types
from gemma_keras_tune.event_types import (
    ControlApplied,
    ControlRefused,
    Load,
    Note,
    Progress,
    RolledBack,
    RunEnded,
    RunStarted,
    Sample,
    StageStarted,
    Step,
    Validation,
    Warned,
)
from gemma_keras_tune.events import EventWriter, read_events, resolved
from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune_ui.jobs.event_feed import EventFeed
from gemma_keras_tune_ui.live import broadcast
from gemma_keras_tune_ui.live.broadcast import LiveRun, LiveRuns
from gemma_keras_tune_ui.live.run_state import JOURNALED, SMOOTH_LOSS, RunState
from gemma_keras_tune_ui.live.standing import Standing
from gemma_keras_tune_ui.pages.runs import log


def step(number: int, loss: float = 1.0) -> Step:
    return Step(
        step=number, total_steps=10, epoch=number / 5, loss=loss, tokens=8, answer_tokens=2,
        learning_rate=1e-4, grad_norm=1.0, seconds=0.5, tokens_per_s=16.0,
    )  # fmt: skip


def validation(number: int) -> Validation:
    return Validation(
        step=number, loss=2.0 / number, perplexity=7.0, tokens=9, best=True, label_rows=4,
        accuracy=0.5, macro_f1=0.4, confidence={"ham": 0.6},
    )  # fmt: skip


HISTORY = [
    (1, RunStarted(device="cpu")),
    (1, StageStarted(stage="training")),
    *((1, step(number, loss=10.0 - number)) for number in range(1, 6)),
    (1, validation(4)),
    (1, Sample(step=5, prompt="p", text="old")),
    (2, RunStarted(resumed_from=3)),
    *((2, step(number, loss=20.0 - number)) for number in range(4, 8)),
    (2, Sample(step=6, prompt="p", text="new")),
    (2, RolledBack(step=5, bad_step=8)),
    (2, step(6, loss=0.5)),
    (2, ControlApplied(id="a", command="set", step=6, key="learning_rate", value=0.1)),
    (2, ControlApplied(id="b", command="pause", step=6)),
    (2, ControlRefused(id="c", command="set", reason="no")),
    (2, Warned(code="W", message="look")),
    (2, Note(message="nothing")),
]


def written(folder: RunFolder, events: Sequence[tuple[int, Any]] = HISTORY) -> None:
    for attempt, event in events:
        with EventWriter(folder.events, attempt) as writer:
            writer.write(event)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


def heard(folder: RunFolder) -> RunState:
    state = RunState()
    for line in folder.events.read_text().splitlines():
        fields = json.loads(line)
        state.hear(fields["kind"], fields)
    return state


def test_the_curve_is_that_of_the_run_as_if_never_interrupted(folder: RunFolder) -> None:
    written(folder)
    state = heard(folder)
    right = [
        (record.event.step, record.event.loss)
        for record in resolved(read_events(folder.events))
        if isinstance(record.event, Step)
    ]
    xs, ys = state.curve("loss").since(0)
    assert list(zip(xs, ys, strict=True)) == right
    assert [one.text for one in state.samples] == [], "both belong to steps that were undone"
    assert len(state.curve("accuracy")) == 0, "it was measured at a step that was done again"


def test_the_smoothed_loss_is_a_weighted_mean_that_goes_back_with_the_steps() -> None:
    state = RunState()
    for number, loss in ((1, 2.0), (2, 1.0), (3, float("nan")), (4, 1.0)):
        state.hear("step", step(number, loss).model_dump())
    steps, values = state.curve(SMOOTH_LOSS).since(0)
    assert steps == [1, 2, 4] and values == pytest.approx([2.0, 2.8 / 1.9, 3.52 / 2.71])
    state.hear("rolled_back", {"step": 2, "bad_step": 4})
    state.hear("step", step(3, 1.0).model_dump())
    assert state.curve(SMOOTH_LOSS).last == pytest.approx(3.52 / 2.71)


def test_it_knows_what_was_asked_and_answered(folder: RunFolder) -> None:
    written(folder)
    state = heard(folder)
    assert state.is_paused and state.answered == {"a", "b", "c"}
    assert state.refused == ("c", "no") and state.remarks == [("W", "look")]
    assert [(mark.step, mark.kind) for mark in state.marks] == [
        (5, "rolled_back"), (6, "set"), (6, "pause"),
    ]  # fmt: skip
    assert (state.marks[1].text, state.marks[1].value) == ("learning_rate", 0.1)
    assert state.changed == {"learning_rate": 0.1}


def test_an_end_says_how_and_a_new_attempt_forgets_it(folder: RunFolder) -> None:
    events = [
        (1, RunStarted()),
        (1, step(1)),
        (1, RunEnded(status="failed", code="X", message="m")),
    ]
    written(folder, events)
    state = heard(folder)
    assert (state.status, state.code, state.message) == ("failed", "X", "m")
    written(
        folder, [(2, RunStarted(resumed_from=1)), (2, Progress(stage="model", done=1, total=4))]
    )
    state = heard(folder)
    assert state.status == "" and (state.stage, state.done, state.total) == ("model", 1, 4)


def test_the_load_is_over_time_and_stays_when_steps_are_done_again(folder: RunFolder) -> None:
    load = Load(
        cpu_percent=150.0, rss_bytes=10, peak_rss_bytes=20, machine_cpu_percent=80.0,
        machine_memory_bytes=1, machine_memory_total_bytes=2,
    )  # fmt: skip
    written(folder, [(1, RunStarted()), (1, step(1)), (1, load), (2, RunStarted())])
    state = heard(folder)
    assert len(state.curve("cpu_percent")) == 1 and len(state.curve("loss")) == 0
    assert len(state.curve("device_bytes")) == 0, "this machine has no accelerator"


def test_the_time_left_goes_on_between_what_is_told_of_it() -> None:
    state, lefts = RunState(), list[float | None]()
    load = Load(
        cpu_percent=1.0, rss_bytes=1, peak_rss_bytes=1, machine_cpu_percent=1.0,
        machine_memory_bytes=1, machine_memory_total_bytes=1,
    )  # fmt: skip
    progress = Progress(stage="validation", done=4, total=9, seconds_left=1.0)
    for second, event in (
        (0, StageStarted(stage="training")),
        (10, step(1)),
        (20, step(2).model_copy(update={"seconds_left": 30.0})),
        (25, progress),
        (32, progress),
        (33, validation(2)),
        (34, ControlApplied(id="a", command="pause", step=2)),
        (40, load),
        (44, ControlApplied(id="b", command="resume", step=2)),
        (45, load),
        (70, progress),
        (80, StageStarted(stage="evaluation")),
        (81, Progress(stage="evaluation", done=1, total=9, seconds_left=8.0)),
        (84, load),
    ):
        time = f"2026-11-29T12:{second // 60:02}:{second % 60:02}+00:00"
        state.hear(event.kind, {**event.model_dump(), "time": time})
        lefts.append(state.seconds_left)
    assert lefts == [
        *(None, None, 30.0, 25.0, 18.0, 17.0),
        *(17.0, 17.0, 17.0, 12.0, 0.0),  # it stood still, but for what came before the next load
        *(None, 8.0, 5.0),
    ]


async def look_at_nothing(folder: RunFolder) -> Standing:
    return Standing()


async def test_one_reader_serves_all_who_look_and_goes_on_with_what_is_written(
    folder: RunFolder,
) -> None:
    written(folder, HISTORY[:7])
    runs = LiveRuns(EventFeed(poll_s=0.01), look_at_nothing)
    async with runs.watched(folder) as one, runs.watched(folder) as other:
        assert one is other and one.viewers == 2
        assert one.state.step == 5, "all that was written before is known at once"
        written(folder, [(1, step(6))])
        await until(lambda: one.state.step == 6)
    async with runs.watched(folder) as again:
        assert again is one, "who reloads the page finds it warm"
    runs.close()


async def test_what_all_readers_are_shown_is_made_once_until_something_changes(
    folder: RunFolder,
) -> None:
    written(folder, HISTORY[:7])
    runs, made = LiveRuns(EventFeed(poll_s=0.01), look_at_nothing), []

    def make() -> str:
        made.append(live.state.step)
        return f"step {live.state.step}"

    async with runs.watched(folder) as live:
        assert [live.once("step", make), live.once("step", make)] == ["step 5", "step 5"]
        assert made == [5]
        assert [live.once("none", lambda: made.append(0)) for _ in range(2)] == [None, None]
        assert made == [5, 0], "nothing is a value as well"
        written(folder, [(1, step(6))])
        await until(lambda: live.state.step == 6)
        assert live.once("step", make) == "step 6" and made == [5, 0, 6]
    runs.close()


async def test_two_rounds_may_follow_close_after_a_pause_and_the_third_waits(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "LEAST_S", 1000.0)
    monkeypatch.setattr(broadcast, "MOST_S", 1000.0)
    written(folder, HISTORY[:7])
    heard: list[int] = []
    live = LiveRun(folder, EventFeed(poll_s=0.01), look_at_nothing)
    live.listen(lambda: heard.append(live.state.step))
    await until(lambda: heard == [5])
    written(folder, [(1, step(6))])
    await until(lambda: heard == [5, 6])
    written(folder, [(1, step(7))])
    await until(lambda: live.state.step == 7)
    await asyncio.sleep(0.05)
    assert heard == [5, 6]
    live.close()


async def test_long_rounds_are_followed_by_a_rest_however_much_news_there_is(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broadcast, "LEAST_S", 0.0)
    monkeypatch.setattr(broadcast, "MOST_S", 0.1)
    rounds: list[tuple[float, float]] = []

    def hear() -> None:
        begun = time.monotonic()
        time.sleep(0.15)
        live._news.set()
        rounds.append((begun, time.monotonic()))

    live = LiveRun(folder, EventFeed(poll_s=0.01), look_at_nothing)
    live.listen(hear)
    live._news.set()
    await until(lambda: len(rounds) >= 5)
    live.close()
    rests = [after[0] - before[1] for before, after in itertools.pairwise(rounds)]
    assert min(rests[1:]) > 0.099, "only the first one is followed close"


async def until(what: Callable[[], bool]) -> None:
    for _ in range(500):
        if what():
            return
        await asyncio.sleep(0.01)
    assert what()


def test_the_journal_has_the_newest_of_what_people_read() -> None:
    state = RunState()
    for number in range(400):
        state.hear("checkpoint", {"step": number, "reason": "steps"})
        state.hear("load", {})
    assert [said["step"] for said in state.journal] == list(range(100, 400))


def test_every_journaled_kind_has_words() -> None:
    of_an_event = get_args(get_args(event_types.Event)[0])
    kinds = {one.model_fields["kind"].default for one in of_an_event}
    assert set(log._SAYINGS) == set(JOURNALED) <= kinds

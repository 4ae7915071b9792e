"""Events as bars on a terminal and as lines elsewhere."""

import io

import pytest
from rich.console import Console

from gemma_keras_tune import events
from gemma_keras_tune.console.progress import RunView, _Bars, duration, size


def step(number: int, *, seconds: float, left: float | None = None) -> events.Step:
    return events.Step(
        step=number,
        total_steps=100,
        epoch=0.5,
        loss=0.25,
        tokens=100,
        answer_tokens=10,
        learning_rate=1e-4,
        grad_norm=1.0,
        seconds=seconds,
        tokens_per_s=100 / seconds,
        seconds_left=left,
    )


def shown(*said: events.Event, terminal: bool = False) -> str:
    file = io.StringIO()
    console = Console(
        file=file, force_terminal=terminal, color_system=None, width=120, markup=False
    )
    with RunView(console) as view:
        for event in said:
            view(event)
            if isinstance(view._bars, _Bars):
                view._bars._live.refresh()
    return file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s")],
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text


def test_long_durations_are_in_hours():
    assert duration(4205) == "1 h 10 min"


def test_sizes_are_in_powers_of_a_thousand():
    assert [size(n) for n in (12, 12_300, 340e6, 1.07e9)] == ["12 B", "12 kB", "340 MB", "1.1 GB"]


def test_the_time_left_is_what_the_training_says():
    said: list[events.Event] = [events.StageStarted(stage="training"), step(1, seconds=60)]
    assert "left" not in shown(*said, terminal=True)
    assert "3 min 14 s left" in shown(*said, step(2, seconds=2, left=194), terminal=True)


def test_a_measurement_has_a_bar_of_its_own_until_its_result_and_no_line_more():
    said: list[events.Event] = [
        events.Progress(stage="validation", done=0, total=0),
        events.Progress(stage="validation", done=8, total=20, seconds_left=3),
    ]
    found = events.Validation(step=3, loss=0.5, perplexity=1.6, tokens=9, best=True)
    text = shown(*said, terminal=True)
    assert "0 of 0" not in text and "Measuring on the validation rows" in text
    assert "8 of 20 3.0 s left" in text
    assert shown(*said, found).splitlines() == [
        "  Starting JAX",
        "  After step 3: validation loss 0.5000, the best so far",
    ]


def test_a_first_guess_from_next_to_nothing_is_not_shown():
    far = events.Progress(stage="model", done=3e3, total=1e9, seconds_left=1.5e6)
    near = events.Progress(stage="model", done=5e8, total=1e9, seconds_left=4)
    assert "left" not in shown(far, terminal=True)
    assert "500 MB of 1.0 GB 4.0 s left" in shown(near, terminal=True)


def test_without_a_terminal_there_are_few_lines_and_no_escapes():
    said: list[events.Event] = [events.StageStarted(stage="training")]
    said += [step(number, seconds=0.01) for number in range(1, 101)]
    text = shown(*said, events.StageEnded(stage="training", seconds=75))
    assert text.splitlines() == ["  Starting JAX", "  Training", "\u2713 Training: 1 min 15 s"]


def test_what_others_wrote_is_neither_markup_nor_an_escape():
    text = shown(events.Warned(code="X", message="[red]a[/red] \x1b[2J b"))
    assert "[red]a[/red] \\x1b[2J b" in text and "\x1b" not in text


def test_a_stage_that_ended_is_remembered_with_its_seconds():
    view = RunView(Console(file=io.StringIO()))
    view(events.StageEnded(stage="data", seconds=1.5))
    assert view.seconds == {"data": 1.5}


def test_what_was_asked_and_done_shows():
    text = shown(
        events.StageStarted(stage="training"),
        events.ControlApplied(id="a", command="pause", step=3),
        events.ControlApplied(id="b", command="set", step=3, key="patience", value=None),
        events.ControlApplied(id="c", command="resume", step=3),
        events.ControlRefused(id="d", command="set", key="end_step", reason="It is too late."),
        events.Sample(step=4, prompt="Who?", text="Nobody\nknows."),
        events.RolledBack(step=2, bad_step=4),
    )
    lines = [line.strip() for line in text.splitlines()]
    for line in (
        "Paused after step 3; it waits for the command resume",
        "After step 3: patience = none",
        "Going on after step 3",
        "Not done: set end_step. It is too late.",
        "After step 4, 'Who?': Nobody knows.",
        "Back to step 2",
    ):
        assert line in lines


def test_a_paused_run_shows_no_time_left():
    said: list[events.Event] = [events.StageStarted(stage="training")]
    said += [step(number, seconds=2, left=9) for number in (1, 2, 3)]
    text = shown(*said, events.ControlApplied(id="a", command="pause", step=3), terminal=True)
    last = text[text.rindex("Paused after step 3") :]
    assert "left" not in last.splitlines()[0]

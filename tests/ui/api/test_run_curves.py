"""The figures of each step as a sheet."""

from __future__ import annotations

import csv
from pathlib import Path

from gemma_keras_tune.event_types import Event, Note, RunStarted, Step, Validation
from gemma_keras_tune.events import EventWriter
from gemma_keras_tune_ui.api.run_curves import curves_sheet


def step(number: int, loss: float) -> Step:
    return Step(
        step=number, total_steps=3, epoch=number / 2, loss=loss, tokens=8, answer_tokens=2,
        learning_rate=3e-4, grad_norm=1.5, seconds=0.5, tokens_per_s=16.0,
    )  # fmt: skip


def lines(path: Path, *, decimal_comma: bool = False) -> list[list[str]]:
    text = b"".join(curves_sheet(path, decimal_comma=decimal_comma)).decode("utf-8-sig")
    return list(csv.reader(text.splitlines(), delimiter=";" if decimal_comma else ","))


def test_a_line_a_step_tells_a_resumed_run_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    attempts: tuple[tuple[Event, ...], ...] = (
        (RunStarted(), step(1, 2.0), step(2, 9.0), step(3, 9.0)),
        (
            RunStarted(resumed_from=1),
            Note(message="a note"),
            step(2, 1.0),
            Validation(step=2, loss=0.5, perplexity=1.6, tokens=9, best=True, accuracy=0.75),
        ),
    )
    for attempt, events in enumerate(attempts, start=1):
        with EventWriter(path, attempt) as tell:
            for event in events:
                tell(event)
    head, *rows = lines(path)
    assert head == [
        "step", "epoch", "loss", "learning_rate", "grad_norm", "tokens", "answer_tokens",
        "seconds", "tokens_per_s", "validation_loss", "perplexity", "accuracy", "macro_f1",
    ]  # fmt: skip
    same = ["0.0003", "1.5", "8", "2", "0.5", "16.0"]
    assert rows == [
        ["1", "0.5", "2.0", *same, "", "", "", ""],
        ["2", "1.0", "1.0", *same, "0.5", "1.6", "0.75", ""],
    ]
    assert lines(path, decimal_comma=True)[1][:4] == ["1", "0,5", "2,0", "0,0003"]


def test_a_run_that_has_not_begun_has_no_lines(tmp_path: Path) -> None:
    assert len(lines(tmp_path / "events.jsonl")) == 1

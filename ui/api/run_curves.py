"""The figures of every step of a run, as a sheet for spreadsheets and notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from gemma_keras_tune.event_types import Step, Validation
from gemma_keras_tune.events import read_events, resolved
from gemma_keras_tune.sheets import sheet

_KINDS = ("run_started", "step", "validation", "rolled_back")
_OF_STEPS = (
    *("epoch", "loss", "learning_rate", "grad_norm", "tokens", "answer_tokens"),
    *("seconds", "tokens_per_s"),
)
_MEASURED = {
    "loss": "validation_loss",
    "perplexity": "perplexity",
    "accuracy": "accuracy",
    "macro_f1": "macro_f1",
}


def curves_sheet(path: Path, *, decimal_comma: bool) -> Iterator[bytes]:
    """A CSV with a line a step, as if the run had never been interrupted, a piece a line.

    Losses are in nats per answer token; the columns are called as in the events. What was measured
    on the validation rows stands in the line of its step.

    Args:
        path: The run's `events.jsonl`; one that isn't there has no steps.
        decimal_comma: As `sheets.sheet` takes it.

    Raises:
        TuneError: `EVENT_UNKNOWN` if a line isn't an event that this version knows.
        OSError: If the file is there and can't be read.
    """
    rows: dict[int, dict[str, Any]] = {}
    for record in resolved(read_events(path, kinds=_KINDS)):
        event = record.event
        if isinstance(event, Step):
            rows.setdefault(event.step, {}).update({key: getattr(event, key) for key in _OF_STEPS})
        elif isinstance(event, Validation):
            measured = {name: getattr(event, key) for key, name in _MEASURED.items()}
            rows.setdefault(event.step, {}).update(measured)
    keys = (*_OF_STEPS, *_MEASURED.values())
    lines = ([step, *(rows[step].get(key) for key in keys)] for step in sorted(rows))
    return sheet(chain([["step", *keys]], lines), decimal_comma=decimal_comma)

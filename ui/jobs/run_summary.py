"""What a run's folder says, in one line for a list; read again only where something was added."""

from __future__ import annotations

import json
import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.events import last_record
from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune.run_result import read_report
from gemma_keras_tune.writing import current_writer

from .tail import Line, Tail

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")
_LARGEST_RECIPE = 1 << 20
_LONGEST_NAME = 80


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A line of the list of runs.

    Attributes:
        name: As its recipe says, else a part of its id.
        state: new, running, done, stopped, failed; died: its process is gone without a word.
        step: Optimizer steps done.
        total_steps: Of so many; 0 if unknown.
        loss: Of the last step; None before the first, or where it is no number.
        measured_loss: Of the tuned model on the held-back rows, in nats a token; None before that.
        accuracy: Its share of right labels there, from 0 to 1; None where rows have none.
        seen_seq: The last event that this is made of.
        size: Bytes of all its files.
    """

    name: str
    state: str = "new"
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    measured_loss: float | None = None
    accuracy: float | None = None
    seen_seq: int = 0
    size: int = 0


class RunReader:
    """One run's folder, and what was seen of it.

    Args:
        folder: The run.
        known: What is known of it already, so that only later events are read.
    """

    def __init__(self, folder: RunFolder, known: Summary | None = None) -> None:
        self.folder = folder
        self.summary = known or Summary(name=_name_of(folder))
        self._tail = Tail(folder.events, after_seq=self.summary.seen_seq)
        self._is_known = known is not None and known.seen_seq > 0
        self._said = self.summary.state
        self._signature: tuple[int, int, int] | None = None
        self._report: tuple[int, int, int] | None = None

    @property
    def is_lively(self) -> bool:
        """Whether it may change from one moment to the next."""
        return self.summary.state in ("new", "running")

    def look(self) -> bool:
        """Whether the summary has changed since the last look.

        Raises:
            OSError: If the folder can't be read.
        """
        before = self.summary
        signature = _signature(self.folder.events)
        if signature != self._signature:
            if self._is_unread():
                self._read()
            self._signature = signature
            self.summary = replace(self.summary, size=size_of(self.folder.path))
        report = _signature(self.folder.report_json)
        if report != self._report:
            self._report = report
            self.summary = replace(self.summary, **_measured(self.folder))
        state = self._said
        if state in ("new", "running", "died"):
            is_written = current_writer(self.folder) is not None
            state = "running" if is_written else "died" if state != "new" else "new"
        self.summary = replace(self.summary, state=state)
        return self.summary != before

    def _is_unread(self) -> bool:
        """Whether there are events that the summary isn't made of; asks the last one only."""
        if not self._is_known:
            return True
        self._is_known = False
        last = last_record(self.folder.events)
        return last is not None and last["seq"] != self.summary.seen_seq

    def _read(self) -> None:
        while True:
            lines = self._tail.read()
            for line in lines:
                self._hear(line)
            if not self._tail.has_more:
                return

    def _hear(self, line: Line) -> None:
        said: dict[str, Any] = {"seen_seq": line.seq}
        fields = line.fields
        if line.kind == "run_started":
            self._said = "running"
            if isinstance(name := fields.get("name"), str) and name:
                said["name"] = name[:_LONGEST_NAME]
            said["step"] = _count(fields.get("resumed_from"))
        elif line.kind == "step":
            said["step"], said["total_steps"] = (
                _count(fields.get("step")),
                _count(fields.get("total_steps")),
            )
            said["loss"] = _number(fields.get("loss"))
        elif line.kind == "run_ended" and fields.get("status") in ("done", "stopped", "failed"):
            self._said = fields["status"]
        self.summary = replace(self.summary, **said)


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder, links not followed; what vanishes meanwhile doesn't count."""
    total, waiting = 0, [folder]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                with suppress(OSError):
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        waiting.append(Path(entry.path))
                    else:
                        total += found.st_size
    return total


def _signature(path: Path) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def _measured(folder: RunFolder) -> dict[str, Any]:
    try:
        tuned = (read_report(folder) or {}).get("tuned")
    except TuneError:  # damaged; the page of the result says so
        tuned = None
    found = tuned if isinstance(tuned, dict) else {}
    return {
        "measured_loss": _number(found.get("loss")),
        "accuracy": _number(found.get("accuracy")),
    }


def _name_of(folder: RunFolder) -> str:
    with suppress(OSError, ValueError, RecursionError):
        with folder.recipe_json.open("rb") as file:
            recipe = json.loads(file.read(_LARGEST_RECIPE))
        if isinstance(recipe, dict) and isinstance(recipe.get("name"), str):
            return str(recipe["name"])[:_LONGEST_NAME] or folder.id[:_LONGEST_NAME]
    return folder.id[:_LONGEST_NAME]


def _count(value: Any) -> int:
    is_count = isinstance(value, int) and 0 <= value < 2**31
    return value if is_count else 0


def _number(value: Any) -> float | None:
    """A finite number, or None: a loss may be written as "NaN"."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e300 else None

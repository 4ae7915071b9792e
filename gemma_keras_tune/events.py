"""What a run says while it works: typed events, one JSON line each, in `events.jsonl`.

The file is only ever appended to, by one writer at a time. A line has `seq` (rising over the whole
run, whatever number of times it was resumed), `attempt` (which of those times wrote it), `time`
(UTC) and the fields of its event. The events themselves are in `event_types.py`.
"""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from .durable import FULL_DISK, fsync_folder, write_all
from .errors import TuneError
from .event_types import (
    AnswerText,
    CheckpointSaved,
    ControlApplied,
    ControlRefused,
    Event,
    Load,
    Note,
    Progress,
    RolledBack,
    RunEnded,
    RunStarted,
    Sample,
    StageEnded,
    StageStarted,
    Step,
    Validation,
    Warned,
)

__all__ = [
    "AnswerText",
    "CheckpointSaved",
    "ControlApplied",
    "ControlRefused",
    "Event",
    "EventWriter",
    "Load",
    "Note",
    "Progress",
    "Record",
    "RolledBack",
    "RunEnded",
    "RunStarted",
    "Sample",
    "StageEnded",
    "StageStarted",
    "Step",
    "Validation",
    "Warned",
    "last_record",
    "read_events",
    "resolved",
]


_EVENT: TypeAdapter[Event] = TypeAdapter(Event)

# Lost with a power cut, any other line only costs the charts a point: its step is done again.
_FLUSHED = {"run_started", "checkpoint", "control_applied", "control_refused", "run_ended"}


@dataclass(frozen=True, kw_only=True)
class Record:
    """One line of `events.jsonl`.

    Attributes:
        seq: Its number, rising over the whole run.
        attempt: Which start of the run wrote it, from 1.
        time: When, as ISO 8601 in UTC. For people: clocks jump, so order by `seq`.
        event: What was said.
    """

    seq: int
    attempt: int
    time: str
    event: Event


class EventWriter:
    """Appends events to a run's `events.jsonl`; it can be passed as `on_event`.

    Numbering goes on from what the file holds. A last line that a kill tore is left as it is, and
    the next event starts on a line of its own.

    Args:
        path: The file; made if it is missing.
        attempt: The attempt that all lines are marked with.

    Raises:
        OSError: If the file can't be opened for writing.
    """

    def __init__(self, path: str | os.PathLike[str], attempt: int) -> None:
        self.path = Path(path)
        self.attempt = attempt
        last = last_record(self.path)
        self._seq = last["seq"] if last else 0
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self._handle = os.open(self.path, flags, 0o666)
        fsync_folder(self.path.parent)  # a new file's name must last, too
        self._torn = _ends_in_the_middle_of_a_line(self._handle)
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Appends `event`; see `write`."""
        self.write(event)

    def write(self, event: Event) -> Record:
        """The event as it now stands in the file.

        Raises:
            TuneError: `NEEDS_SPACE` if the disk is full. The lines before stay whole.
            OSError: If the file can't be written for another reason.
        """
        with self._lock:
            time = datetime.now(UTC).isoformat(timespec="milliseconds")
            record = Record(seq=self._seq + 1, attempt=self.attempt, time=time, event=event)
            self._append(_line(record))
            self._seq = record.seq
            if event.kind in _FLUSHED:
                os.fsync(self._handle)
        return record

    def close(self) -> None:
        """Flushes the file to the disk and closes it."""
        with self._lock:
            if self._handle >= 0:
                os.fsync(self._handle)
                os.close(self._handle)
                self._handle = -1

    def __enter__(self) -> EventWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _append(self, line: bytes) -> None:
        data = b"\n" + line if self._torn else line
        self._torn = True  # until the whole line is out
        try:
            write_all(self._handle, data)
        except OSError as error:
            if error.errno in FULL_DISK:
                raise TuneError(
                    f"The disk that holds {self.path} is full. Free some space, then resume the "
                    "run; it goes on from its last checkpoint.",
                    code="NEEDS_SPACE",
                ) from error
            raise
        self._torn = False


def read_events(
    path: str | os.PathLike[str], *, after_seq: int = 0, kinds: Collection[str] | None = None
) -> Iterator[Record]:
    """The records of an `events.jsonl`, in the order in which they were written.

    Torn lines (a kill or a full disk in the middle of a write) are skipped, and so is a last line
    without its line break, which may still be on its way. A file that isn't there is empty.

    Args:
        path: The file.
        after_seq: Only records with a higher `seq`.
        kinds: Only events of these kinds; None for all.

    Raises:
        TuneError: `EVENT_UNKNOWN` if a whole line isn't an event that this version knows.
        OSError: If the file can't be read.
    """
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        return
    with file:
        for number, line in enumerate(file, start=1):
            fields = _fields(line) if line.endswith(b"\n") else None
            if fields is None or fields["seq"] <= after_seq:
                continue
            if kinds is None or fields.get("kind") in kinds:
                yield _record(fields, where=f"{path}, line {number}")


def resolved(records: Iterable[Record]) -> list[Record]:
    """The records as if the run had never been interrupted, in the same order.

    A resumed attempt does again what came after its checkpoint. So of an older attempt, the steps
    (and validations, checkpoints and samples) after the step that a newer attempt resumed from are
    dropped, and where two attempts still speak of the same step, the newer one is kept. What a
    `RolledBack` undid goes likewise. All other events are kept.
    """
    records = _without_undone(list(records))
    resumed_from = _resumed_from(records)
    newest: dict[tuple[str, int], int] = {}
    for record in records:
        key = _step_key(record)
        if key is not None:
            newest[key] = max(record.attempt, newest.get(key, 0))

    def is_kept(record: Record) -> bool:
        key = _step_key(record)
        if key is None:
            return True
        later = (step for attempt, step in resumed_from.items() if attempt > record.attempt)
        return record.attempt == newest[key] and all(key[1] <= step for step in later)

    return [record for record in records if is_kept(record)]


def last_record(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The fields of the last whole line (with `seq` and `attempt`), or None if there is none.

    Reads from the file's end, so it costs the same for a long run as for a short one.

    Raises:
        OSError: If the file can't be read.
    """
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        return None
    with file:
        end, tail, size = file.seek(0, os.SEEK_END), b"", 1 << 16
        while end > 0:
            start = max(0, end - size)
            file.seek(start)
            tail = file.read(end - start) + tail
            lines = tail.split(b"\n")
            whole = lines if start == 0 else lines[1:]  # the first one may have begun earlier
            for line in reversed(whole):
                fields = _fields(line)
                if fields is not None:
                    return fields
            end, size = start, size * 2
    return None


def _line(record: Record) -> bytes:
    head = {"seq": record.seq, "attempt": record.attempt, "time": record.time}
    return f"{json.dumps(head)[:-1]}, {record.event.model_dump_json()[1:]}\n".encode()


def _fields(line: bytes) -> dict[str, Any] | None:
    """What the line says, or None if it is torn, empty or not a record's."""
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict) or not isinstance(fields.get("seq"), int):
        return None
    return fields if isinstance(fields.get("attempt"), int) else None


def _record(fields: dict[str, Any], *, where: str) -> Record:
    event = {key: value for key, value in fields.items() if key not in ("seq", "attempt", "time")}
    try:
        return Record(
            seq=fields["seq"],
            attempt=fields["attempt"],
            time=str(fields.get("time", "")),
            event=_EVENT.validate_python(event),
        )
    except ValidationError as error:
        raise TuneError(
            f"{where}: not an event that this version knows (kind {event.get('kind')!r}). "
            "If a newer version of gemma-keras-tune wrote this run, read it with that one.",
            code="EVENT_UNKNOWN",
        ) from error


def _step_key(record: Record) -> tuple[str, int] | None:
    event = record.event
    if isinstance(event, Step | Validation | CheckpointSaved | Sample):
        return event.kind, event.step
    return None


def _without_undone(records: list[Record]) -> list[Record]:
    """The records without those of steps that the same attempt rolled back later."""
    kept: list[Record] = []
    undone: dict[int, float] = {}  # by attempt: steps beyond this one are done again further on
    for record in reversed(records):
        if isinstance(record.event, RolledBack):
            before = undone.get(record.attempt, math.inf)
            undone[record.attempt] = min(before, record.event.step)
        key = _step_key(record)
        if key is None or key[1] <= undone.get(record.attempt, math.inf):
            kept.append(record)
    return kept[::-1]


def _resumed_from(records: list[Record]) -> dict[int, int]:
    """For each attempt, the steps it found done: what it says, or else what its steps show."""
    shown: dict[int, int] = {}
    said: dict[int, int] = {}
    for record in records:
        event = record.event
        if isinstance(event, RunStarted):
            said[record.attempt] = event.resumed_from
        elif isinstance(event, Step):
            before = event.step - 1
            shown[record.attempt] = min(before, shown.get(record.attempt, before))
    return shown | said


def _ends_in_the_middle_of_a_line(handle: int) -> bool:
    size = os.fstat(handle).st_size
    return size > 0 and os.pread(handle, 1, size - 1) != b"\n"

"""Reading what was added to an `events.jsonl` since last time, and no more."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

_MOST_BYTES = 4 << 20  # in one reading
_LONGEST_LINE = 1 << 20  # what is longer is no event of ours


class Line(NamedTuple):
    """One event.

    Attributes:
        seq: Its number.
        kind: What it is, as in `event_types.py`.
        fields: All that it says.
        text: The line as it stands in the file, without its line break.
    """

    seq: int
    kind: str
    fields: dict[str, Any]
    text: str


class Tail:
    """The whole lines that a file grew by.

    A last line without its line break may still be on its way and is left for the next reading;
    torn lines are skipped. A file that was replaced or cut is read from its start, and what was
    seen before is left out by its number.

    Args:
        path: The `events.jsonl`; it may not be there yet.
        after_seq: Only records with a higher `seq`.

    Attributes:
        seen_seq: The highest `seq` read so far.
        has_more: Whether the last reading stopped before the file's end.
    """

    def __init__(self, path: Path, *, after_seq: int = 0) -> None:
        self.path = path
        self.seen_seq = after_seq
        self.has_more = False
        self._offset = 0
        self._file: tuple[int, int] = (0, 0)
        self._size = -1
        self._is_skipping = False

    def read(self) -> list[Line]:
        """The records that are new, in their order.

        Raises:
            OSError: If the file is there and can't be read.
        """
        self.has_more = False
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return []
        identity = (found.st_dev, found.st_ino)
        if identity != self._file or found.st_size < self._offset:
            self._file, self._offset, self._is_skipping = identity, 0, False
        elif found.st_size == self._size:
            return []  # nothing but, perhaps, the beginning of a line
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            data = file.read(_MOST_BYTES)
        self.has_more = self._offset + len(data) < found.st_size
        self._size = -1 if self.has_more else self._offset + len(data)
        return self._records(data)

    def skip_to_end(self) -> None:
        """Leaves out all whole lines that are there now.

        Raises:
            OSError: If the file is there and can't be read.
        """
        try:
            file = open(self.path, "rb")
        except FileNotFoundError:
            return
        with file:
            found = os.fstat(file.fileno())
            end = found.st_size
            while end > 0:
                start = max(0, end - _LONGEST_LINE)
                file.seek(start)
                last = file.read(end - start).rfind(b"\n")
                if last >= 0:
                    end = start + last + 1
                    break
                end = start
        self._file, self._offset = (found.st_dev, found.st_ino), end

    def _records(self, data: bytes) -> list[Line]:
        whole, line_break, rest = data.rpartition(b"\n")
        self._offset += len(whole) + len(line_break)
        if len(rest) > _LONGEST_LINE:
            self._offset += len(rest)
        records = []
        if line_break:
            lines = whole.split(b"\n")
            if self._is_skipping:
                lines, self._is_skipping = lines[1:], False
            for line in lines:
                record = _record(line)
                if record is not None and record.seq > self.seen_seq:
                    self.seen_seq = record.seq
                    records.append(record)
        if len(rest) > _LONGEST_LINE:
            self._is_skipping = True
        return records


def _record(line: bytes) -> Line | None:
    try:
        text = line.decode()
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    seq, kind = fields.get("seq"), fields.get("kind")
    if not isinstance(seq, int) or not isinstance(kind, str):
        return None
    return Line(seq, kind, fields, text)

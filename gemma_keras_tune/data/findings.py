"""What is wrong with data: one catalogue of codes, each with its severity and what to do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from ..errors import DataError

Severity = Literal["error", "warning", "info"]
PLACES = 10  # how many places of a finding are named; all are counted


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of trouble in the data, and all of its places counted.

    Args:
        code: Stable name for programs, such as `CSV_RAGGED_ROW`.
        severity: `error` stops a run, `warning` may spoil its result, `info` is good to know.
        count: Rows (or columns, or files) concerned.
        where: The first ten places, as `file:line` or `file:line:column`.
        what: What is wrong, for a person, with the first place's details.
        fix: What to do about it.
    """

    code: str
    severity: Severity
    count: int
    where: tuple[str, ...] = ()
    what: str = ""
    fix: str = ""

    def to_json(self) -> dict[str, Any]:
        """The finding as plain JSON values."""
        return {
            "code": self.code,
            "severity": self.severity,
            "count": self.count,
            "where": list(self.where),
            "what": self.what,
            "fix": self.fix,
        }

    def __str__(self) -> str:
        shown = ", ".join(self.where) + (", ..." if self.count > len(self.where) > 1 else "")
        place = f" ({self.count}x: {shown})" if shown else ""
        return f"{self.code}{place}: {self.what} {self.fix}".rstrip()


class HasPlace(Protocol):
    """A row that knows where it comes from."""

    @property
    def row(self) -> int:
        """Line number in the file."""

    @property
    def file(self) -> str:
        """The file."""


@dataclass(frozen=True)
class Kind:
    """What the catalogue knows of a code: its severity, its advice, and whether rows have it."""

    severity: Severity
    fix: str
    by_row: bool = False


_SKIP = 'or set data.bad_rows = "skip" to leave such rows out'
_ENCODING = 'Save the file as UTF-8, or name its encoding, such as data.encoding = "cp1252"'

# One line a code: the reference page and the messages are made from it.
CODES: dict[str, Kind] = {
    # the file
    "FILE_NOT_FOUND": Kind("error", "Check the path."),
    "FILE_UNREADABLE": Kind("error", "Check the permissions of the file."),
    "FILE_CHANGED": Kind("error", "Start again once nobody writes to the file."),
    "WRONG_FILE_TYPE": Kind("error", "Save the table as CSV or JSONL."),
    "EMPTY_DATASET": Kind("error", "Give at least one row."),
    "UNKNOWN_ENCODING": Kind("error", "Use a name that Python knows, such as utf-8 or cp1252."),
    "UNDECODABLE_BYTES": Kind("error", f"{_ENCODING}, {_SKIP}.", by_row=True),
    "MIXED_ENCODINGS": Kind("error", f"Convert those lines to UTF-8, {_SKIP}.", by_row=True),
    "LINE_TOO_LONG": Kind("error", "Split the row, or check that the file has line breaks."),
    "NUL_BYTE": Kind("error", f"Remove the NUL bytes, {_SKIP}.", by_row=True),
    "TRUNCATED_LAST_LINE": Kind("error", f"Write the file again, {_SKIP}.", by_row=True),
    "BLANK_ROWS": Kind("info", "Nothing: blank rows are passed over."),
    # CSV
    "CSV_UNBALANCED_QUOTE": Kind("error", "Close the quote; write a quote inside a text twice."),
    "CSV_BAD_QUOTE": Kind(
        "error", f'Write a quote inside a text twice (""), {_SKIP}.', by_row=True
    ),
    "CSV_RAGGED_ROW": Kind("error", f"Put texts that hold the delimiter in quotes, {_SKIP}.", True),
    "DUPLICATE_COLUMN": Kind("error", "Give every column its own name."),
    "UNNAMED_COLUMN": Kind("info", "Name the column if you need it."),
    "TOO_MANY_COLUMNS": Kind("error", "Keep the columns that the task needs."),
    "MISSING_COLUMN": Kind("error", "Name the right column in data.columns."),
    # JSONL
    "JSON_ARRAY": Kind("error", "Write one JSON object a line, without [ ] and commas around."),
    "JSON_SYNTAX": Kind("error", f"Repair the line, {_SKIP}.", by_row=True),
    "JSON_NOT_OBJECT": Kind("error", f"Write an object {{...}} on every line, {_SKIP}.", True),
    "JSON_DUPLICATE_KEY": Kind("error", f"Keep one of them, {_SKIP}.", by_row=True),
    "JSON_TOO_DEEP": Kind("error", f"Flatten the value, {_SKIP}.", by_row=True),
    "NON_FINITE_NUMBER": Kind("error", f"Write a real number or a string, {_SKIP}.", by_row=True),
    "HUGE_INTEGER": Kind("error", f"Write it as a string, {_SKIP}.", by_row=True),
    "LONE_SURROGATE": Kind("error", f"Repair or remove the half letter, {_SKIP}.", by_row=True),
    # rows as examples
    "MISSING_VALUE": Kind("error", f"Fill in the value, {_SKIP}.", by_row=True),
    "WRONG_TYPE": Kind("error", f"Write a text in quotes, {_SKIP}.", by_row=True),
    "EMPTY_TEXT": Kind("error", f"Fill in the text, {_SKIP}.", by_row=True),
    "EMPTY_ANSWER": Kind("error", f"Fill in the answer, {_SKIP}.", by_row=True),
    "NAN_LABEL": Kind("error", f"Write the label's name, {_SKIP}.", by_row=True),
    "UNKNOWN_LABEL": Kind("error", f"Correct the label, or add it to data.labels, {_SKIP}.", True),
    "BAD_MESSAGES": Kind("error", f'Write [{{"role": ..., "content": ...}}, ...], {_SKIP}.', True),
    "NO_TURNS": Kind("error", f"Give at least one exchange, {_SKIP}.", by_row=True),
    "NO_ANSWER": Kind("error", f"End every conversation with an answer, {_SKIP}.", by_row=True),
    "EMPTY_TURN": Kind("error", f"Fill in or remove the turn, {_SKIP}.", by_row=True),
    "UNKNOWN_ROLE": Kind("error", f"Use system, user and assistant, {_SKIP}.", by_row=True),
    "ROLE_ORDER": Kind(
        "error", f"Let user and assistant alternate, user first, {_SKIP}.", by_row=True
    ),
    # the data set as a whole
    "TRAIN_TEST_LEAKAGE": Kind("error", "Remove these rows from one of the files."),
    "TRAIN_TEST_OVERLAP": Kind("warning", "Remove these rows from one of the files."),
    "EMPTY_SPLIT": Kind("warning", "Add rows, or raise validation_share or test_share."),
    "DUPLICATE_ROWS": Kind("warning", "Keep one of each, unless the repetition is meant."),
    "CONTRADICTING_ROWS": Kind("warning", "Decide on one answer for the same input."),
    "SINGLE_CLASS": Kind("warning", "Add rows of another label: there is nothing to tell apart."),
    "RARE_LABEL": Kind("warning", "Add rows: a label needs at least two to be trained and tested."),
    "LABEL_IMBALANCE": Kind("warning", "Add rows of the rare labels, and look at their recall."),
    "LABEL_SPELLING": Kind("warning", "Write each label in one way."),
    "TOO_MANY_LABELS": Kind("warning", "Check that the label column is the right one."),
    "FEW_ROWS": Kind("warning", "Add rows: below about fifty a model mostly learns by heart."),
    "CONTROL_TEXT": Kind("info", "Nothing: such text is kept as text and can't steer the model."),
    "WORD_SPACE_LETTER": Kind("info", "Nothing: the letter U+2581 is read as a space."),
    "HIDDEN_LETTERS": Kind("info", "Check these rows: they hold letters that are not shown."),
    "SHORT_ANSWERS": Kind("info", "Check that the answers are whole."),
    "REPLACEMENT_LETTERS": Kind(
        "warning", "Read the file in its true encoding: letters were lost."
    ),
    # token ids
    "TOO_LONG": Kind(
        "error", 'Raise data.max_length, or set data.too_long to "truncate" or "drop".'
    ),
    "ALL_ROWS_TOO_LONG": Kind(
        "error", 'Raise data.max_length, or set data.too_long = "truncate" if cutting is meant.'
    ),
    "ANSWER_TOO_LONG": Kind("error", 'Raise data.max_length, or set data.too_long = "drop".'),
    "TRUNCATED": Kind("warning", "Raise data.max_length if the lost part matters."),
    "DROPPED": Kind("warning", "Raise data.max_length to keep them."),
    "NOTHING_SUPERVISED": Kind("error", "Give the rows answers: there is nothing to learn."),
    "UNSUPERVISED_ROWS": Kind("warning", "Give these rows answers, or leave them out."),
    "LOW_SUPERVISED_SHARE": Kind("warning", "Shorten the prompts, or check the columns."),
}


def finding(
    code: str,
    what: str,
    *,
    count: int = 1,
    where: Iterable[str] = (),
    severity: Severity | None = None,
) -> Finding:
    """A finding with the catalogue's severity and advice.

    Args:
        code: A key of `CODES`.
        what: What is wrong, with values.
        count: How many rows (columns, files) are concerned.
        where: Their places; the first ten are kept.
        severity: In place of the catalogue's.
    """
    kind = CODES[code]
    return Finding(
        code=code,
        severity=severity or kind.severity,
        count=count,
        where=tuple(where)[:PLACES],
        what=what,
        fix=kind.fix,
    )


def finding_about(
    code: str, what: str, rows: Sequence[HasPlace], places: Sequence[int] | npt.NDArray[np.int64]
) -> Finding:
    """A finding about some of the rows.

    Args:
        code: A key of `CODES`.
        what: What is wrong, with values.
        rows: All rows.
        places: `[k]` indices of those that are concerned.
    """
    first = (rows[int(index)] for index in places[:PLACES])
    where = [place(row.file, row.row) for row in first]
    return finding(code, what, count=len(places), where=where)


def fatal(code: str, what: str, *, where: str = "", others: Iterable[Finding] = ()) -> DataError:
    """The error for something that leaves no row to go on with.

    Args:
        code: A key of `CODES`, of severity error.
        what: What is wrong, with values.
        where: The place, if there is one.
        others: Findings that were made before and may explain it.
    """
    return _error([finding(code, what, where=(where,) if where else ()), *others])


def raise_errors(findings: Iterable[Finding]) -> None:
    """Stop if any finding is an error.

    Raises:
        DataError: With the first error's code, every error in the text, and all findings.
    """
    found = list(findings)
    if any(item.severity == "error" for item in found):
        raise _error(found)


def place(path: str, line: int, column: str = "") -> str:
    """How a row, or a cell of it, is named: `file:line` or `file:line:column`."""
    name = os.path.basename(path)
    return f"{name}:{line}:{column}" if column else f"{name}:{line}"


class Notes:
    """Gathers findings by code: counts all rows, keeps the first ten places and the first reason.

    Args:
        skip_rows: Whether bad rows are left out, which makes them warnings instead of errors.
    """

    def __init__(self, *, skip_rows: bool = False) -> None:
        self._skip_rows = skip_rows
        self._notes: dict[str, _Note] = {}

    def add(self, code: str, what: str, where: str = "") -> None:
        """Count one more place."""
        note = self._notes.setdefault(code, _Note(what))
        note.count += 1
        if where and len(note.where) < PLACES:
            note.where.append(where)

    def findings(self) -> tuple[Finding, ...]:
        """What was gathered, in the order in which the codes were first seen."""
        return tuple(
            finding(
                code,
                note.what + (" Left out." if self._skips(code) else ""),
                count=note.count,
                where=note.where,
                severity="warning" if self._skips(code) else None,
            )
            for code, note in self._notes.items()
        )

    def _skips(self, code: str) -> bool:
        return self._skip_rows and CODES[code].by_row


@dataclass
class _Note:
    what: str
    count: int = 0
    where: list[str] = field(default_factory=list)


def _error(findings: list[Finding]) -> DataError:
    errors = [item for item in findings if item.severity == "error"]
    text = str(errors[0]) if len(errors) == 1 else _listed(errors)
    return DataError(text, code=errors[0].code, findings=findings)


def _listed(errors: list[Finding]) -> str:
    return f"The data has {len(errors)} problems:\n" + "\n".join(f"  {item}" for item in errors)

"""What is wrong with data: findings, counted, each of a kind of the catalogue `data_codes`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..data_codes import CODES, LEFT_OUT, Severity
from ..errors import DataError

Settings = Mapping[str, str | Mapping[str, str]]
"""Of the recipe's section `data`, by name."""

PLACES = 10  # how many places of a finding are named; all are counted


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of trouble in the data, and all of its places counted.

    Args:
        code: Stable name for programs, such as `CSV_RAGGED_ROW`.
        severity: `error` stops a run, `warning` may spoil its result, `info` is good to know.
        count: Rows (or columns, or files) concerned.
        where: The first ten places, as `file:line` or `file:line:column`.
        same_as: Of repeated rows: where the row stands that each of `where` repeats.
        what: What is wrong, for a person, with the first place's details.
        fix: What to do about it.
        settings: Of the recipe's section `data`, what may mend it.
        rows: `[k]` int64 numbers of the usable rows that it is about, where it is about some.
    """

    code: str
    severity: Severity
    count: int
    where: tuple[str, ...] = ()
    same_as: tuple[str, ...] = ()
    what: str = ""
    fix: str = ""
    settings: Settings = field(default_factory=dict)
    rows: npt.NDArray[np.int64] | None = field(default=None, repr=False, compare=False)

    @property
    def is_left_out(self) -> bool:
        """Whether these rows can't be used, and are left out as the recipe asks."""
        return CODES[self.code].by_row and self.severity == "warning"

    def to_json(self) -> dict[str, Any]:
        """The finding as plain JSON values."""
        return {
            "code": self.code,
            "severity": self.severity,
            "count": self.count,
            "where": list(self.where),
            "same_as": list(self.same_as),
            "what": self.what,
            "fix": self.fix,
            "settings": dict(self.settings),
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


def finding(
    code: str,
    what: str,
    *,
    count: int = 1,
    where: Iterable[str] = (),
    left_out: bool = False,
    settings: Settings | None = None,
) -> Finding:
    """A finding with the catalogue's severity and advice.

    Args:
        code: A key of `CODES`.
        what: What is wrong, with values.
        count: How many rows (columns, files) are concerned.
        where: Their places; the first ten are kept.
        left_out: Whether these rows are left out: then it is a warning, and nothing must be done.
        settings: Of the section `data`, what may mend it.
    """
    kind = CODES[code]
    return Finding(
        code=code,
        severity="warning" if left_out else kind.severity,
        count=count,
        where=tuple(where)[:PLACES],
        what=f"{what} Left out." if left_out else what,
        fix=LEFT_OUT if left_out else kind.fix,
        settings=settings or {},
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
    found = finding(code, what, count=len(places), where=where)
    return replace(found, rows=np.asarray(places, np.int64))


def fatal(
    code: str,
    what: str,
    *,
    where: str = "",
    settings: Settings | None = None,
    others: Iterable[Finding] = (),
) -> DataError:
    """The error for something that leaves no row to go on with.

    Args:
        code: A key of `CODES`, of severity error.
        what: What is wrong, with values.
        where: The place, if there is one.
        settings: Of the section `data`, what may mend it.
        others: Findings that were made before and may explain it.
    """
    places = (where,) if where else ()
    return _error([finding(code, what, where=places, settings=settings), *others])


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
                note.what,
                count=note.count,
                where=note.where,
                left_out=self._skip_rows and CODES[code].by_row,
            )
            for code, note in self._notes.items()
        )


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

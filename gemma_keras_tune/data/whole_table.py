"""A table that is given back with more columns: every row read, and written in its place."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ..data_codes import CODES
from ..errors import DataError
from ..sheets import disarmed, number_as_text
from .findings import Finding, raise_errors
from .kept import Keeper, Kept
from .read import SUFFIXES, FileFacts, stream_rows

BYTE_ORDER_MARK = "utf-8-sig"
"""The encoding of what is written as CSV: by its mark Excel knows that it is UTF-8."""

_TABS = (".tsv", ".tab")
_LOOKED_AT = 1000  # rows by which it is told how a table writes its numbers
# Three digits behind the sign may be thousands, so they tell nothing.
_DECIMALS = {sign: re.compile(rf"[+-]?\d+{re.escape(sign)}(\d{{1,2}}|\d{{4,}})") for sign in ",."}
_ALL_ROWS = "Repair it: every row must be readable, so that none is lost."


Cell = str | float | bool | None
"""What a new column may hold."""


class WholeRow(NamedTuple):
    """One row: its line in the file, from 1, and column to value."""

    line: int
    cells: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class WholeTable(FileFacts):
    """All rows of a file, also the blank ones of a CSV file.

    Args:
        rows: The rows. They lie outside of memory where they are many.
    """

    rows: Kept[WholeRow] = field(repr=False)


def read_whole_table(
    path: str | os.PathLike[str],
    *,
    wanted: Sequence[str],
    encoding: str = "auto",
    delimiter: str = "auto",
) -> WholeTable:
    """Every row of a file, or none: what would leave a row out is refused.

    Args:
        path: A CSV or JSONL file.
        wanted: Columns that are looked for: they help to find the delimiter.
        encoding: Its codec; `auto` takes a byte-order mark or UTF-8.
        delimiter: Between CSV columns; `auto` finds it.

    Raises:
        DataError: If the file, or any row of it, can't be read.
        TuneError: `NEEDS_SPACE` or `SCRATCH_FOLDER`, if the rows are too many for memory and the
            disk doesn't take them.
    """
    keeper = Keeper(_dump, _load)
    try:
        facts = stream_rows(
            path,
            lambda line, cells: keeper.add(WholeRow(line, cells)),
            encoding=encoding,
            delimiter=delimiter,
            wanted=wanted,
            keep_blank=True,
        )
        raise_errors(facts.findings)
    except DataError as error:
        raise_errors(map(_with_own_advice, error.findings))
        raise
    return WholeTable(**vars(facts), rows=keeper.items())


def unused_names(names: Sequence[str], taken: Sequence[str]) -> tuple[str, ...]:
    """The names; those that are taken with the first free number behind them, as `label (2)`."""
    known, found = set(taken), []
    for name in names:
        free, number = name, 1
        while free in known:
            number += 1
            free = f"{name} ({number})"
        known.add(free)
        found.append(free)
    return tuple(found)


class TableWriter:
    """Writes the rows of a table with more columns behind its own.

    JSONL stays JSONL. CSV keeps its delimiter, or takes the one that its new name stands for; its
    new numbers have the decimal sign of those in the table, and true and false are yes and no. A
    program for tables would compute a cell that begins as a formula does, whoever wrote it: such a
    cell gets an apostrophe before it.

    Args:
        file: Open for writing, with `newline=""`.
        table: The table.
        out: The name that the file will have.
        added: The names of the new columns, none of which the table has.
        raw: Write formulas as they are.

    Attributes:
        guarded: How many cells got an apostrophe.
    """

    def __init__(
        self, file: TextIO, table: WholeTable, out: Path, *, added: Sequence[str], raw: bool
    ) -> None:
        self.guarded = 0
        self._file, self._columns, self._added, self._raw = file, table.columns, added, raw
        self._csv: Any = None
        if table.format == "csv":
            delimiter = _delimiter(table, out)
            self._csv = csv.writer(file, delimiter=delimiter)
            self._decimal_comma = _has_decimal_comma(table, delimiter)
            self._csv.writerow([self._guard(name) for name in (*table.columns, *added)])

    def write(self, cells: Mapping[str, Any], values: Sequence[Cell]) -> None:
        """Writes a row: its own cells, and the new columns' values."""
        if self._csv is None:
            whole = {**cells, **dict(zip(self._added, values, strict=True))}
            self._file.write(json.dumps(whole, ensure_ascii=False, allow_nan=False) + "\n")
            return
        own = [str(cells[name]) for name in self._columns]
        more = [self._as_text(value) for value in values]
        self._csv.writerow([self._guard(cell) for cell in own + more])

    def _as_text(self, value: Cell) -> str:
        if value is None or isinstance(value, str):
            return value or ""
        if isinstance(value, bool):
            return "yes" if value else "no"
        return number_as_text(value, decimal_comma=self._decimal_comma)

    def _guard(self, cell: str) -> str:
        written = cell if self._raw else disarmed(cell)
        self.guarded += written != cell
        return written


def check_name(table: WholeTable, out: Path) -> None:
    """Refuse a name that says something else than what will be in the file.

    Raises:
        DataError: `OUT_FORMAT`.
    """
    suffix = out.suffix.lower()
    if suffix not in ("", ".txt") and SUFFIXES.get(suffix) != table.format:
        raise DataError(
            f"The table is {table.format.upper()}, and so will be what comes of it; "
            f"{out.name} is a name for something else. Choose a name that ends in "
            f".{table.format}.",
            code="OUT_FORMAT",
        )


def _delimiter(table: WholeTable, out: Path) -> str:
    if out.suffix.lower() in _TABS:
        return "\t"
    return "," if table.delimiter == "\t" else table.delimiter


def _has_decimal_comma(table: WholeTable, delimiter: str) -> bool:
    """Whether new numbers are written with a comma, so that whoever made the table can open it.

    As most of its own numbers are. Where there are none, semicolons tell it: programs put them
    between cells in countries whose numbers have commas. Between commas the point stays.
    """
    if delimiter == ",":
        return False
    found = Counter(
        sign
        for row in table.rows[:_LOOKED_AT]
        for cell in row.cells.values()
        for sign, pattern in _DECIMALS.items()
        if pattern.fullmatch(str(cell).strip())
    )
    if found[","] == found["."]:
        return delimiter == ";"
    return found[","] > found["."]


def _with_own_advice(item: Finding) -> Finding:
    """The finding without the advice to leave rows out, which isn't done here."""
    if not CODES[item.code].by_row:
        return item
    encoding = item.settings.get("encoding")
    return replace(item, fix=f"Read it as {encoding}." if encoding else _ALL_ROWS)


def _dump(row: WholeRow) -> bytes:
    return json.dumps(row).encode()


def _load(stored: bytes) -> WholeRow:
    return WholeRow(*json.loads(stored))

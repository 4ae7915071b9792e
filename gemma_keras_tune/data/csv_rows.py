"""CSV rows, strictly: a stray quote may not swallow the rows after it, as it does by default."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import DataError
from .decode import LINE_LIMIT, UNDECODED, explain_bad_bytes
from .findings import Notes, fatal, place

MAX_COLUMNS = 4096
DELIMITERS = (",", ";", "\t", "|")
_SNIFF_LETTERS = 8192
_SUSPICIOUS_LINES = 10


def find_delimiter(
    lines: Iterator[str], path: str, *, delimiter: str, wanted: Sequence[str]
) -> tuple[str, Iterator[str]]:
    """The character between columns, and the lines with those that were looked at put back.

    Args:
        lines: Physical lines.
        path: The file; `.tsv` and `.tab` mean tabs.
        delimiter: A character, which is taken as it is, or `auto`.
        wanted: Column names; the only delimiter that makes them of the header is the one.
    """
    if delimiter != "auto":
        return delimiter, lines
    if path.lower().endswith((".tsv", ".tab")):
        return "\t", lines
    seen: list[str] = []
    letters = 0
    for line in lines:
        seen.append(line)
        letters += len(line)
        if letters >= _SNIFF_LETTERS:
            break
    header = next((line for line in seen if line.strip()), "")
    fitting = [mark for mark in DELIMITERS if wanted and set(wanted) <= set(_names(header, mark))]
    chosen = fitting[0] if len(fitting) == 1 else _sniff("".join(seen)[:_SNIFF_LETTERS], header)
    return chosen, itertools.chain(seen, lines)


def read_csv_rows(
    lines: Iterator[str],
    path: str,
    *,
    delimiter: str,
    encoding: str,
    notes: Notes,
    keep_blank: bool = False,
) -> tuple[list[str], Iterator[tuple[int, dict[str, Any]]]]:
    """The column names, and an iterator of `(line number, row)`; faults of rows go into `notes`.

    Args:
        lines: Physical lines.
        path: The file.
        delimiter: Between columns.
        encoding: The codec that the lines were read with.
        notes: Where faults of rows go.
        keep_blank: Whether rows of nothing but white space are rows like others. A line with
            nothing on it is one only where there is a single column.

    Raises:
        DataError: `EMPTY_DATASET`, `DUPLICATE_COLUMN`, `TOO_MANY_COLUMNS`, `NUL_BYTE` or
            `UNDECODABLE_BYTES` of the header, and while iterating `CSV_UNBALANCED_QUOTE`.
    """
    if csv.field_size_limit() < LINE_LIMIT:  # one setting a process; its default is 131,072
        csv.field_size_limit(LINE_LIMIT)
    watch = _Watch(lines)
    reader = csv.reader(watch, delimiter=delimiter, strict=True)
    try:
        header = next((row for row in reader if any(map(str.strip, row))), None)
    except csv.Error as error:
        raise _unbalanced(path, 1, str(error)) from error
    if header is None:
        raise fatal("EMPTY_DATASET", "The file holds nothing but white space.", where=path)
    code = watch.take(0, reader.line_num)
    if code:
        raise _bad_header(code, path, encoding)
    columns = _checked_names(header, path, notes)
    return columns, _rows(
        reader,
        watch,
        path,
        columns=columns,
        delimiter=delimiter,
        notes=notes,
        keep_blank=keep_blank,
    )


def _bad_header(code: str, path: str, encoding: str) -> DataError:
    what = f"The first line, with the names of the columns, has {_BYTES[code]}."
    if code == "NUL_BYTE":
        return fatal(code, what, where=place(path, 1))
    why = explain_bad_bytes(path, encoding)
    return fatal(code, f"{what} {why.what}", where=place(path, 1), settings=why.settings)


class _Watch:
    """Passes lines on and remembers which of them have bytes that no row may have."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._number = 0
        self._bad: dict[int, str] = {}
        self.last = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._number += 1
        self.last = line
        if "\0" in line:
            self._bad[self._number] = "NUL_BYTE"
        elif not line.isascii() and UNDECODED.search(line):
            self._bad[self._number] = "UNDECODABLE_BYTES"
        return line

    def take(self, after: int, upto: int) -> str:
        """The code of a bad line in `after+1 .. upto`, or an empty string; forgets it."""
        if not self._bad:
            return ""
        codes = [self._bad.pop(number) for number in list(self._bad) if after < number <= upto]
        return codes[0] if codes else ""


def _rows(
    reader: Any,
    watch: _Watch,
    path: str,
    *,
    columns: list[str],
    delimiter: str,
    notes: Notes,
    keep_blank: bool,
) -> Iterator[tuple[int, dict[str, Any]]]:
    while True:
        before = reader.line_num
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            _bad_quote(reader, watch, path, before=before, error=error, notes=notes)
            continue
        code = watch.take(before, reader.line_num)
        if reader.line_num - before > _SUSPICIOUS_LINES and _swallowed(row, delimiter, columns):
            raise _unbalanced(path, before + 1, "one text holds lines that look like rows")
        is_blank = not any(map(str.strip, row))
        if is_blank and keep_blank and (row or len(columns) == 1):
            is_blank, row = False, [*row, *[""] * len(columns)][: len(columns)]
        if len(row) == len(columns) and not code and not is_blank:
            yield before + 1, dict(zip(columns, row, strict=True))
            continue
        where = place(path, before + 1)
        if is_blank:
            notes.add("BLANK_ROWS", "Some rows are blank.", where)
        elif code:
            notes.add(code, f"Line {before + 1} has {_BYTES[code]}.", where)
        else:
            _ragged(watch, row, columns, notes=notes, where=where)


_BYTES = {"NUL_BYTE": "a NUL byte", "UNDECODABLE_BYTES": "letters that can't be read"}


def _ragged(watch: _Watch, row: list[str], columns: list[str], *, notes: Notes, where: str) -> None:
    counts = f"{len(row)} cells, but the table has {len(columns)} columns"
    at_end = not watch.last.endswith(("\n", "\r"))
    if at_end and len(row) < len(columns):
        notes.add("TRUNCATED_LAST_LINE", f"The last line has {counts}, and no line end.", where)
    else:
        notes.add("CSV_RAGGED_ROW", f"The first such row has {counts}.", where)


def _bad_quote(
    reader: Any, watch: _Watch, path: str, *, before: int, error: csv.Error, notes: Notes
) -> None:
    """A fault inside one line is that row's; one that ate several lines spoils the file.

    Raises:
        DataError: `CSV_UNBALANCED_QUOTE`.
    """
    where = place(path, before + 1)
    watch.take(before, reader.line_num)
    if reader.line_num - before > 1:
        raise _unbalanced(path, before + 1, str(error))
    if "unexpected end" in str(error):
        notes.add("TRUNCATED_LAST_LINE", "The last line ends inside a quoted text.", where)
    else:
        notes.add("CSV_BAD_QUOTE", f"A quoted text goes on after its end ({error}).", where)


def _unbalanced(path: str, line: int, reason: str) -> Exception:
    return fatal(
        "CSV_UNBALANCED_QUOTE",
        f"The row that begins in line {line} has a quote that is not closed ({reason}).",
        where=place(path, line),
    )


def _swallowed(row: list[str], delimiter: str, columns: list[str]) -> bool:
    """Whether most lines inside a cell would be whole rows: two stray quotes that met."""
    if len(columns) < 2:
        return False
    for cell in row:
        inner = cell.splitlines()[1:-1]
        if len(inner) < _SUSPICIOUS_LINES - 1:
            continue
        whole = sum(len(_names(line, delimiter)) == len(columns) for line in inner)
        if whole >= 0.6 * len(inner):
            return True
    return False


def _checked_names(header: list[str], path: str, notes: Notes) -> list[str]:
    if len(header) > MAX_COLUMNS:
        raise fatal(
            "TOO_MANY_COLUMNS",
            f"The header has {len(header):,} columns; {MAX_COLUMNS:,} are allowed.",
            where=place(path, 1),
        )
    names = [name.strip() for name in header]
    for index, name in enumerate(names):
        if not name:
            names[index] = f"column_{index + 1}"
            notes.add("UNNAMED_COLUMN", f"Column {index + 1} has no name.", place(path, 1))
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise fatal(
            "DUPLICATE_COLUMN",
            f"These columns are there more than once: {', '.join(map(repr, twice[:10]))}.",
            where=place(path, 1, twice[0]),
        )
    return names


def _names(line: str, delimiter: str) -> list[str]:
    try:
        return [name.strip() for name in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return []


def _sniff(sample: str, header: str) -> str:
    """The delimiter by the look of the first lines; a comma where nothing tells."""
    import clevercsv

    if not any(mark in header for mark in DELIMITERS):
        return ","
    sample = UNDECODED.sub("?", sample)
    try:
        dialect = clevercsv.Detector().detect(sample, delimiters=list(DELIMITERS))
    except clevercsv.Error:
        return ","
    return dialect.delimiter if dialect and dialect.delimiter in DELIMITERS else ","

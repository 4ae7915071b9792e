"""A CSV or JSONL file to rows: bounded memory a line, every bad row named and counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from ..durable import sha256_file
from .csv_rows import find_delimiter, read_csv_rows
from .decode import explain_bad_bytes, find_encoding, known_binary, open_text, read_lines
from .findings import Finding, Notes, fatal, finding, place
from .jsonl_rows import read_jsonl_rows

Format = Literal["auto", "csv", "jsonl"]
SUFFIXES = {".csv": "csv", ".tsv": "csv", ".tab": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@dataclass(frozen=True, kw_only=True)
class FileFacts:
    """What is known of a file that was read.

    Args:
        path: The file, as it was named.
        format: `csv` or `jsonl`.
        encoding: The codec it was read with.
        delimiter: Between CSV columns; empty for JSONL.
        columns: Their names: of the CSV header, or every key seen in JSONL.
        sha256: Hash of the file's bytes.
        size_bytes: Size of the file.
        findings: What is wrong with it; rows with a fault are left out.
        total: How many rows there are, also behind the limit; None if they weren't counted.
    """

    path: str
    format: str
    encoding: str
    delimiter: str
    columns: tuple[str, ...]
    sha256: str
    size_bytes: int
    findings: tuple[Finding, ...] = ()
    total: int | None = None


@dataclass(frozen=True, kw_only=True)
class Table(FileFacts):
    """The rows of one file.

    Args:
        rows: Column to value; JSONL rows have only the keys that their line has.
        lines: Line number of each row in the file, from 1.
    """

    rows: tuple[dict[str, Any], ...] = field(repr=False)
    lines: tuple[int, ...] = field(repr=False)


class Reading(TypedDict, total=False):
    """How a file is read; what is left out is found out.

    Attributes:
        format: `auto` goes by the name, then by the first letter.
        encoding: `auto` takes a byte-order mark or UTF-8.
        delimiter: One character, or `auto`.
        wanted: Columns that are looked for: they help to find the delimiter. Others are kept too.
        bad_rows: `skip` leaves bad rows out and counts them as warnings.
        limit: Stop after so many rows (for a preview).
        count_all: Read the rows behind the limit too, and count them.
        keep_blank: Take blank rows of a CSV file for rows like others; else they are passed over.
    """

    format: Format
    encoding: str
    delimiter: str
    wanted: Sequence[str]
    bad_rows: Literal["error", "skip"]
    limit: int | None
    count_all: bool
    keep_blank: bool


def scan_table(path: str | os.PathLike[str], **how: Unpack[Reading]) -> Table:
    """The rows of a file; bad ones only end up in `findings`: for the health report.

    Args:
        path: A CSV or JSONL file.
        how: See `Reading`.

    Raises:
        DataError: If the file as a whole can't be read.
    """
    rows: list[dict[str, Any]] = []
    lines: list[int] = []

    def keep(line: int, row: dict[str, Any]) -> None:
        lines.append(line)
        rows.append(row)

    facts = stream_rows(path, keep, **how)
    return Table(**vars(facts), rows=tuple(rows), lines=tuple(lines))


def stream_rows(
    path: str | os.PathLike[str],
    take: Callable[[int, dict[str, Any]], None],
    *,
    format: Format = "auto",
    encoding: str = "auto",
    delimiter: str = "auto",
    wanted: Sequence[str] = (),
    bad_rows: Literal["error", "skip"] = "error",
    limit: int | None = None,
    count_all: bool = False,
    keep_blank: bool = False,
) -> FileFacts:
    """As `scan_table`, but each row is handed over as it comes: no more than one is in memory.

    Args:
        path: A CSV or JSONL file.
        take: Gets the line number, from 1, and the row.
        format: This and all others: see `Reading`.
        encoding: Its codec.
        delimiter: Between CSV columns.
        wanted: Columns that are looked for.
        bad_rows: What is done with bad ones.
        limit: Most rows that are handed over.
        count_all: Whether those behind the limit are counted.
        keep_blank: Whether blank ones are rows, too.

    Raises:
        DataError: If the file as a whole can't be read; rows may have been handed over by then.
    """
    name = os.fspath(path)
    size_bytes, modified = _check_file(name)
    sha256 = sha256_file(name)
    codec = find_encoding(name, encoding)
    chosen = _find_format(name, codec) if format == "auto" else format
    notes = Notes(skip_rows=bad_rows == "skip")
    with open(name, "rb") as file:
        lines = read_lines(open_text(file, codec), name)
        if chosen == "csv":
            delimiter, lines = find_delimiter(lines, name, delimiter=delimiter, wanted=wanted)
            columns, found = read_csv_rows(
                lines,
                name,
                delimiter=delimiter,
                encoding=codec,
                notes=notes,
                keep_blank=keep_blank,
            )
        else:
            delimiter = ""
            columns, found = read_jsonl_rows(lines, name, notes=notes)
        taken = 0
        for number, row in islice(found, limit):
            take(number, row)
            taken += 1
        total = taken + sum(1 for _ in found) if count_all else None
    if _stamp(name) != (size_bytes, modified):
        raise fatal("FILE_CHANGED", "The file was changed while it was read.", where=name)
    findings = _explain(notes.findings(), name, codec)
    if not taken and not any(item.severity == "error" for item in findings):
        left = " that can be used" if any(item.severity == "warning" for item in findings) else ""
        what = f"The file has no rows{left}."
        raise fatal("EMPTY_DATASET", what, where=place(name, 1), others=findings)
    return FileFacts(
        path=name,
        format=chosen,
        encoding=codec,
        delimiter=delimiter,
        columns=tuple(columns),
        sha256=sha256,
        size_bytes=size_bytes,
        findings=findings,
        total=total,
    )


def _explain(findings: tuple[Finding, ...], path: str, codec: str) -> tuple[Finding, ...]:
    """Undecodable lines get their reason from a second pass; blank rows alone are no news."""
    explained = []
    for item in findings:
        if item.code == "UNDECODABLE_BYTES":
            why = explain_bad_bytes(path, codec)
            item = finding(
                why.code,
                why.what,
                count=item.count,
                where=item.where,
                left_out=item.is_left_out,
                settings=why.settings,
            )
        explained.append(item)
    return tuple(explained)


def _check_file(path: str) -> tuple[int, int]:
    """Size and time of a readable, non-empty text file.

    Raises:
        DataError: `FILE_NOT_FOUND`, `FILE_UNREADABLE`, `EMPTY_DATASET` or `WRONG_FILE_TYPE`.
    """
    if not Path(path).is_file():
        kind = "is a folder, not a file" if Path(path).is_dir() else "is not there"
        raise fatal("FILE_NOT_FOUND", f"The data file {path} {kind}.")
    try:
        binary = known_binary(path)
    except OSError as error:
        raise fatal("FILE_UNREADABLE", f"{path} can't be read: {error.strerror}.") from error
    if binary:
        raise fatal("WRONG_FILE_TYPE", f"The file is {binary}.", where=Path(path).name)
    stamp = _stamp(path)
    if stamp[0] == 0:
        raise fatal("EMPTY_DATASET", "The file is empty (0 bytes).", where=Path(path).name)
    return stamp


def _stamp(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns


def _find_format(path: str, codec: str) -> str:
    """`csv` or `jsonl`, by the name, else by the first letter; a contradiction is refused."""
    with open(path, "rb") as file:
        head = next((line for line in read_lines(open_text(file, codec), path) if line.strip()), "")
    looks = "jsonl" if head.lstrip().startswith(('{"', "{}", "{ ", "{\n", "[{")) else "csv"
    named = SUFFIXES.get(Path(path).suffix.lower())
    if named == "csv" and looks == "jsonl":
        raise fatal(
            "WRONG_FILE_TYPE",
            'The name says CSV, the first line is JSON. Rename it, or set data.format = "jsonl".',
            where=place(path, 1),
        )
    return named or ("jsonl" if Path(path).suffix.lower() == ".json" else looks)

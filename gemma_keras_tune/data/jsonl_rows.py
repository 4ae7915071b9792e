"""JSONL rows: what Python's json lets pass in silence (twice the same key, NaN, half letters)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from .csv_rows import MAX_COLUMNS
from .decode import UNDECODED
from .findings import Notes, fatal, place

MAX_DEPTH = 64
_MAX_DIGITS = 4300
_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPES = re.compile(r"\\u(?:0000|d[89a-f])", re.IGNORECASE)
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


class RowFault(Exception):
    """A row can't be used: `code` of the catalogue, and why."""

    def __init__(self, code: str, what: str) -> None:
        super().__init__(what)
        self.code = code


def read_jsonl_rows(
    lines: Iterator[str], path: str, *, notes: Notes
) -> tuple[list[str], Iterator[tuple[int, dict[str, Any]]]]:
    """The column names (a list that grows), and an iterator of `(line number, row)`.

    Faults of rows go into `notes`.

    Raises:
        DataError: `JSON_ARRAY` or `TOO_MANY_COLUMNS`, while iterating.
    """
    columns: list[str] = []
    return columns, _rows(lines, path, columns=columns, notes=notes)


def parse_json(text: str) -> Any:
    """The value of one JSON text, strictly.

    Raises:
        RowFault: `JSON_TOO_DEEP`, `JSON_SYNTAX`, `JSON_DUPLICATE_KEY`, `NON_FINITE_NUMBER`,
            `HUGE_INTEGER`, `LONE_SURROGATE` or `NUL_BYTE`.
    """
    if text.count("[") + text.count("{") > MAX_DEPTH and _depth(text) > MAX_DEPTH:
        raise RowFault("JSON_TOO_DEEP", f"Values are nested more than {MAX_DEPTH} deep.")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_integer,
        )
    except json.JSONDecodeError as error:
        raise RowFault("JSON_SYNTAX", f"{error.msg} at letter {error.pos + 1}.") from error
    if _ESCAPES.search(text):
        _check_strings(value)
    return value


def _rows(
    lines: Iterator[str], path: str, *, columns: list[str], notes: Notes
) -> Iterator[tuple[int, dict[str, Any]]]:
    known: set[str] = set()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            notes.add("BLANK_ROWS", "Some rows are blank.", place(path, number))
            continue
        if not known and line.lstrip().startswith("["):
            raise fatal(
                "JSON_ARRAY", "The file is a JSON array, not JSONL.", where=place(path, number)
            )
        try:
            row = _row(line)
        except RowFault as fault:
            cut_off = fault.code == "JSON_SYNTAX" and not line.endswith(("\n", "\r"))
            code = "TRUNCATED_LAST_LINE" if cut_off and number > 1 else fault.code
            notes.add(code, f"Line {number}: {fault}", place(path, number))
            continue
        new = [key for key in row if key not in known]
        known.update(new)
        columns += new
        if len(columns) > MAX_COLUMNS:
            raise fatal(
                "TOO_MANY_COLUMNS",
                f"The rows have more than {MAX_COLUMNS:,} different keys.",
                where=place(path, number),
            )
        yield number, row


def _row(line: str) -> dict[str, Any]:
    if "\0" in line:
        raise RowFault("NUL_BYTE", "The line has a NUL byte.")
    if not line.isascii() and UNDECODED.search(line):
        raise RowFault("UNDECODABLE_BYTES", "The line has letters that can't be read.")
    row = parse_json(line)
    if not isinstance(row, dict):
        raise RowFault("JSON_NOT_OBJECT", f"The line is {_json_type(row)}, not an object.")
    return row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise RowFault("JSON_DUPLICATE_KEY", f"The key {twice!r} is there more than once.")
    return made


def _refuse_constant(name: str) -> NoReturn:
    raise RowFault("NON_FINITE_NUMBER", f"{name} is no number.")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise RowFault("NON_FINITE_NUMBER", f"{text[:20]} is too large for a number.")
    return value


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise RowFault("HUGE_INTEGER", f"A number has {len(text):,} digits.")
    return int(text)


def _check_strings(value: Any) -> None:
    """Refuse half letters and NULs that were written as escapes."""
    if isinstance(value, str):
        if _SURROGATE.search(value):
            raise RowFault("LONE_SURROGATE", "A text has half of a letter (a lone surrogate).")
        if "\0" in value:
            raise RowFault("NUL_BYTE", "A text has a NUL letter.")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_strings(key)
            _check_strings(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_strings(inner)


def _depth(text: str) -> int:
    deepest = depth = 0
    for letter in _STRING.sub("", text):
        if letter in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif letter in "]}":
            depth -= 1
    return deepest


def _json_type(value: Any) -> str:
    names = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")

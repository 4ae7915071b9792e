"""The rows as they stand in the file, a page at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nicegui import ui

from ...words import common
from ...words import data as words
from ..tables import Column, Line, Link, PagedTable, Wanted, shortened
from ..widgets import note
from .looked import Looked
from .mapping import columns_by_part

PER_PAGE = 10
_LONGEST = 400  # characters of a cell; the whole row stands under its line's number


async def prepare(looked: Looked) -> Callable[[], Awaitable[None]]:
    """The table, once its first page is known."""
    first = await looked.look("columns", rows=PER_PAGE, offset=0, count=True)

    async def fill() -> None:
        async def load(wanted: Wanted) -> tuple[Sequence[Line], int]:
            is_first = (wanted.offset, wanted.limit) == (0, PER_PAGE)
            found = (
                first
                if is_first
                else await looked.look("columns", rows=wanted.limit, offset=wanted.offset)
            )
            return lines_of(looked, found), first["total"]

        with ui.column().classes("w-full gap-2"):
            ui.label(words.ROWS_LEAD).classes("gkt-soft")
            _tell_unreadable(looked, first)
            table = PagedTable(words.ROWS_LABEL, columns_of(looked, first), load, per_page=PER_PAGE)
            await table.refresh()

    return fill


def _tell_unreadable(looked: Looked, table: Mapping[str, Any]) -> None:
    """How many rows of the file are not in the table, and where the reasons stand."""
    lost = table["unreadable"]
    if lost:
        number = looked.visit.reader.number
        text = words.ROWS_NOT_SHOWN_ONE if lost == 1 else words.ROWS_NOT_SHOWN
        note(text.format(count=number(lost), total=number(table["total"] + lost)), kind="warning")


def columns_of(looked: Looked, found: Mapping[str, Any]) -> list[Column]:
    """The line's number and the file's columns, each with the part that it plays."""
    said = columns_by_part(looked.settings or {}, looked.columns)
    parts = {column: words.SHORT_PARTS[part] for part, column in said.items()}
    shown = []
    for column in found["columns"]:
        name = str(column["name"])
        part = parts.get(name, name)
        both = words.COLUMN_AS.format(column=name, part=part)
        shown.append(Column(name if part == name else both))
    return [Column(words.LINE), *shown]


def lines_of(looked: Looked, found: Mapping[str, Any]) -> list[Line]:
    """The rows; a line's number leads to its tokens."""
    return [
        Line(
            str(row["row"]),
            (
                Link(looked.visit.reader.number(row["row"]), row_path(looked, row["row"])),
                *(_cell(row["cells"][column["id"]]) for column in found["columns"]),
            ),
        )
        for row in found["rows"]
    ]


def row_path(looked: Looked, line: int) -> str:
    """The page that shows one row as the model sees it."""
    source = looked.source
    place = source.dataset_id or f"shipped/{quote(source.file_name)}"
    return f"/data/{place}?tab=tokens&line={line}"


def _cell(text: str | None) -> str:
    return common.NONE if text is None else shortened(text, _LONGEST)

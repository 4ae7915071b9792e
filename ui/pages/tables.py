"""Tables whose pages come from the server, and whose cells are text, links, states and tags."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nicegui import ui

from ..words import common

Tone = Literal["plain", "good", "bad", "warning", "busy"]
MOST_ROWS = 200  # on one page


@dataclass(frozen=True)
class Link:
    """A cell that leads somewhere."""

    text: str
    href: str


@dataclass(frozen=True)
class Chip:
    """A cell that is a state; the text says it, the tone only repeats it."""

    text: str
    tone: Tone = "plain"


@dataclass(frozen=True)
class Tags:
    """A cell of words, each of which leads to what has it, too."""

    links: Sequence[Link]

    @property
    def text(self) -> str:
        """The words."""
        return ", ".join(link.text for link in self.links)


Cell = str | Link | Chip | Tags


def shortened(text: str | None, most: int) -> str:
    """A text that is no longer than `most` characters; one that is ends in an ellipsis."""
    text = text or ""
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"


@dataclass(frozen=True)
class Line:
    """One row: its key, and a cell for each column."""

    key: str
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        label: Its title.
        sort: What the server sorts by for it; left out, it can't be sorted.
        right: Whether its cells stand on the right, as numbers do.
    """

    label: str
    sort: str = ""
    right: bool = False


@dataclass(frozen=True)
class Wanted:
    """Which page of a table somebody wants; `sort` as the API takes it, `-` before it: falling."""

    offset: int
    limit: int
    sort: str


Load = Callable[[Wanted], Awaitable[tuple[Sequence[Line], int]]]


class LinesTable:
    """A short table that is changed in place; hidden as long as it is empty.

    Args:
        label: What screen readers call it.
        columns: Its columns.
    """

    def __init__(self, label: str, columns: Sequence[Column]) -> None:
        self.table = _table(label, columns, rows_per_page=0)
        self.table.props("hide-bottom")
        self.table.set_visibility(False)

    def show(self, lines: Sequence[Line]) -> None:
        """Puts in other lines."""
        rows = [_row(line) for line in lines]
        if rows != self.table.rows:
            self.table.rows = rows
        self.table.set_visibility(bool(rows))


class PagedTable:
    """A table that asks for each page when it is looked at.

    Args:
        label: What screen readers call it.
        columns: Its columns.
        load: Gives the wanted lines and how many there are in all.
        sort: What it is sorted by at first, as in `Wanted`.
        per_page: Lines on a page.
        on_select: Called with the keys of the chosen lines; left out, none can be chosen.
    """

    def __init__(
        self,
        label: str,
        columns: Sequence[Column],
        load: Load,
        *,
        sort: str = "",
        per_page: int = 25,
        on_select: Callable[[list[str]], Any] | None = None,
    ) -> None:
        self._load, self._columns = load, tuple(columns)
        self._at = Wanted(offset=0, limit=per_page, sort=sort)
        self.total = 0
        self.table = _table(
            label,
            self._columns,
            selection=None if on_select is None else "multiple",
            pagination=self._pagination(),
        )
        self._is_chosen_from = on_select is not None
        self.table.props(f":rows-per-page-options=[10,25,50,100,{MOST_ROWS}]")
        self.table.on("request", lambda event: self._request(event.args["pagination"]))
        if on_select is not None:
            self.table.on_select(lambda _: on_select([row["key"] for row in self.table.selected]))

    async def refresh(self, *, first: bool = False) -> None:
        """Asks for the page again, or for the first one."""
        if first:
            self._at = Wanted(0, self._at.limit, self._at.sort)
        lines, self.total = await self._load(self._at)
        if not lines and self._at.offset and self.total:  # the last page became empty
            self._at = Wanted(
                (self.total - 1) // self._at.limit * self._at.limit, self._at.limit, self._at.sort
            )
            lines, self.total = await self._load(self._at)
        rows, pagination = [self._row(line) for line in lines], self._pagination()
        if rows != self.table.rows or pagination != self.table.pagination:
            self.table.rows = rows
            self.table.pagination = pagination

    def _row(self, line: Line) -> dict[str, Any]:
        row = _row(line)
        return (
            row | {"choose": common.CHOOSE.format(name=row["c0"])} if self._is_chosen_from else row
        )

    async def _request(self, asked: dict[str, Any]) -> None:
        limit = min(int(asked.get("rowsPerPage") or MOST_ROWS), MOST_ROWS)
        name, falling = asked.get("sortBy"), bool(asked.get("descending"))
        sort = self._columns[int(name[1:])].sort if name else ""
        page = max(1, int(asked.get("page") or 1))
        self._at = Wanted((page - 1) * limit, limit, f"-{sort}" if falling and sort else sort)
        await self.refresh()

    def _pagination(self) -> dict[str, Any]:
        at, name = self._at, self._at.sort.removeprefix("-")
        place = next((n for n, one in enumerate(self._columns) if name and one.sort == name), None)
        return {
            "page": at.offset // at.limit + 1,
            "rowsPerPage": at.limit,
            "rowsNumber": self.total,
            "sortBy": None if place is None else f"c{place}",
            "descending": at.sort.startswith("-"),
        }


class _Table(ui.table, component="lines_table.js"):
    """NiceGUI's table with cells that stay when the page around them changes."""


def _table(label: str, columns: Sequence[Column], **how: Any) -> ui.table:
    # A name with ":" before it would be code to NiceGUI, so columns are called c0, c1, ... whatever
    # a file or a person calls them; texts only ever are values.
    described = [
        {
            "name": f"c{place}",
            "field": f"c{place}",
            "label": column.label,
            "align": "right" if column.right else "left",
            "classes": "gkt-number" if column.right else "",
            "sortable": bool(column.sort),
        }
        for place, column in enumerate(columns)
    ]
    if "rows_per_page" in how:
        how["pagination"] = {"rowsPerPage": how.pop("rows_per_page")}
    table = _Table(columns=described, rows=[], row_key="key", **how).classes("gkt-table")
    table.props["aria-label"], table.props["choose-all"] = label, common.CHOOSE_ALL
    table.props["no-data-label"] = common.NO_ROWS
    return table


def _row(line: Line) -> dict[str, Any]:
    row: dict[str, Any] = {"key": line.key}
    for place, cell in enumerate(line.cells):
        name = f"c{place}"
        row[name] = cell if isinstance(cell, str) else cell.text
        if isinstance(cell, Link):
            row[f"{name}_href"] = cell.href
        elif isinstance(cell, Chip):
            row[f"{name}_tone"] = cell.tone
        elif isinstance(cell, Tags):
            row[f"{name}_tags"] = [{"text": link.text, "href": link.href} for link in cell.links]
    return row


__all__ = [
    "Cell",
    "Chip",
    "Column",
    "Line",
    "LinesTable",
    "Link",
    "Load",
    "PagedTable",
    "Tags",
    "Tone",
    "Wanted",
]

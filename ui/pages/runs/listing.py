"""The list of runs: filtered, sorted, tagged, deleted, and chosen to be compared."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from fastapi import FastAPI
from nicegui import ui
from sqlalchemy.engine import RowMapping

from ...api.run_rows import run_row, runs_page
from ...api.runs import RunChanges, change_run, delete_run
from ...identity.access import Action
from ...words import common
from ...words import home as states
from ...words import runs as words
from ..frame import page
from ..run_tabs import runs_with
from ..states import state_chip
from ..tables import Column, Line, Link, PagedTable, Tags, Wanted
from ..visit import Visit
from ..widgets import confirm, empty_state, heading, link_button, primary, secondary

_STATES = ("running", "done", "stopped", "failed", "died", "new", "missing")
_EVERY_S = 2.0
_LOSSES = ("loss", "measured_loss")
_NUMBERS = ("step", *_LOSSES, "accuracy", "size")
_COLUMNS = tuple(
    Column(title, sort="" if name == "tags" else name, right=name in _NUMBERS)
    for name, title in words.COLUMNS.items()
)


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(
        app,
        "/runs",
        title=words.TITLE,
        nav=common.RUNS,
        icon="show_chart",
        needs=Action.VIEW_RUNS,
        wide=True,
    )
    async def show(visit: Visit, state: str = "", search: str = "", tag: str = "") -> None:
        await _Listing(visit, {"state": state, "search": search, "tag": tag}).start()


class _Listing:
    """The page's parts."""

    def __init__(self, visit: Visit, filters: dict[str, str]) -> None:
        self._visit, self._filters = visit, filters
        self._chosen: list[str] = []
        with ui.row().classes("w-full items-end gap-3"):
            self._filter_fields()
        with ui.row().classes("w-full items-center gap-2"):
            self._buttons()
        self._table = PagedTable(
            words.TITLE, _COLUMNS, self._load, sort="-created_at", on_select=self._choose
        )
        with empty_state("model_training", words.EMPTY_TITLE, words.EMPTY_TEXT) as self._empty:
            link_button(common.CONFIGURE, "/configure")
        self._nothing = ui.label(words.NOTHING_FOUND).classes("gkt-soft")
        self._choose([])

    async def start(self) -> None:
        """Shows the first page, and keeps it new."""
        await self._refresh()
        ui.timer(_EVERY_S, self._refresh)

    def _filter_fields(self) -> None:
        search = ui.input(words.SEARCH, value=self._filters["search"])
        search.props("outlined dense debounce=300 clearable").classes("w-64 max-w-full")
        named = {"": words.ANY} | {state: states.STATES[state] for state in _STATES}
        chosen = self._filters["state"]
        state = ui.select(named, label=words.STATE, value=chosen if chosen in named else "")
        state.props("outlined dense").classes("w-40")
        tag = ui.input(words.TAG, value=self._filters["tag"])
        tag.props("outlined dense debounce=300 clearable").classes("w-40")
        for name, field in (("search", search), ("state", state), ("tag", tag)):
            field.on_value_change(
                self._visit.tells(lambda event, name=name: self._filter(name, event.value))
            ).mark(f"filter-{name}")

    def _buttons(self) -> None:
        self._compare = secondary(words.COMPARE, self._go_compare, icon="compare_arrows")
        self._edit = secondary(words.EDIT, self._visit.tells(self._change), icon="edit")
        self._delete = secondary(words.DELETE, self._visit.tells(self._remove), icon="delete")
        self._edit.set_visibility(self._visit.may(Action.TAG_RUN))
        self._delete.set_visibility(self._visit.may(Action.DELETE_RUN))
        self._hint = ui.label(words.COMPARE_HINT).classes("gkt-note")

    async def _filter(self, name: str, value: str | None) -> None:
        self._filters[name] = (value or "").strip()
        await self._table.refresh(first=True)
        self._show_emptiness()

    async def _refresh(self) -> None:
        await self._table.refresh()
        self._show_emptiness()

    def _show_emptiness(self) -> None:
        is_filtered = any(self._filters.values())
        self._empty.set_visibility(not self._table.total and not is_filtered)
        self._nothing.set_visibility(not self._table.total and is_filtered)
        self._table.table.set_visibility(bool(self._table.total))

    async def _load(self, wanted: Wanted) -> tuple[Sequence[Line], int]:
        asked = await self._visit.asked_now(Action.VIEW_RUNS)
        rows, total = await runs_page(
            asked.rows,
            limit=wanted.limit,
            offset=wanted.offset,
            sort=wanted.sort or "-created_at",
            filters={"state": self._filters["state"] or None},
            search=self._filters["search"][:80],
            tag=self._filters["tag"][:40],
        )
        return [_line(self._visit, row) for row in rows], total

    def _choose(self, ids: list[str]) -> None:
        self._chosen = ids
        self._compare.set_enabled(len(ids) >= 2)
        self._edit.set_enabled(bool(ids))
        self._delete.set_enabled(bool(ids))
        count = self._visit.reader.number(len(ids))
        self._hint.text = words.CHOSEN.format(count=count) if ids else words.COMPARE_HINT

    def _go_compare(self) -> None:
        ui.navigate.to(f"/compare?runs={quote(','.join(self._chosen))}")

    async def _change(self) -> None:
        asked = self._visit.asked(Action.TAG_RUN)
        rows = [await run_row(asked.rows, run_id) for run_id in self._chosen]
        changes = await _asked_changes(rows)
        if changes is not None:
            for row, new in zip(rows, changes, strict=True):
                await change_run(self._visit.asked(Action.TAG_RUN), row["id"], new)
            ui.notify(words.SAVED, type="positive")
            await self._refresh()

    async def _remove(self) -> None:
        ids = list(self._chosen)
        title = words.DELETE_ONE_TITLE if len(ids) == 1 else words.DELETE_TITLE
        title = title.format(count=self._visit.reader.number(len(ids)))
        if not await confirm(title, words.DELETE_TEXT, yes=words.DELETE, destroys=True):
            return
        for run_id in ids:
            await delete_run(self._visit.asked(Action.DELETE_RUN), run_id)
        self._table.table.selected = []
        self._choose([])
        ui.notify(words.DELETED, type="positive")
        await self._refresh()


async def _asked_changes(rows: Sequence[RowMapping]) -> list[RunChanges] | None:
    """What to call and to file runs under; None if somebody thought better of it.

    One run is renamed, and its tags are changed; several get tags besides those that they have.
    """
    is_one = len(rows) == 1
    with ui.dialog() as dialog, ui.card().classes("gkt-dialog"):
        heading(words.EDIT if is_one else words.EDIT_SEVERAL, level=2)
        name = ui.input(words.NAME, value=rows[0]["name"]).props("outlined maxlength=80 autofocus")
        name.set_visibility(is_one)
        known = ", ".join(rows[0]["tags"]) if is_one else ""
        tags = ui.input(words.TAGS, value=known).props("outlined")
        for field in (name, tags):
            field.classes("w-full")
        with ui.row().classes("w-full justify-end gap-2"):
            ui.button(common.CANCEL, on_click=lambda: dialog.submit(False)).props("flat no-caps")
            primary(words.SAVE, lambda: dialog.submit(True)).mark("save")
    saved = await dialog
    dialog.delete()
    if not saved:
        return None
    chosen = list(dict.fromkeys(tag.strip() for tag in tags.value.split(",") if tag.strip()))
    if is_one:
        return [RunChanges(name=name.value.strip() or None, tags=chosen)]
    return [RunChanges(tags=list(dict.fromkeys([*row["tags"], *chosen]))) for row in rows]


def _line(visit: Visit, row: RowMapping) -> Line:
    reader = visit.reader
    steps = reader.number(row["step"])
    if row["total_steps"]:
        total = reader.number(row["total_steps"])
        steps = states.STEPS_OF.format(step=steps, total=total)
    return Line(
        row["id"],
        (
            Link(row["name"], f"/runs/{row['id']}"),
            state_chip(row["state"]),
            steps,
            *("" if row[name] is None else reader.number(row[name], digits=4) for name in _LOSSES),
            "" if row["accuracy"] is None else reader.percent(row["accuracy"]),
            reader.size(row["size"]),
            Tags([Link(tag, runs_with(tag)) for tag in row["tags"]]),
            reader.time(row["created_at"]),
        ),
    )

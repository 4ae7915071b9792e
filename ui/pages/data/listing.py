"""The page `/data`: every data set of the workspace, a way to add one, and examples that ship."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from fastapi import FastAPI
from nicegui import ui

from ...api.datasets import delete_dataset, get_dataset, list_datasets
from ...api.naming import shipped_data
from ...identity.access import Action
from ...words import common
from ...words import data as words
from ..frame import page
from ..tables import Column, Line, Link, PagedTable, Wanted
from ..visit import Visit
from ..widgets import card, confirm, empty_state, heading
from .upload import Upload

_COLUMNS = (
    Column(words.NAME, sort="name"),
    Column(words.SIZE, sort="size", right=True),
    Column(words.ADDED, sort="created_at"),
    Column(words.BY),
)
_NAMED = 5  # data sets that the question before deleting names


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(
        app, "/data", title=words.TITLE, nav=common.DATA, icon="table_view", needs=Action.VIEW_DATA
    )
    async def show(visit: Visit) -> None:
        ui.label(words.LEAD).classes("gkt-soft")
        if visit.may(Action.UPLOAD_DATA):
            with card(words.ADD):
                Upload(visit)
        await _List(visit).show()
        _examples(visit)


class _List:
    """The table, or what to do as long as it would be empty."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._chosen: list[str] = []

    async def show(self) -> None:
        """Fills the page."""
        visit, may_delete = self._visit, self._visit.may(Action.DELETE_DATA)
        with ui.column().classes("w-full gap-2"):
            with ui.row().classes("w-full items-center justify-between"):
                heading(words.LISTED, level=2)
                self._delete = ui.button(
                    words.DELETE, icon="delete", on_click=visit.tells(self._ask_to_delete)
                ).props("flat no-caps color=negative")
                self._delete.set_visibility(False)
            self._table = PagedTable(
                words.LISTED,
                _COLUMNS,
                self._load,
                sort="-created_at",
                on_select=self._choose if may_delete else None,
            )
            text = words.EMPTY if visit.may(Action.UPLOAD_DATA) else words.EMPTY_VIEWER
            self._empty = empty_state("table_view", words.EMPTY_TITLE, text)
        await self._refresh()

    async def _refresh(self) -> None:
        await self._table.refresh()
        self._table.table.set_visibility(bool(self._table.total))
        self._empty.set_visibility(not self._table.total)

    async def _load(self, wanted: Wanted) -> tuple[Sequence[Line], int]:
        asked = await self._visit.asked_now(Action.VIEW_DATA)
        found = await list_datasets(
            asked, limit=wanted.limit, offset=wanted.offset, sort=wanted.sort or "-created_at"
        )
        people = await asked.identity.members.members(asked.principal)
        names = {one.user_id: one.display_name for one in people}
        reader = self._visit.reader
        return [
            Line(
                one.id,
                (
                    Link(one.name, f"/data/{one.id}"),
                    reader.size(one.size),
                    reader.time(one.created_at),
                    names.get(one.user_id, words.NOBODY),
                ),
            )
            for one in found.items
        ], found.total

    def _choose(self, keys: list[str]) -> None:
        self._chosen = keys
        self._delete.set_visibility(bool(keys))

    async def _ask_to_delete(self) -> None:
        asked = self._visit.asked(Action.DELETE_DATA)
        chosen = [await get_dataset(asked, key) for key in self._chosen]
        names = [one.name for one in chosen]
        title = words.DELETE_ONE_TITLE
        if len(chosen) > 1:
            title = words.DELETE_TITLE.format(count=self._visit.reader.number(len(chosen)))
        text = words.DELETE_TEXT.format(names=_listed(names))
        if not await confirm(title, text, yes=words.DELETE, destroys=True):
            return
        try:
            for one in chosen:
                await delete_dataset(self._visit.asked(Action.DELETE_DATA), one.id)
            ui.notify(words.DELETED.format(names=_listed(names)), type="positive")
        finally:  # one that is in use stops it; those before it are gone
            self._table.table.selected = []
            self._choose([])
            await self._refresh()


def _listed(names: list[str]) -> str:
    more = len(names) - _NAMED
    shown = names[:_NAMED] + ([words.MORE_NAMES.format(count=more)] if more > 0 else [])
    return ", ".join(shown)


def _examples(visit: Visit) -> None:
    files = shipped_data()
    known = [name for name in words.EXAMPLE_TEXTS if name in files]
    with ui.column().classes("w-full gap-2"):
        heading(words.EXAMPLES, level=2)
        ui.label(words.EXAMPLES_LEAD).classes("gkt-soft")
        with ui.element("div").classes("gkt-grid"):
            for name in [*known, *sorted(files.keys() - words.EXAMPLE_TEXTS.keys())]:
                title, text = words.EXAMPLE_TEXTS.get(name, (name, ""))
                target = f"/data/shipped/{quote(name)}"
                with ui.link(target=target).classes("gkt-card gkt-clickcard").mark("example"):
                    ui.label(title).classes("font-semibold")
                    ui.label(text).classes("gkt-soft")
                    ui.label(f"{name}, {visit.reader.size(files[name].stat().st_size)}").classes(
                        "gkt-note"
                    )

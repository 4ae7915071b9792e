"""The page `/data/ID`: what the columns are, and five ways to look at the rows."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from nicegui import ui

from gemma_keras_tune.errors import TuneError

from ...api.datasets import delete_dataset
from ...identity.access import Action
from ...words import common
from ...words import data as words
from ..frame import page
from ..visit import Visit
from ..widgets import Figure, confirm, link_button, note, secondary
from . import check, lengths, mapping, reading, rows, split, tokens
from .looked import Looked
from .plain import plain
from .ready import Ready
from .source import Source, dataset_source, shipped_source
from .waiting import waiting

Fill = Callable[[], Any]
_PREPARE: dict[str, Callable[[Looked], Awaitable[Fill]]] = {
    "rows": rows.prepare,
    "check": check.prepare,
    "tokens": tokens.prepare,
    "lengths": lengths.prepare,
    "split": split.prepare,
}


def register(app: FastAPI) -> None:
    """Adds the page of a data set, and the one of a file that ships."""

    @page(app, "/data/{dataset_id}", title=words.TITLE, needs=Action.VIEW_DATA, wide=True)
    async def show(
        visit: Visit, dataset_id: str, tab: str = "", line: str = "", same: str = ""
    ) -> None:
        source = await dataset_source(visit, dataset_id)
        if same:
            note(words.SAME_FILE)
        _Page(visit, source).show(tab, line)

    @page(app, "/data/shipped/{file_name}", title=words.TITLE, needs=Action.VIEW_DATA, wide=True)
    def show_shipped(visit: Visit, file_name: str, tab: str = "", line: str = "") -> None:
        _Page(visit, shipped_source(file_name)).show(tab, line)


class _Page:
    """The page; its parts are asked for when they are looked at, and again after a change."""

    def __init__(self, visit: Visit, source: Source) -> None:
        self._visit, self._source = visit, source
        self._looked = Looked(visit, source, changed=self._changed, read_again=self._read_again)
        self._generation = self._lost = 0
        self._built: set[str] = set()
        self._panels: dict[str, ui.tab_panel] = {}

    def show(self, tab: str, line: str) -> None:
        """Fills the page; `tab` is opened, and `line` shown where one row is looked at."""
        self._visit.title.text = self._source.title
        ui.page_title(f"{self._source.title} - {common.PRODUCT}")
        if line.isascii() and line.isdigit():
            self._looked.line = int(line)
        self._header()
        self._mapping = ui.column().classes("gkt-card")
        with self._mapping:
            waiting(words.READING)
        self._start = tab if tab in words.TABS else "rows"
        self._tabs = ui.tabs(on_change=self._visit.tells(self._go_to)).classes("gkt-datatabs")
        self._tabs.props("align=left no-caps outside-arrows mobile-arrows inline-label")
        with self._tabs:
            for name, (label, icon) in words.TABS.items():
                ui.tab(name, label=label, icon=icon)
        with ui.tab_panels(self._tabs, animated=False).classes("w-full bg-transparent"):
            for name in words.TABS:
                self._panels[name] = ui.tab_panel(name).classes("p-0")
        ui.timer(0.01, self._visit.tells(self._load), once=True)

    def _header(self) -> None:
        reader, source = self._visit.reader, self._source
        with ui.row().classes("w-full items-start justify-between gap-4"):
            with ui.element("div").classes("gkt-figures gkt-grow"):
                self._rows = Figure(words.ROWS)
                self._columns = Figure(words.COLUMNS)
                Figure(words.SIZE, reader.size(source.size))
                if source.created_at is not None:
                    Figure(words.ADDED, reader.time(source.created_at), source.file_name)
                else:
                    Figure(words.FILE, source.file_name, words.EXAMPLE)
            self._buttons()
        self._ready = Ready(
            self._looked, self._rows, self._configure, lambda: self._tabs.set_value("check")
        )
        self._offer()

    def _buttons(self) -> None:
        source = self._source
        with ui.row().classes("gap-2"):
            if source.dataset_id is not None and self._visit.may(Action.DELETE_DATA):
                button = secondary(
                    words.DELETE, self._visit.tells(self._ask_to_delete), icon="delete"
                )
                button.props("color=negative")
            self._configure = link_button(
                words.CONFIGURE, f"/configure?data={quote(source.name)}", icon="arrow_forward"
            )

    def _offer(self) -> None:
        """Offers a run with these rows to whoever may, once it is known what the columns are."""
        is_ready = self._looked.settings is not None and self._visit.may(Action.SUBMIT_TRAIN)
        self._configure.set_visibility(is_ready)

    async def _load(self) -> None:
        looked = self._looked
        try:
            table = await looked.look("columns", rows=rows.PER_PAGE, offset=0, count=True)
        except TuneError as caught:
            await self._show_unreadable(caught)
            return
        self._show_count(table)
        self._columns.show(self._visit.reader.number(len(table["columns"])))
        looked.columns = [str(one["name"]) for one in table["columns"]]
        is_guess = await looked.take_guess(table["guess"])
        self._offer()

        def show() -> None:
            reading.tell(looked, table["findings"], words.LETTERS_LOST)
            mapping.show(looked, is_guess=is_guess, guess=table["guess"])
            reading.show(looked, table["findings"])

        await self._put(self._mapping, show)
        if self._tabs.value == self._start:
            await self._open(self._start)
        else:
            self._tabs.value = self._start  # opens it
        self._ready.ask(lost=self._lost)

    def _show_count(self, table: Mapping[str, Any]) -> None:
        number, self._lost = self._visit.reader.number, table["unreadable"]
        note = words.NOT_READABLE.format(count=number(self._lost)) if self._lost else ""
        self._rows.show(number(table["total"] + self._lost), note)

    async def _show_unreadable(self, error: TuneError) -> None:
        """Why there are no rows; a check-up knows more of it where it is the letters."""
        looked, findings = self._looked, []
        if error.code == "UNDECODABLE_BYTES":
            findings = (await looked.look("check"))["findings"]

        def show() -> None:
            reading.tell(looked, findings, words.NAMES_LOST)
            if not findings:
                self._failed(error, self._load)
            reading.show(looked, findings, failed=True)

        await self._put(self._mapping, show)

    async def _read_again(self) -> None:
        """The file reads otherwise now, so nothing that was shown holds."""
        self._start = self._tabs.value or self._start
        self._generation += 1
        self._built.clear()
        await self._put(self._mapping, lambda: waiting(words.READING))
        await self._load()

    async def _changed(self) -> None:
        """What was shown is out of date."""
        self._generation += 1
        self._built.clear()
        self._offer()
        ui.notify(words.SAVED, type="positive", timeout=1000)
        await self._open(self._tabs.value or self._start)
        self._ready.ask(lost=self._lost)

    async def _go_to(self, event: Any) -> None:
        ui.navigate.history.replace(f"?tab={event.value}")
        await self._open(event.value)

    async def _open(self, name: str) -> None:
        if name in self._built:
            return
        self._built.add(name)
        panel, generation = self._panels[name], self._generation
        if panel.default_slot.children:
            panel.classes("gkt-outdated").props("aria-busy=true")
        else:
            await self._put(panel, lambda: waiting(words.READING))
        try:
            if name != "rows" and self._looked.settings is None:
                raise TuneError(words.FIRST_MAP)
            fill: Fill = await _PREPARE[name](self._looked)
        except TuneError as caught:
            error = caught
            self._built.discard(name)

            def fill() -> None:
                self._failed(error, lambda: self._open(name))

        if generation == self._generation:
            await self._exchange(panel, fill)

    async def _put(self, place: ui.element, fill: Fill) -> None:
        place.clear()
        with place:
            result = fill()
            if inspect.isawaitable(result):
                await result

    async def _exchange(self, panel: ui.tab_panel, fill: Fill) -> None:
        """Shows something else once it is whole: the page never gets shorter in between.

        Else a reader who has scrolled down would be thrown to the top.
        """
        with panel, ui.column().classes("w-full gkt-unseen") as new:
            result = fill()
            if inspect.isawaitable(result):
                await result
        if new.is_deleted:
            return  # something newer has come meanwhile
        for one in [one for one in panel.default_slot.children if one is not new]:
            one.delete()
        new.classes(remove="gkt-unseen")
        panel.classes(remove="gkt-outdated").props(remove="aria-busy")

    def _failed(self, error: TuneError, again: Callable[[], Any]) -> None:
        told = plain(self._visit.text_of(error), file_name=self._source.file_name)
        note(told.text, kind="bad" if error.code else "info")
        if error.code:
            secondary(common.RETRY, self._visit.tells(again), icon="refresh")

    async def _ask_to_delete(self) -> None:
        text = words.DELETE_TEXT.format(names=self._source.title)
        if await confirm(words.DELETE_ONE_TITLE, text, yes=words.DELETE, destroys=True):
            asked = self._visit.asked(Action.DELETE_DATA)
            await delete_dataset(asked, self._source.dataset_id or "")
            ui.navigate.to("/data")

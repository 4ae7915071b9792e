"""What a run can be exported to, what it was, how that was checked, and how to use it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from nicegui import ui

from gemma_keras_tune.recipe import Recipe

from ...api.artifacts import ArtifactView, delete_artifact, find_artifacts
from ...api.run_rows import folder_of, recipe_of, run_row
from ...api.submitting import Wanted, submit
from ...identity.access import Action
from ...words import export as words
from ..frame import page
from ..run_tabs import run_tabs
from ..tables import Column, Line, LinesTable
from ..visit import Visit
from ..widgets import card, confirm, empty_state, explain, heading, note, primary, secondary
from .at_work import AtWork
from .export_size import export_bytes
from .how_to_run import show_how_to_run

_LOOK_S = 1.0
_RECOMMENDED = "hf"
_ROUNDED = ("hf",)  # an adapter is always written exactly


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(app, "/runs/{run_id}/export", title=words.TITLE, needs=Action.VIEW_ARTIFACTS, wide=True)
    async def show(visit: Visit, run_id: str) -> None:
        asked = visit.asked(Action.VIEW_ARTIFACTS)
        row = await run_row(asked.rows, run_id)
        run_tabs(visit, row, at="/export")
        await _Page(visit, run_id).start()


class _Page:
    """The page's parts, each of which is built anew only when what it shows is new."""

    def __init__(self, visit: Visit, run_id: str) -> None:
        self._visit, self._run_id = visit, run_id
        self._folder = folder_of(visit.parts.settings.root, run_id)
        self._recipe: Recipe | None = None
        self._looking = asyncio.Lock()
        self._shown: object = None
        self._offered: object = None
        self._buttons: list[ui.button] = []
        self._blocked: ui.label | None = None
        self._at_work = AtWork(visit, run_id)
        self._made = ui.column().classes("w-full gap-6")
        self._form_place = ui.column().classes("w-full")

    async def start(self) -> None:
        """Shows what there is, and what comes."""
        self._recipe = await asyncio.to_thread(recipe_of, self._folder)
        await self._look()
        ui.timer(_LOOK_S, self._visit.tells(self._look))

    async def _look(self) -> None:
        async with self._looking:  # one look never shows what another has overtaken
            asked = await self._visit.asked_now(Action.VIEW_ARTIFACTS)
            await run_row(asked.rows, self._run_id)
            is_busy = await self._at_work.look(asked)
            found = await find_artifacts(asked, self._run_id)
            is_trained = await asyncio.to_thread(self._folder.adapter.is_dir)
            self._show_made(found, is_trained=is_trained)
            self._show_form({one.format for one in found}, is_trained=is_trained)
            for button in self._buttons:
                button.set_enabled(not is_busy)
            if self._blocked is not None:
                self._blocked.set_visibility(self._at_work.is_shown)

    def _show_made(self, found: list[ArtifactView], *, is_trained: bool) -> None:
        if self._shown == (now := (found, is_trained)):
            return
        self._shown = now
        self._made.clear()
        with self._made:
            if not is_trained and not found:
                empty_state("download", words.NOT_TRAINED_TITLE, words.NOT_TRAINED)
                return
            heading(words.MADE, level=2)
            if not found:
                ui.label(words.NONE).classes("gkt-soft")
            for one in found:
                self._artifact(one)

    def _show_form(self, made: set[str], *, is_trained: bool) -> None:
        if self._offered == (now := (made, is_trained)):
            return
        self._offered, self._buttons, self._blocked = now, [], None
        self._form_place.clear()
        if not is_trained or not self._visit.may(Action.SUBMIT_EXPORT):
            return
        with self._form_place, card(words.MAKE, term="parity"):
            ui.label(words.MAKE_TEXT).classes("gkt-soft max-w-prose")
            self._blocked = ui.label(words.BLOCKED).classes("gkt-soft")
            with ui.element("div").classes("gkt-halves"):
                for format in words.FORMATS:
                    self._offer(format, is_made=format in made)

    def _offer(self, format: str, *, is_made: bool) -> None:
        name, text = words.FORMATS[format]
        with ui.column().classes("gkt-card"):
            with ui.row().classes("items-center gap-1"):
                heading(name, level=3)
                explain(words.TERMS[format])
                if format == _RECOMMENDED:
                    ui.label(words.RECOMMENDED).classes("gkt-chip gkt-good")
            ui.label(text).classes("gkt-soft")
            dtype = None
            if format in _ROUNDED:
                with ui.row().classes("w-full items-center no-wrap gap-1"):
                    dtype = ui.select(words.DTYPES, label=words.DTYPE, value="float32")
                    dtype.props("outlined dense").classes("flex-1").mark(f"dtype-{format}")
                    explain("dtype")
            self._tell_size(format, dtype)
            do = self._export(format, dtype)
            # Only one of them leads on: the other is for those who know why.
            make = primary if format == _RECOMMENDED else secondary
            button = make(words.AGAIN if is_made else words.START, do).mark(f"export-{format}")
            self._buttons.append(button)

    def _tell_size(self, format: str, dtype: ui.select | None) -> None:
        """A line below the form, which follows the number format."""
        said = ui.label().classes("gkt-note").mark(f"size-{format}")

        def tell() -> None:
            chosen = None if dtype is None else dtype.value
            about = export_bytes(self._folder, self._recipe, dtype=chosen)
            size = words.ABOUT.format(size=self._visit.reader.size(about))
            said.text = words.ABOUT_BASE if about is None else size

        tell()
        if dtype is not None:
            dtype.on_value_change(tell)

    def _export(self, format: str, dtype: ui.select | None) -> Any:
        async def do() -> None:
            asked = self._visit.asked(Action.SUBMIT_EXPORT)
            args = {"format": format} | ({} if dtype is None else {"dtype": dtype.value})
            await submit(asked, Wanted(kind="export", run=self._run_id, args=args))
            ui.notify(words.STARTED)
            await self._look()

        return self._visit.tells(do)

    def _artifact(self, one: ArtifactView) -> None:
        reader = self._visit.reader
        name = words.FORMATS.get(one.format, (one.format, ""))[0]
        with card(name, level=3, term=words.TERMS.get(one.format, "")):
            passed = words.PASSED if one.passed else words.FAILED
            note(passed, kind="good" if one.passed else "bad")
            size = words.SIZE.format(
                size=reader.size(one.size), count=reader.number(len(one.files))
            )
            ui.label(size).classes("gkt-soft")
            with ui.row().classes("items-center gap-2"):
                if self._visit.may(Action.DOWNLOAD):
                    primary(words.DOWNLOAD_ALL, icon="download").props(
                        f'href="{self._at(one)}/archive" download'
                    ).mark(f"download-{one.format}")
                if self._visit.may(Action.DELETE_ARTIFACT):
                    secondary(words.DELETE, self._delete(one), icon="delete")
            with ui.expansion(words.HOW).classes("w-full"):
                data = None if self._recipe is None else self._recipe.data
                show_how_to_run(one, data, table=f"/runs/{quote(self._run_id)}/table")
            with ui.expansion(words.PARITY).classes("w-full"):
                self._parity(one.parity)
            with ui.expansion(words.FILES).classes("w-full"):
                self._files(one)

    def _parity(self, parity: Mapping[str, Any]) -> None:
        reader = self._visit.reader
        lines = []
        for key, name in words.CHECKS.items():
            value = parity.get(key)
            if isinstance(value, bool):
                lines.append(Line(key, (name, words.YES if value else words.NO)))
            elif isinstance(value, int | float):
                share = key in ("argmax_agreement", "follows_tuned")
                text = reader.percent(value) if share else reader.number(value, digits=6)
                lines.append(Line(key, (name, text)))
        columns = [Column(name) for name in words.CHECK_COLUMNS]
        LinesTable(words.PARITY, columns).show(lines)

    def _files(self, one: ArtifactView) -> None:
        with ui.column().classes("gap-1"):
            for file in one.files:
                with ui.row().classes("items-baseline gap-3"):
                    if self._visit.may(Action.DOWNLOAD):
                        ui.link(file.name, f"{self._at(one)}/files/{quote(file.name)}")
                    else:
                        ui.label(file.name)
                    ui.label(self._visit.reader.size(file.size)).classes("gkt-note")

    def _delete(self, one: ArtifactView) -> Any:
        async def do() -> None:
            if await confirm(
                words.DELETE_TITLE, words.DELETE_TEXT, yes=words.DELETE, destroys=True
            ):
                asked = self._visit.asked(Action.DELETE_ARTIFACT)
                await delete_artifact(asked, self._run_id, one.format)
                ui.notify(words.DELETED, type="positive")
                await self._look()

        return self._visit.tells(do)

    def _at(self, one: ArtifactView) -> str:
        return f"/api/v1/runs/{quote(self._run_id)}/artifacts/{one.format}"

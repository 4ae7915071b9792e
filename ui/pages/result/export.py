"""What a run can be exported to, what it was, how that was checked, and how to use it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from nicegui import ui

from ...api.artifacts import ArtifactView, delete_artifact, find_artifacts
from ...api.run_rows import folder_of, has_unfinished_job, run_row
from ...api.submitting import Wanted, submit
from ...identity.access import Action
from ...words import common
from ...words import export as words
from ..frame import page
from ..run_tabs import run_tabs
from ..tables import Column, Line, LinesTable
from ..visit import Visit
from ..widgets import card, code, confirm, empty_state, explain, heading, note, primary, secondary

_LOOK_S = 2.0


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(app, "/runs/{run_id}/export", title=words.TITLE, needs=Action.VIEW_ARTIFACTS, wide=True)
    async def show(visit: Visit, run_id: str) -> None:
        asked = visit.asked(Action.VIEW_ARTIFACTS)
        row = await run_row(asked.rows, run_id)
        run_tabs(visit, row, at="/export")
        await _Page(visit, run_id).start()


class _Page:
    """The page's parts."""

    def __init__(self, visit: Visit, run_id: str) -> None:
        self._visit, self._run_id = visit, run_id
        self._folder = folder_of(visit.parts.settings.root, run_id)
        self._shown: object = None
        self._place = ui.column().classes("w-full gap-6")

    async def start(self) -> None:
        """Shows what there is, and what comes."""
        await self._look()
        ui.timer(_LOOK_S, self._visit.tells(self._look))

    async def _look(self) -> None:
        asked = await self._visit.asked_now(Action.VIEW_ARTIFACTS)
        await run_row(asked.rows, self._run_id)
        found = await find_artifacts(asked, self._run_id)
        is_busy = await has_unfinished_job(asked.rows, self._run_id)
        is_trained = await asyncio.to_thread(self._folder.adapter.is_dir)
        now = (found, is_busy, is_trained)
        if now != self._shown:
            self._shown = now
            self._place.clear()
            with self._place:
                self._build(found, is_busy=is_busy, is_trained=is_trained)

    def _build(self, found: list[ArtifactView], *, is_busy: bool, is_trained: bool) -> None:
        if not is_trained and not found:
            empty_state("download", words.NOT_TRAINED_TITLE, words.NOT_TRAINED)
            return
        heading(words.MADE, level=2)
        if not found:
            ui.label(words.NONE).classes("gkt-soft")
        for one in found:
            self._artifact(one)
        if is_trained and self._visit.may(Action.SUBMIT_EXPORT):
            self._form({one.format for one in found}, is_busy=is_busy)

    def _form(self, made: set[str], *, is_busy: bool) -> None:
        with card(words.MAKE, term="parity"):
            ui.label(words.MAKE_TEXT).classes("gkt-soft max-w-prose")
            if is_busy:
                note(words.AT_WORK)
            with ui.element("div").classes("gkt-halves"):
                for format, (name, text) in words.FORMATS.items():
                    with ui.column().classes("gkt-card"):
                        with ui.row().classes("items-center gap-1"):
                            heading(name, level=3)
                            explain(words.TERMS[format])
                        ui.label(text).classes("gkt-soft")
                        dtype = ui.select(words.DTYPES, label=words.DTYPE, value="float32")
                        dtype.props("outlined dense").classes("w-full").mark(f"dtype-{format}")
                        title = words.AGAIN if format in made else words.START
                        button = primary(title, self._export(format, dtype))
                        button.mark(f"export-{format}").set_enabled(not is_busy)

    def _export(self, format: str, dtype: ui.select) -> Any:
        async def do() -> None:
            asked = self._visit.asked(Action.SUBMIT_EXPORT)
            args = {"format": format, "dtype": dtype.value}
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
                ui.label(words.UNPACK).classes("gkt-soft mb-2")
                code(words.CODE[one.format].format(folder=one.format))
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
        LinesTable(words.PARITY, [Column(words.PARITY), Column(common.NONE)]).show(lines)

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

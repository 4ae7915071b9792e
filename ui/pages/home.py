"""The first page: what runs, what waits, and what there is."""

from __future__ import annotations

import shlex
from datetime import datetime
from typing import Any

from fastapi import FastAPI
from nicegui import Client, ui

from ..gate.clients import current_person
from ..identity.access import Action
from ..overview import JobLine, Overview, RunLine
from ..parts import Parts
from ..words import common
from .frame import page
from .visit import Visit
from .widgets import heading

_EVERY_S = 1.0
# Fields are called c0, c1, ...: a name with ":" before it would be code to NiceGUI.
_CARDS_ON_A_PHONE = ':grid="Quasar.Screen.lt.sm"'
_JOBS = ("Job", "Run", "State", "Asked for")
_RUNS = ("Run", "State", "Steps", "Loss", "Changed")


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(app, "/", title="Runs and jobs", nav=common.HOME, icon="home", needs=Action.VIEW_RUNS)
    async def show(visit: Visit) -> None:
        await _show(visit.parts)


async def _show(parts: Parts) -> None:
    client = ui.context.client
    now, problems = await _ask(parts, client)
    with ui.column().classes("w-full gap-6"):
        banner = ui.label().props("role=alert").mark("problems")
        banner.classes(
            "w-full p-3 rounded whitespace-pre-line bg-red-100 text-red-900 "
            "dark:bg-red-950 dark:text-red-100"
        )
        jobs = _Lines("Jobs", _JOBS, _nothing_runs)
        runs = _Lines("Runs", _RUNS, lambda: _no_runs(parts))

    def show(overview: Overview, problems: str) -> None:
        if banner.text != problems:
            banner.text = problems
        banner.set_visibility(bool(problems))
        jobs.show([_of_job(line) for line in overview.jobs], more=overview.more_jobs)
        runs.show([_of_run(line) for line in overview.runs], more=overview.more_runs)

    async def look_again() -> None:
        show(*await _ask(parts, client))

    show(now, problems)
    ui.timer(_EVERY_S, look_again)


async def _ask(parts: Parts, client: Client) -> tuple[Overview, str]:
    """What there is, and what is wrong with the server."""
    problems = [*await parts.health.problems(), *parts.supervisor.problems]
    overview = await parts.overviews.of(current_person(client).workspace_id)
    return overview, "\n".join(dict.fromkeys(problems))


class _Lines:
    """A table that is changed in place, or what to do as long as it would be empty."""

    def __init__(self, title: str, names: tuple[str, ...], when_empty: Any) -> None:
        self._shown: list[tuple[str, ...]] | None = None
        columns = [
            {"name": f"c{at}", "field": f"c{at}", "label": name, "align": "left"}
            for at, name in enumerate(names)
        ]
        with ui.column().classes("w-full gap-2"):
            heading(title, level=2)
            self._table = ui.table(columns=columns, rows=[], row_key="id").classes("w-full")
            self._table.props(f'flat bordered wrap-cells aria-label="{title}"').mark(title.lower())
            self._table.props(_CARDS_ON_A_PHONE)
            self._empty = ui.column().classes("gap-1")
            with self._empty:
                when_empty()
            self._more = ui.label().classes("text-sm")

    def show(self, rows: list[tuple[str, ...]], *, more: int) -> None:
        if rows == self._shown:
            return
        self._shown = rows
        self._table.rows = [
            {"id": at, **{f"c{column}": text for column, text in enumerate(row)}}
            for at, row in enumerate(rows)
        ]
        self._table.update()
        self._table.set_visibility(bool(rows))
        self._empty.set_visibility(not rows)
        self._more.text = f"and {more:,} older ones" if more else ""
        self._more.set_visibility(bool(more))


def _nothing_runs() -> None:
    ui.label("No job has been asked for yet.")


def _no_runs(parts: Parts) -> None:
    root = shlex.quote(str(parts.settings.root))
    ui.label("There is no run yet. Start one in a terminal; it appears here while it works:")
    ui.label(f"gemma-keras-tune train spam_classifier --root {root}").classes(
        "font-mono text-sm p-2 rounded bg-gray-100 dark:bg-gray-800 max-w-full break-words"
    )


def _of_job(line: JobLine) -> tuple[str, ...]:
    state = line.state if not line.code else f"{line.state} ({line.code})"
    return line.kind, line.run_name or "", state, _when(line.created_at)


def _of_run(line: RunLine) -> tuple[str, ...]:
    steps = f"{line.step:,} of {line.total_steps:,}" if line.total_steps else f"{line.step:,}"
    loss = "" if line.loss is None else f"{line.loss:.4f}"
    return line.name, line.state, steps, loss, _when(line.changed_at)


def _when(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"

"""One run while it works: how far it is, what it learns, and what it can be asked."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI
from nicegui import ui
from sqlalchemy.engine import RowMapping

from gemma_keras_tune.writing import current_writer

from ...api.asking import Asking
from ...api.run_rows import folder_of, run_row
from ...identity.access import Action
from ...identity.refusals import NotFound
from ...jobs.job import Job, job_of
from ...live.broadcast import LiveRun
from ...store.tables import UNFINISHED, jobs
from ...words import runs as words
from ..frame import page
from ..run_tabs import run_tabs
from ..visit import Visit
from .controls import Controls
from .notices import Notices
from .progress import Progress
from .views import Views

_TICK_S = 0.5
_LOOK_S = 2.0  # how often row, job and process are looked at


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(app, "/runs/{run_id}", title=words.LIVE, needs=Action.VIEW_RUNS, wide=True)
    async def show(visit: Visit, run_id: str) -> None:
        row = await run_row(visit.asked(Action.VIEW_RUNS).rows, run_id)
        await _Page(visit, row).start()


class _Page:
    """The page's parts, which are changed in place."""

    def __init__(self, visit: Visit, row: RowMapping) -> None:
        self._visit, self._row = visit, dict(row)
        self._folder = folder_of(visit.parts.settings.root, row["id"])
        self._job: Job | None = None
        self._is_at_work = False
        self._looked_at = -1

    async def start(self) -> None:
        """Builds the page of all that was written so far, and keeps it new."""
        visit = self._visit
        live = visit.live.enter(self._folder)
        visit.client.on_delete(lambda: visit.live.leave(live))
        self._live = live
        await live.is_whole.wait()
        self._chip = run_tabs(visit, self._row, at="")
        await self._look()
        self._progress = Progress(visit)
        self._controls = Controls(visit, self._row["id"], live)
        self._notices = Notices(self._row["name"])
        self._views = Views(visit, self._folder, live)
        self._show()
        ui.timer(_TICK_S, self._tick)
        ui.timer(_LOOK_S, self._look_again)

    def _tick(self) -> None:
        """Shows what is new, if anything is."""
        self._live = self._still_alive()
        changes = self._live.state.changes
        if changes != self._looked_at:
            self._looked_at = changes
            self._show()
        self._views.tick(self._live.state)

    def _still_alive(self) -> LiveRun:
        """The reader of the events; another one if it had to give up."""
        if self._live.is_alive:
            return self._live
        self._visit.live.leave(self._live)
        return self._visit.live.enter(self._folder)

    def _show(self) -> None:
        state = self._live.state
        row_state = "paused" if state.is_paused and self._is_at_work else self._row["state"]
        self._chip.show(row_state)
        self._progress.show(state, row=self._row, job=self._job, is_at_work=self._is_at_work)
        self._controls.show(self._row["state"], job=self._job, is_at_work=self._is_at_work)
        self._notices.show(row_state)

    async def _look_again(self) -> None:
        try:
            await self._look()
        except NotFound:  # deleted, or the session is over: the page says so when it is reloaded
            ui.navigate.to("/runs")
            return
        self._show()

    async def _look(self) -> None:
        asked = await self._visit.asked_now(Action.VIEW_RUNS)
        self._row = dict(await run_row(asked.rows, self._row["id"]))
        on_it = (jobs.c.run_id == self._row["id"]) & jobs.c.state.in_(UNFINISHED)
        found = await asked.rows.select(jobs, on_it, order_by=[jobs.c.number.asc()], limit=1)
        self._job = job_of(found[0]) if found else None
        holder = await asyncio.to_thread(current_writer, self._folder)
        self._is_at_work = holder is not None
        if self._job is not None and self._job.state == "queued":
            self._row["ahead"] = await _ahead_of(asked, self._job)


async def _ahead_of(asked: Asking, job: Job) -> int:
    """How many jobs of the same pool wait before this one."""
    waiting = (jobs.c.state == "queued") & (jobs.c.pool == job.pool)
    return int(await asked.rows.count(jobs, waiting & (jobs.c.number < job.number)))

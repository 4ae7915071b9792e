"""One run while it works: how far it is, what it learns, and what it can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from nicegui import ui
from sqlalchemy.engine import RowMapping

from gemma_keras_tune.errors import RecipeError
from gemma_keras_tune.recipe import Recipe

from ...api.run_rows import folder_of, given_recipe, run_row
from ...identity.access import Action
from ...identity.refusals import Forbidden, NotFound, not_found
from ...words import runs as words
from ..data.plain import file_name_of
from ..frame import page
from ..live_news import LiveNews
from ..run_tabs import run_tabs
from ..visit import Visit
from .controls import Controls
from .progress import Progress
from .tell_me import TellMe
from .views import Views

_ASK_AGAIN_S = 30.0  # how often it is looked up whether the reader may still see the run


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(app, "/runs/{run_id}", title=words.LIVE, needs=Action.VIEW_RUNS, wide=True)
    async def show(visit: Visit, run_id: str) -> None:
        row = await run_row(visit.asked(Action.VIEW_RUNS).rows, run_id)
        await _Page(visit, row).start()


class _Page:
    """The page's parts, which are changed in place."""

    def __init__(self, visit: Visit, row: RowMapping) -> None:
        self._visit, self._id, self._workspace = visit, row["id"], row["workspace_id"]
        self._folder = folder_of(visit.parts.settings.root, row["id"])
        self._shown: int | None = None  # which of the run's changes was the last one

    async def start(self) -> None:
        """Builds the page of all that was written so far, and keeps it new."""
        visit = self._visit
        live = self._live = visit.live.enter(self._folder)
        visit.client.on_delete(self._leave)
        await live.is_whole.wait()
        await live.look()
        row = live.standing.row
        if not self._is_ours(row):
            raise not_found("The run")
        self._chip = run_tabs(visit, row, at="")
        self._news = LiveNews()
        recipe = await self._recipe()
        data = None if recipe is None else recipe.data.model_dump()
        file_name = await file_name_of(visit, data or {})
        self._progress = Progress(visit, live, self._news, file_name)
        self._controls = Controls(visit, self._id, live)
        self._tell_me = TellMe(visit, row["user_id"])
        await self._tell_me.start()
        self._views = Views(visit, self._folder, live, self._news, recipe, file_name)
        self._show()
        self._news.drop()
        live.listen(self._hear)
        ui.timer(_ASK_AGAIN_S, self._ask_again)

    async def _recipe(self) -> Recipe | None:
        asked = self._visit.asked(Action.VIEW_RUNS)
        try:
            return await given_recipe(asked.rows, asked.root, self._id)
        except RecipeError:  # of another version; the page is there without it
            return None

    def _leave(self) -> None:
        self._live.forget(self._hear)
        self._visit.live.leave(self._live)

    def _is_ours(self, row: Mapping[str, Any]) -> bool:
        """Whether the run is still there, and where the reader was let in."""
        return row.get("workspace_id") == self._workspace

    def _hear(self) -> None:
        """Shows what is new, if anything is; leaves the page if the run is gone."""
        with self._visit.client:
            if not self._is_ours(self._live.standing.row):
                ui.navigate.to("/runs")
                return
            self._show()
            self._views.tick(self._live.state)
            self._news.flush()

    def _show(self) -> None:
        state, standing = self._live.state, self._live.standing
        if self._shown == self._live.changes:
            return
        self._shown = self._live.changes
        row, job, is_at_work = standing.row, standing.job, standing.is_at_work
        row_state = "paused" if state.is_paused and is_at_work else row["state"]
        self._chip.show(row_state)
        self._progress.show()
        self._controls.show(row["state"], job=job, is_at_work=is_at_work)
        self._tell_me.show(row_state)

    async def _ask_again(self) -> None:
        """Takes the page away from whoever may see it no more, and buttons from a lower role."""
        try:
            await self._visit.asked_now(Action.VIEW_RUNS)
        except (NotFound, Forbidden):
            ui.navigate.to("/runs")
            return
        self._shown = None
        self._hear()

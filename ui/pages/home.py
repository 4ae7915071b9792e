"""The first page: the next sensible step, what is at work, and the newest runs."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from nicegui import ui

from ..api.naming import Names, Shown
from ..api.recipes import RecipeGiven
from ..api.recipes_given import check_recipe
from ..api.submitting import Wanted, submit
from ..identity.access import Action
from ..overview import JobLine, Overview, RunLine
from ..words import common
from ..words import home as words
from .frame import page
from .next_step import NextStep, next_step
from .states import state_chip
from .tables import Cell, Column, Line, LinesTable, Link
from .visit import Visit
from .widgets import card, code, empty_state, heading, link_button, note, primary, secondary

_EVERY_S = 1.0
_EXAMPLE = "spam_classifier"


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(app, "/", title=words.TITLE, nav=common.HOME, icon="home", needs=Action.VIEW_RUNS)
    async def show(visit: Visit) -> None:
        await _Home(visit).start()


class _Home:
    """The page's parts, which are changed in place."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._key = secrets.token_hex(16)  # two clicks on the example make one run
        self._step: NextStep | None = None
        self._problems = note("", kind="bad").mark("problems")
        with card() as self._next:
            pass
        with card(words.JOBS):
            self._jobs = LinesTable(words.JOBS, [Column(name) for name in words.JOB_COLUMNS])
            self._no_jobs = ui.label(words.NO_JOBS).classes("gkt-soft")
            self._more_jobs = ui.label().classes("gkt-note")
        with card(words.RUNS):
            self._runs = LinesTable(words.RUNS, [Column(name) for name in words.RUN_COLUMNS])
            self._no_runs = self._empty()
            self._more_runs = ui.label().classes("gkt-note")

    async def start(self) -> None:
        """Shows what there is, and goes on doing so."""
        await self._look()
        ui.timer(_EVERY_S, self._look)

    def _empty(self) -> ui.column:
        root = shlex.quote(str(self._visit.parts.settings.root))
        with empty_state("model_training", words.NO_RUNS_TITLE, words.NO_RUNS) as empty:
            code(words.COMMAND.format(root=root))
        return empty

    async def _look(self) -> None:
        parts = self._visit.parts
        problems = dict.fromkeys([*await parts.health.problems(), *parts.supervisor.problems])
        self._show_problems("\n".join(problems))
        overview = await parts.overviews.of(self._visit.principal.workspace_id)
        self._show_next(next_step(overview))
        self._show_lists(overview)

    def _show_problems(self, problems: str) -> None:
        (label,) = [one for one in self._problems.descendants() if isinstance(one, ui.label)]
        if label.text != problems:
            label.text = problems
        self._problems.set_visibility(bool(problems))

    def _show_lists(self, overview: Overview) -> None:
        self._jobs.show([_job_line(self._visit, job) for job in overview.jobs])
        self._no_jobs.set_visibility(not overview.jobs)
        self._runs.show([_run_line(self._visit, run) for run in overview.runs])
        self._no_runs.set_visibility(not overview.runs)
        for label, count in (
            (self._more_jobs, overview.more_jobs),
            (self._more_runs, overview.more_runs),
        ):
            text = words.OLDER.format(count=self._visit.reader.number(count)) if count else ""
            if label.text != text:
                label.text = text
            label.set_visibility(bool(text))

    def _show_next(self, step: NextStep) -> None:
        if step == self._step:
            return
        self._step = step
        self._next.clear()
        with self._next:
            with ui.row().classes("items-center gap-3 no-wrap"):
                ui.icon(step.icon, size="2rem").classes("text-primary").props("aria-hidden=true")
                heading(step.title, level=2)
            ui.label(step.text).classes("gkt-soft max-w-prose")
            with ui.row().classes("gap-2"):
                self._buttons(step)

    def _buttons(self, step: NextStep) -> None:
        for place, (name, href) in enumerate(step.links):
            button = link_button(name, href)
            if place > 0:
                button.props("outline")
        if step.is_start:
            if self._visit.may(Action.SUBMIT_TRAIN):
                primary(words.EXAMPLE, self._visit.tells(self._run_example)).mark("example")
                link_button(words.OWN_DATA, "/data").props("outline")
            secondary(words.TOUR, show_tour).mark("tour")

    async def _run_example(self) -> None:
        asked = self._visit.asked(Action.SUBMIT_TRAIN)
        settings = RecipeGiven(recipe_name=_EXAMPLE).settings(Shown(asked.root))
        recipe = (await check_recipe(settings, Names(asked.rows, asked.root))).real
        wanted = Wanted(kind="train", run=None, args={}, recipe=recipe, key=self._key)
        job, _ = await submit(asked, wanted)
        ui.notify(words.EXAMPLE_STARTED, type="positive")
        ui.navigate.to(f"/runs/{job.run_id}")


def _job_line(visit: Visit, job: JobLine) -> Line:
    kind = words.KINDS.get(job.kind, job.kind)
    name = job.run_name or ""
    run: Cell = Link(name, f"/runs/{job.run_id}") if job.run_id else name
    cells = (kind, run, state_chip(job.state, job.code), visit.reader.time(job.created_at))
    return Line(f"{job.kind} {job.run_id} {job.created_at.isoformat()}", cells)


def _run_line(visit: Visit, run: RunLine) -> Line:
    number = visit.reader.number
    steps = number(run.step)
    if run.total_steps:
        steps = words.STEPS_OF.format(step=steps, total=number(run.total_steps))
    loss = "" if run.loss is None else number(run.loss, digits=4)
    changed = visit.reader.time(run.changed_at)
    cells = (Link(run.name, f"/runs/{run.id}"), state_chip(run.state), steps, loss, changed)
    return Line(run.id, cells)


def show_tour() -> None:
    """A walk through the pages, in a few words each."""
    steps: Sequence[tuple[str, str, str]] = words.TOUR_STEPS
    dialog = ui.dialog().props(f'aria-label="{words.TOUR_TITLE}"')
    with dialog, ui.card().classes("gkt-dialog"):
        icon = ui.icon("", size="2.5rem").classes("text-primary").props("aria-hidden=true")
        title = heading("", level=2).props("aria-live=polite")
        text = ui.label().classes("gkt-soft")
        with ui.row().classes("w-full items-center gap-2"):
            place = ui.label().classes("gkt-note")
            ui.space()
            skip = (
                ui.button(words.TOUR_SKIP, on_click=dialog.close).mark("skip").props("flat no-caps")
            )
            back = ui.button(words.TOUR_BACK).props("flat no-caps")
            onward = primary(words.TOUR_NEXT)
    _walk(steps, (icon, title, text, place), skip=skip, back=back, onward=onward)
    dialog.on("hide", dialog.delete)
    dialog.open()


def _walk(
    steps: Sequence[tuple[str, str, str]],
    shown: tuple[ui.icon, ui.label, ui.label, ui.label],
    *,
    skip: ui.button,
    back: ui.button,
    onward: ui.button,
) -> None:
    """Lets the buttons go through the steps; behind the last one the first page of them opens."""
    icon, title, text, place = shown
    at = 0

    def show() -> None:
        icon.name, title.text, text.text = steps[at]
        place.text = words.TOUR_PLACE.format(place=at + 1, total=len(steps))
        is_last = at == len(steps) - 1
        back.set_visibility(at > 0)
        skip.text = common.CLOSE if is_last else words.TOUR_SKIP
        onward.text = words.TOUR_END if is_last else words.TOUR_NEXT

    def go(by: int) -> Callable[[], Any]:
        def do() -> None:
            nonlocal at
            if at + by == len(steps):
                ui.navigate.to("/data")
                return
            at += by
            show()

        return do

    back.on_click(go(-1))
    onward.on_click(go(1))
    show()

"""The plan beside the form: what the run will take of memory and time, and what would help."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from nicegui import Client, background_tasks, ui

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.recipe import Recipe
from gemma_keras_tune.recipe_files import parse_assignments

from ...api.jobs import find, result_of
from ...api.submitting import Wanted, submit
from ...identity.access import Action
from ...words import configure as words
from ...words import data as data_words
from ..data.plain import file_name_of, plain
from ..data.remedies import is_about_data, label_remedies, remedies_of, show_remedies
from ..visit import Visit
from ..widgets import Figure, card, note, secondary
from . import fetched
from .fields import label_of

_WAIT_S = 0.7  # after the last change
_LOOK_S = 0.2
_PATIENCE_S = 30.0  # with which a start waits for the plan; the run itself looks again
_FEW_ROWS = 100
_VERY_FEW, _ENOUGH = 10, 20  # steps
_TERMS_SHOWN = 5
_SHADES = (100, 75, 55, 40, 28, 18)


@dataclass(frozen=True)
class _Refused:
    """Why there is no plan."""

    why: str
    code: str = ""
    file_name: str = ""


class PlanView:
    """The plan, worked out anew after each change; only the newest answer is shown.

    Args:
        visit: The open page.
        apply: Called with settings that somebody takes over, by dotted key.
        repair: Called with settings of the data that mend it.
        short: Says it in a line, where the plan itself is out of sight.
        take_more: Called with those that give it more steps.
        raises: Called with each new plan; whether it has given it more steps itself, so that a
            plan with those comes next.
        is_raised: Whether it has more steps already than usual.

    Attributes:
        plan: The plan of the newest settings; None where there is none, or none yet.
        can_start: False while the newest answer says that a run would refuse the data.
        on_plan: Called after each answer.
    """

    def __init__(
        self,
        visit: Visit,
        apply: Callable[[dict[str, Any]], Any],
        *,
        repair: Callable[[dict[str, Any]], Any],
        short: ui.label,
        take_more: Callable[[dict[str, Any]], Any],
        raises: Callable[[Mapping[str, Any]], bool],
        is_raised: Callable[[], bool],
    ) -> None:
        self._visit, self._apply, self._take_more = visit, apply, take_more
        self._repair, self._short = repair, short
        self._raises, self._is_raised = raises, is_raised
        self._number = 0
        self._recipe: Recipe | None = None
        self._settled = asyncio.Event()
        self._shows_details = self._has_key = False
        self._verdict_place: ui.column | None = None
        self.plan: Mapping[str, Any] | None = None
        self.can_start = True
        self.on_plan: Callable[[], Any] = lambda: None
        with card(words.PLAN, term="plan"):
            with ui.row().classes("items-center gap-2").props("role=status") as self._busy:
                ui.spinner(size="1.25rem").props("aria-hidden=true")
                ui.label(words.PLANNING).classes("gkt-soft")
            self._said = ui.label().classes("gkt-soft gkt-multiline")
            self._place = ui.column().classes("w-full gap-4")
        self.nothing(words.PLAN_NO_DATA)

    def nothing(self, text: str) -> None:
        """Shows that there is nothing to plan, and why."""
        self._number += 1
        self._recipe, self.plan, self.can_start = None, None, True
        self._settled.set()
        self._clear()
        self._said.text = self._short.text = text
        self._said.set_visibility(True)

    def ask(self, recipe: Recipe, *, compile: bool = False) -> None:
        """Works the plan of this recipe out, after a moment in which nothing else is asked.

        The figures of the last one stand until then; what it said of them doesn't.
        """
        self._number += 1
        self._recipe, self.plan = recipe, None
        self._settled.clear()
        self._short.text = words.PLANNING
        self._busy.set_visibility(True)
        self._said.set_visibility(False)
        if self._verdict_place is not None:
            self._verdict_place.set_visibility(False)
        background_tasks.create(self._work(self._number, recipe, compile), name="plan")

    async def settled(self) -> None:
        """Waits until the newest plan is there, but not for ever: the run looks at it again."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), _PATIENCE_S)

    async def _work(self, number: int, recipe: Recipe, compile: bool) -> None:
        await asyncio.sleep(0 if compile else _WAIT_S)
        if number != self._number:
            return
        try:
            found: Mapping[str, Any] | _Refused = await self._answer(recipe, compile)
            self._has_key = await fetched.has_key(self._visit, recipe.model.preset)
        except TuneError as error:
            found = _Refused(self._visit.text_of(error), error.code)
        if number != self._number or self._visit.client.id not in Client.instances:
            return
        if not isinstance(found, _Refused) and self._raises(found):
            return  # figures that change at once would only be in the way
        with self._place:
            self._show(found)
        self._settled.set()

    async def _answer(self, recipe: Recipe, compile: bool) -> Mapping[str, Any] | _Refused:
        asked = await self._visit.asked_now(Action.SUBMIT_PLAN)
        wanted = Wanted(kind="plan", run=None, args={"compile": compile}, recipe=recipe)
        job, _ = await submit(asked, wanted)
        while not job.has_ended:
            await asyncio.sleep(_LOOK_S)
            job = await find(asked, job.id)
        result = await result_of(asked, job)
        if result is None:
            return _Refused(words.PLAN_FIX)
        if result.status == "done":
            return result.value
        file_name = await file_name_of(self._visit, recipe.data.model_dump())
        return _Refused(result.message, result.code, file_name)

    def _clear(self) -> None:
        self._busy.set_visibility(False)
        self._place.clear()
        self._verdict_place = None

    def _show(self, found: Mapping[str, Any] | _Refused) -> None:
        self._clear()
        if isinstance(found, _Refused):
            self.plan = None
            self._refusal(found)
        else:
            self.plan, self.can_start = found, True
            with ui.column().classes("w-full gap-4") as self._verdict_place:
                if fetch := found["fetch"]:
                    self._fetch(size_bytes=fetch["size_bytes"], has_key=fetch["has_key"])
                self._verdict(found)
                self._labels(found)
                self._few_steps(found)
            self._short.text = self._in_short(found)
            self._figures(found)
            self._memory(found)
            self._exactness(found)
        self.on_plan()

    def _in_short(self, plan: Mapping[str, Any]) -> str:
        reader, steps = self._visit.reader, plan.get("steps")
        told = {}
        if steps:
            told[words.PLAN_STEPS] = reader.number(steps["total"])
        if plan.get("step_time"):
            told[words.PLAN_TIME] = reader.duration(plan.get("training_seconds"))
        rest = [words.PLAN_SHORT.format(name=name, value=value) for name, value in told.items()]
        fits = words.PLAN_FITS[plan["verdict"]["status"]]
        return f"{fits} {words.BETWEEN.join(rest)}".strip()

    def _refusal(self, refused: _Refused) -> None:
        self.can_start = not is_about_data(refused.code)
        if refused.code == "PLAN_MODEL_NOT_HERE":
            self._fetch(size_bytes=None, has_key=False)
            self._short.text = words.FETCH_UNPLANNED
            return
        self._short.text = refused.why if self.can_start else words.REFUSED
        if self.can_start:
            self._said.text = refused.why
            self._said.set_visibility(True)
            return
        told = plain(refused.why, file_name=refused.file_name)
        note(f"{words.REFUSED}\n{told.text}", kind="bad").mark("refused")
        codes = told.codes or (refused.code,)
        ui.label(data_words.CODES.format(codes=", ".join(codes))).classes("gkt-note")
        with ui.row().classes("gap-2"):
            show_remedies(remedies_of(*codes), self._repair)

    def _fetch(self, *, size_bytes: int | None, has_key: bool) -> None:
        """That the model must be fetched first."""
        if self._recipe is not None:
            fetched.show(
                self._visit,
                self._recipe.model.preset,
                size_bytes=size_bytes,
                has_key=has_key or self._has_key,
                take=lambda name: self._apply({"model.preset": name}),
            )

    def _verdict(self, plan: Mapping[str, Any]) -> None:
        verdict, found = plan["verdict"], plan.get("suggestion")
        kind = {"fits": "good", "tight": "warning", "too_big": "bad"}[verdict["status"]]
        note(f"{words.PLAN_FITS[verdict['status']]} {verdict['words']}", kind=kind).mark("verdict")
        changes = {one["set"]: one["peak_bytes"] for one in verdict["changes"]}
        if found and verdict["status"] != "fits":
            changes.setdefault(found["set"], found["peak_bytes"])
        if changes:
            ui.label(words.PLAN_CHANGES).classes("gkt-soft")
        with ui.row().classes("gap-2"):
            for settings, size in changes.items():
                title = words.PLAN_TAKES.format(
                    change=_in_words(settings), size=self._visit.reader.size(size)
                )
                self._take(title, settings, self._apply).mark("change")

    def _labels(self, plan: Mapping[str, Any]) -> None:
        """Labels that may be one, and buttons that let them count as one."""
        for finding in plan["findings"]:
            if remedies := label_remedies(finding):
                text = words.LABELS_APART.format(what=finding["what"])
                note(text, kind="warning").mark("labels")
                with ui.row().classes("gap-2"):
                    show_remedies(remedies, self._repair)

    def _few_steps(self, plan: Mapping[str, Any]) -> None:
        """That there are too few steps to learn from, and a button for more."""
        few, steps, reader = plan.get("few_steps"), plan.get("steps"), self._visit.reader
        if not few or not steps:
            return
        total, rows = steps["total"], steps["rows"]
        told = words.PLAN_FEW if total < _VERY_FEW else words.PLAN_RATHER_FEW
        if total >= _ENOUGH:
            told = words.PLAN_MAY_MORE
        text = words.PLAN_FEW_ONE if total == 1 else told.format(steps=reader.number(total))
        if rows < _FEW_ROWS:
            text = f"{text} {words.PLAN_FEW_ROWS.format(rows=reader.number(rows))}"
        note(text, kind="info" if total >= _ENOUGH else "warning").mark("few-steps")
        if few["set"]:
            title = words.PLAN_MORE_STEPS.format(steps=reader.number(few["steps"]))
            self._take(title, few["set"], self._take_more).mark("more-steps")

    def _figures(self, plan: Mapping[str, Any]) -> None:
        reader = self._visit.reader
        with ui.element("div").classes("gkt-figures"):
            steps = plan.get("steps")
            if steps:
                why = words.PLAN_STEPS_RAISED if self._is_raised() else ""
                Figure(words.PLAN_STEPS, reader.number(steps["total"]), why, term="step")
            time = plan.get("step_time")
            if time:
                each = words.PLAN_STEP_TIME.format(
                    time=reader.duration(time["seconds"]), source=words.PLAN_SOURCES[time["source"]]
                )
                Figure(words.PLAN_TIME, reader.duration(plan.get("training_seconds")), each)
            measuring = plan.get("measuring_seconds")
            if measuring:
                took = reader.duration(measuring)
                Figure(words.PLAN_MEASURING, took, words.PLAN_MEASURING_NOTE, term="held_back")

    def _memory(self, plan: Mapping[str, Any]) -> None:
        """A bar of the highest stage, a shade for each of its largest terms; their names below.

        What a process beside the run takes counts too, as it does for whether the run fits.
        """
        reader = self._visit.reader
        memory = plan["memories"][-1]
        stages = [[*stage["terms"], *stage["beside"]] for stage in memory["stages"]]
        highest = max(stages, key=lambda stage: sum(term["bytes"] for term in stage))
        terms = sorted((t for t in highest if t["bytes"] > 0), key=lambda t: -t["bytes"])
        first, rest = terms[:_TERMS_SHOWN], sum(t["bytes"] for t in terms[_TERMS_SHOWN:])
        shown = [(term["words"], term["bytes"]) for term in first] + [(words.PLAN_REST, rest)]
        whole = max(memory["free_bytes"] or 0, sum(size for _, size in shown))
        used, free = reader.size(memory["needed_bytes"]), reader.size(memory["free_bytes"])
        ui.label(words.PLAN_MEMORY).classes("gkt-label")
        said = words.PLAN_OF.format(used=used, free=free)
        with ui.element("div").classes("gkt-bar").props(f'role=img aria-label="{said}"'):
            for (_, size), shade in zip(shown, _SHADES, strict=True):
                part = ui.element("div").style(f"width: {100 * size / whole:.2f}%")
                part.style(_shade(shade))
        ui.label(said).classes("gkt-note")
        opened = ui.expansion(words.PLAN_DETAILS, value=self._shows_details)
        opened.classes("w-full gkt-expansion").on_value_change(self._keep_details)
        with opened, ui.element("ol").classes("gkt-terms"):
            for (name, size), shade in zip(shown, _SHADES, strict=True):
                with ui.element("li"):
                    dot = ui.element("span").classes("gkt-dot").props("aria-hidden=true")
                    dot.style(_shade(shade))
                    ui.label(name).classes("flex-1")
                    ui.label(reader.size(size)).classes("gkt-note")

    def _keep_details(self, event: Any) -> None:
        self._shows_details = event.value

    def _exactness(self, plan: Mapping[str, Any]) -> None:
        """How the memory was found, how right earlier plans were, and the more exact way."""
        compiler = plan.get("compiler")
        if compiler:
            ui.label(words.PLAN_CHECKED.format(device=compiler["device"])).classes("gkt-note")
        else:
            ui.label(words.PLAN_FORMULA).classes("gkt-note")
            secondary(words.PLAN_CHECK, self._visit.tells(self._compile)).mark("compile")
        past = plan.get("past") or {}
        if past.get("count") and past.get("median_error") is not None:
            error = self._visit.reader.percent(past["median_error"])
            told = words.PLAN_PAST_ONE if past["count"] == 1 else words.PLAN_PAST
            ui.label(told.format(count=past["count"], error=error)).classes("gkt-note")

    def _take(self, title: str, settings: str, do: Callable[[dict[str, Any]], Any]) -> ui.button:
        """A button that takes over what the plan offers, such as `a.b=1 c.d=2`."""
        changes = parse_assignments(settings.split())
        return secondary(title, lambda: do(changes))

    def _compile(self) -> None:
        if self._recipe is not None:
            self.ask(self._recipe, compile=True)


def _in_words(settings: str) -> str:
    """Settings that a plan offers, by the names of their fields."""
    return ", ".join(
        words.PLAN_CHANGE.format(setting=label_of(key), value=value or words.NO_VALUE)
        for key, value in parse_assignments(settings.split()).items()
    )


def _shade(percent: int) -> str:
    return f"background: color-mix(in srgb, var(--gkt-accent) {percent}%, transparent)"

"""The page on which a run is set up: data, model, settings, the plan, and the start."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from nicegui import Client, background_tasks, ui

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.recipe_files import parse_recipe

from ...api.datasets import list_datasets
from ...api.naming import Names, Shown, shipped_data
from ...api.recipes_given import Given, from_toml, shipped, with_changes
from ...api.run_rows import free_name, given_recipe, run_row
from ...api.submitting import Wanted, submit
from ...identity.access import Action
from ...store.workspace import WorkspaceStore
from ...words import common
from ...words import configure as words
from ...words import data as data_words
from ..data.remedies import with_remedy
from ..data.source import dataset_source, keep, shipped_settings
from ..frame import page
from ..visit import Visit
from ..widgets import card, code, confirm, link_button, note, primary, secondary
from .draft import Draft, Drafts, Kept, is_name
from .fields import Fields, keys_of
from .models import Models
from .names import name_for
from .picture import Picture
from .plan_view import PlanView
from .presets import Presets, raised_in_words

_FIRST = ("data.max_length", "train.epochs", "train.learning_rate", "model.lora.rank")


def register(app: FastAPI) -> None:
    """Adds the page."""
    app.state.drafts = Drafts()

    @page(
        app,
        "/configure",
        title=words.TITLE,
        nav=common.CONFIGURE,
        icon="tune",
        needs=Action.SUBMIT_TRAIN,
        wide=True,
    )
    async def show(
        visit: Visit, data: str = "", recipe: str = "", run: str = "", further: str = ""
    ) -> None:
        kept = None if recipe or run else visit.app.state.drafts.get(_key(visit))
        begun = kept or await _begun(visit, recipe=recipe, run=run, further=bool(further))
        if data and not recipe and not run:
            draft = Draft(begun, lambda: None)
            draft.choose_data(data, await _said_of(visit, data))
            begun = draft.kept
        await _Page(visit, begun).start(is_kept=kept is not None)


async def _begun(visit: Visit, *, recipe: str, run: str, further: bool) -> Kept:
    """What to begin with: a run's or a shipped recipe, or nothing yet."""
    asked = visit.asked(Action.SUBMIT_TRAIN)
    shown = Shown(asked.root)
    if recipe:
        return Kept(_plain(json.loads(shipped(recipe, shown).to_json())))
    if run:
        await run_row(asked.rows, run)
        found = await given_recipe(asked.rows, asked.root, run)
        settings = _plain(shown.value(json.loads(found.to_json())))
        settings["name"] = await free_name(asked.rows, found.name)
        return Kept(with_changes(settings, {"model.adapter": f"run:{run}"} if further else {}))
    return Kept({}, may_raise=True)


def _plain(recipe: dict[str, Any]) -> dict[str, Any]:
    """A whole recipe with only what differs from the defaults."""
    return from_toml(parse_recipe(recipe, where="recipe").to_toml())


async def _said_of(visit: Visit, name: str) -> dict[str, Any]:
    """What was said about some data: its task, columns and split."""
    kind, _, rest = name.partition(":")
    if kind == "shipped":
        return dict(shipped_settings(rest) or {})
    listed = await list_datasets(visit.asked(Action.VIEW_DATA), limit=500)
    found = next((one for one in listed.items if one.id == rest), None)
    return dict((found.settings if found is not None else None) or {})


def _key(visit: Visit) -> tuple[str, str]:
    return visit.principal.user_id, visit.principal.workspace_id


class _Page:
    """The page's parts."""

    def __init__(self, visit: Visit, begun: Kept) -> None:
        self._visit = visit
        self._draft = Draft(begun, self._changed)
        self._key = secrets.token_hex(16)  # two clicks make one run
        self._layers: int | None = None
        self._given: Given | None = None
        self._checks = 0
        self._keeping = asyncio.Lock()  # one remedy after the other
        self._flaws: dict[str, str] = {}

    async def start(self, *, is_kept: bool) -> None:
        """Builds the page, and works the first plan out; `is_kept` if it is what was left here."""
        ui.label(words.LEAD).classes("gkt-soft")
        if is_kept:
            with note(words.LAST).classes("gkt-asks").mark("last"):
                secondary(words.RESET, self._reset, icon="restart_alt").mark("reset")
        self._sources = sources = await self._named_sources()
        self._fields = Fields(self._draft)
        with ui.element("div").classes("gkt-two"):
            with ui.column().classes("w-full gap-6 min-w-0"):
                self._data(sources)
                with card(words.MODEL, term="base_model"):
                    for text in (words.MODEL_TEXT, words.MODEL_LABELS, words.MODEL_ANSWERS):
                        ui.label(text).classes("gkt-soft")
                    self._models = Models(
                        self._visit, self._draft.get("model.preset"),
                        lambda name: self._draft.set("model.preset", name),
                    )  # fmt: skip
                self._presets = Presets(self._draft)
                self._settings_card()
                self._as_file()
            with ui.column().classes("w-full gap-6 min-w-0 gkt-sticky"):
                self._start_part()
                self._plan = PlanView(
                    self._visit, self._draft.update, repair=self._visit.tells(self._repair),
                    short=self._short, take_more=self._take_more,
                    raises=lambda plan: self._presets.take_more(plan["few_steps"]),
                    is_raised=lambda: bool(self._draft.raised),
                )  # fmt: skip
                self._plan.on_plan = self._planned
                with card(words.PICTURE, term="lora"):
                    ui.label(words.PICTURE_TEXT).classes("gkt-soft")
                    self._picture = Picture()
        await self._check()

    async def _named_sources(self) -> dict[str, str]:
        listed = await list_datasets(self._visit.asked(Action.VIEW_DATA), limit=500)
        found = {f"dataset:{one.id}": one.name for one in listed.items}
        return found | {f"shipped:{n}": words.SHIPPED.format(name=n) for n in shipped_data()}

    def _data(self, sources: dict[str, str]) -> None:
        path = self._draft.get("data.path")
        with card(words.DATA, term="training_rows"):
            if not any(name.startswith("dataset:") for name in sources):
                ui.label(words.DATA_EMPTY).classes("gkt-soft")
            chosen = path if path in sources else None
            self._data_field = select = ui.select(
                sources, label=words.DATA_FIELD, value=chosen, with_input=True
            )
            select.props("outlined").classes("w-full").mark("data")
            select.on_value_change(self._visit.tells(lambda event: self._choose(event.value)))
            self._task = ui.label().classes("gkt-soft gkt-multiline")
            self._look = link_button(words.DATA_LOOK, "/data").props("outline")
        self._show_data()

    def _show_data(self) -> None:
        settings = self._draft.settings.get("data") or {}
        path, task = settings.get("path"), settings.get("task")
        self._data_field.value = path if path in self._sources else None
        lines = []
        if path and task:
            lines.append(f"{words.TASK}: {words.TASKS.get(task, task)}")
            columns = settings.get("columns") or {}
            for part, column in columns.items():
                title = data_words.PARTS.get(part, part)
                lines.append(words.COLUMN.format(part=title, column=column))
        elif path:
            lines.append(words.NO_MAPPING)
        self._task.text = "\n".join(lines)
        kind, _, rest = (path or "").partition(":")
        target = f"/data/shipped/{rest}" if kind == "shipped" else f"/data/{rest}"
        self._look.props(f'href="{target if rest else "/data"}"')

    async def _choose(self, name: str | None) -> None:
        if name and name != self._draft.get("data.path"):
            self._draft.choose_data(name, await _said_of(self._visit, name))

    async def _propose_name(self, rows: WorkspaceStore) -> None:
        """Names the run after its data and model, as long as nobody does."""
        if not self._draft.has_own_name:
            path = self._draft.get("data.path") or ""
            kind, _, file = path.partition(":")
            data = file.partition(".")[0] if kind == "shipped" else self._sources.get(path, "")
            wanted = name_for(data, self._draft.get("model.preset"))
            self._draft.propose_name(await free_name(rows, wanted))

    def _settings_card(self) -> None:
        with card(words.SETTINGS, term="recipe"):
            with ui.element("div").classes("gkt-halves"):
                self._fields.add("name", label=words.NAME_FIELD)
                for key in _FIRST:
                    self._fields.add(key)
            for section, title in words.MORE.items():
                with ui.expansion(title).classes("w-full"):
                    with ui.element("div").classes("gkt-halves"):
                        for key in keys_of(section, without=_FIRST):
                            self._fields.add(key)
            ui.label(words.EXPORTS).classes("gkt-label")
            self._exports = {
                name: ui.checkbox(text, on_change=self._export_changed).mark(f"export-{name}")
                for name, text in words.EXPORT_NAMES.items()
            }
            self._show_exports()

    def _show_exports(self) -> None:
        chosen = {one["format"] for one in self._draft.settings.get("export") or ()}
        for name, box in self._exports.items():
            if box.value != (name in chosen):
                box.value = name in chosen

    def _export_changed(self) -> None:
        old = {one["format"]: one for one in self._draft.settings.get("export") or ()}
        wanted = [name for name, box in self._exports.items() if box.value]
        if wanted != list(old):
            self._draft.set("export", [old.get(name, {"format": name}) for name in wanted])

    def _as_file(self) -> None:
        with card(words.TOML, term="recipe"):
            ui.label(words.TOML_TEXT).classes("gkt-soft")
            self._toml = ui.textarea().props(
                f'outlined autogrow input-class=gkt-mono aria-label="{words.TOML}"'
            )
            self._toml.classes("w-full").mark("toml")
            secondary(words.TOML_APPLY, self._visit.tells(self._take_toml)).mark("take-toml")
            ui.label(words.COMMAND_TEXT).classes("gkt-soft")
            code(words.COMMAND)

    def _take_toml(self) -> None:
        """Takes a recipe; one of another machine names files that aren't here: its data stay."""
        settings, chosen = from_toml(self._toml.value or ""), self._draft.get("data.path")
        data, told = settings.get("data"), words.TOML_APPLIED
        if isinstance(data, dict) and not is_name(data.get("path")):
            data.pop("path", None)
            if is_name(chosen):
                data["path"] = chosen
            told = words.TOML_DATA_STAYS if is_name(chosen) else words.TOML_CHOOSE_DATA
        self._draft.replace(settings)
        ui.notify(told)

    def _start_part(self) -> None:
        self._wrong = note("", kind="bad").mark("wrong")
        with ui.element("div").classes("gkt-start"):
            self._short = ui.label().classes("gkt-note gkt-start-plan").mark("plan-short")
            self._start = primary(words.START, self._visit.tells(self._begin), icon="play_arrow")
            self._start.classes("w-full").props("size=lg").mark("start")

    def _reset(self) -> None:
        """Begins anew with the same data."""
        self._visit.app.state.drafts.forget(_key(self._visit))
        ui.navigate.to(f"/configure?data={quote(self._draft.get('data.path') or '')}")

    async def _repair(self, settings: dict[str, Any]) -> None:
        """Mends the data for this run and, where that is allowed, for those to come."""
        self._draft.repair(settings)
        kind, _, rest = str(self._draft.get("data.path")).partition(":")
        if kind != "dataset" or not self._visit.may(Action.CHANGE_DATA):
            return
        async with self._keeping:
            source = await dataset_source(self._visit, rest)
            if source.settings is not None:
                await keep(self._visit, source, with_remedy(source.settings, settings))
                ui.notify(words.KEPT_WITH_DATA)

    def _take_more(self, changes: dict[str, Any]) -> None:
        self._draft.take_more(changes)
        ui.notify(words.RAISED_NOW.format(changes=raised_in_words(self._draft.raised)))

    def _planned(self) -> None:
        plan = self._plan.plan
        if plan is not None:
            self._layers = plan["model"].get("layers")
            if plan["steps"] is not None:
                self._presets.tell_steps(self._visit.reader.number(plan["steps"]["total"]))
        self._allow_start()
        self._picture.show(self._draft.get("model.lora.targets"), self._layers)

    def _changed(self) -> None:
        """Keeps what somebody changed, and checks it."""
        self._visit.app.state.drafts.keep(_key(self._visit), self._draft.kept)
        self._fields.fill()  # at once, lest it overwrites what is typed while the check goes on
        self._presets.show()
        background_tasks.create(self._check(), name="check the recipe")

    async def _check(self) -> None:
        """Shows what is wrong and where, or plans the run; an answer that came too late is dropped.

        Each change starts a check, and a busy server may end them in another order.
        """
        self._checks += 1
        number = self._checks
        asked = await self._visit.asked_now(Action.SUBMIT_TRAIN)
        await self._propose_name(asked.rows)
        given, flaws = await self._draft.checked(Names(asked.rows, asked.root))
        if number != self._checks or self._visit.client.id not in Client.instances:
            return  # something was changed, or the page was closed, meanwhile
        has_data = bool(self._draft.get("data.path"))
        if not has_data:
            flaws = {key: text for key, text in flaws.items() if not key.startswith("data")}
        is_new = given is not None and (self._given is None or given.real != self._given.real)
        self._given, self._flaws = given, flaws
        self._show(has_data=has_data)
        if given is None:
            self._plan.nothing(words.PLAN_FIX if has_data else words.PLAN_NO_DATA)
        elif is_new:
            self._plan.ask(given.real)

    def _show(self, *, has_data: bool) -> None:
        """Puts everywhere in what the draft says now."""
        self._fields.fill()
        self._fields.tell(self._flaws)  # which may stand in a part that is closed
        wrong = [f"{key}: {text}" if key else text for key, text in self._flaws.items()]
        label = next(one for one in self._wrong.descendants() if isinstance(one, ui.label))
        label.text = self._visit.without_paths("\n".join([words.PROBLEMS, *wrong]))
        self._wrong.set_visibility(bool(wrong))
        self._allow_start()
        self._models.show(self._draft.get("model.preset"))
        self._picture.show(self._draft.get("model.lora.targets"), self._layers)
        self._show_exports()
        with self._visit.client:
            self._show_data()
        if self._given is not None:
            self._toml.value = self._given.shown.to_toml()

    def _allow_start(self) -> None:
        has_data = bool(self._draft.get("data.path"))
        self._start.set_enabled(self._given is not None and has_data and self._plan.can_start)

    async def _settled(self) -> None:
        """Waits until all is checked and planned, with the steps that the plan may have raised."""
        self._start.props("loading")
        try:
            await self._check()
            await self._plan.settled()
        finally:
            self._start.props(remove="loading")

    async def _begin(self) -> None:
        asked = self._visit.asked(Action.SUBMIT_TRAIN)
        await self._settled()
        if self._given is None:
            raise TuneError(words.PLAN_FIX, code="RECIPE_INVALID")
        if not self._plan.can_start:
            return  # the plan says why
        args: dict[str, Any] = {}
        plan = self._plan.plan
        if plan is not None and plan["verdict"]["status"] == "too_big":
            text = f"{words.TOO_BIG_TEXT}\n{plan['verdict']['words']}"
            if not await confirm(words.TOO_BIG_TITLE, text, yes=words.START_ANYWAY, destroys=True):
                return
            args["ignore_plan"] = True
        wanted = Wanted(kind="train", run=None, args=args, recipe=self._given.real, key=self._key)
        job, _ = await submit(asked, wanted)
        self._visit.app.state.drafts.forget(_key(self._visit))
        ui.notify(words.STARTED, type="positive")
        ui.navigate.to(f"/runs/{job.run_id}")

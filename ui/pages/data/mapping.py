"""What the columns of a file are: the task, and which column plays which part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from gemma_keras_tune.recipe import TASK_COLUMNS

from ...words import data as words
from ..widgets import explain, heading, note, secondary
from .looked import Looked, needed

_NONE = -1


def show(looked: Looked, *, is_guess: bool, guess: Mapping[str, Any] | None) -> None:
    """The form; what is chosen is kept as soon as it is whole.

    Args:
        looked: What it is about.
        is_guess: Whether the names of the columns told what is chosen.
        guess: What a data job guessed; it is chosen at first where nothing was said yet.
    """
    _Form(looked, is_guess=is_guess, guess=guess).show()


class _Form:
    def __init__(self, looked: Looked, *, is_guess: bool, guess: Mapping[str, Any] | None) -> None:
        self._looked, self._is_guess = looked, is_guess
        settings = looked.settings or _settings_of(guess)
        self._is_offer = looked.settings is None and bool(settings)
        self._task: str | None = settings.get("task")
        self._columns: dict[str, str] = columns_by_part(settings, looked.columns)

    def show(self) -> None:
        """Puts the form onto the page."""
        looked = self._looked
        with ui.row().classes("items-center gap-1 no-wrap"):
            heading(words.MAPPING, level=2)
            explain("task")
        self._said = ui.label(self._remark()).classes("gkt-soft")
        self._offer = self._show_offer()
        with ui.element("div").classes("gkt-fields"):
            task = ui.select(dict(words.TASKS), value=self._task, label=words.TASK)
            task.on_value_change(looked.visit.tells(self._choose_task))
            _style(task, looked).mark("task")
            self._parts = ui.element("div").classes("contents")
        self._missing = ui.label(words.CHOOSE_ALL).classes("gkt-note")
        self._show_parts()

    def _remark(self) -> str:
        looked = self._looked
        if looked.settings is None:
            return words.NOT_GUESSED
        if not looked.may_change:
            return words.NOT_SAVED_VIEWER
        if looked.source.dataset_id is None:
            return words.NOT_SAVED_EXAMPLE
        return words.GUESSED if self._is_guess else words.MAPPING_LEAD

    def _show_offer(self) -> ui.row:
        """What a guess by contents stands on, and a button that says it is right."""
        with note(words.GUESSED_BY_CONTENTS).classes("gkt-asks") as row:
            button = secondary(words.GUESS_IS_RIGHT, self._looked.visit.tells(self._keep))
            button.props("dense padding='4px 12px'").mark("right").set_visibility(
                self._looked.may_change and self._is_whole()
            )
        row.set_visibility(self._is_offer)
        return row.mark("offer")

    def _show_parts(self) -> None:
        """A choice for each part; columns are told by their numbers, their names are only shown."""
        self._parts.clear()
        names = self._looked.columns
        with self._parts:
            for part in TASK_COLUMNS.get(self._task or "", ()):
                options = dict(enumerate(names))
                if part not in needed(self._task or ""):
                    options = {_NONE: words.NO_COLUMN, **options}
                chosen = self._columns.get(part)
                value = names.index(chosen) if chosen in names else _NONE
                select = ui.select(
                    options, value=value if value in options else None, label=words.PARTS[part]
                )
                select.on_value_change(
                    self._looked.visit.tells(
                        lambda event, part=part: self._choose(part, event.value)
                    )
                )
                _style(select, self._looked).mark(f"part-{part}")
        self._missing.set_visibility(bool(self._task) and not self._is_whole())

    async def _choose_task(self, event: Any) -> None:
        self._task = event.value
        self._columns = {
            part: column
            for part, column in self._columns.items()
            if part in TASK_COLUMNS[event.value]
        }
        self._show_parts()
        await self._keep()

    async def _choose(self, part: str, number: int | None) -> None:
        if number is None or number == _NONE:
            self._columns.pop(part, None)
        else:
            self._columns[part] = self._looked.columns[number]
        self._missing.set_visibility(not self._is_whole())
        await self._keep()

    async def _keep(self) -> None:
        if self._task and self._is_whole():
            changes: dict[str, Any] = {"task": self._task, "columns": dict(self._columns)}
            if self._task != (self._looked.settings or {}).get("task"):
                changes |= dict.fromkeys(("labels", "same_labels", "prompt_format", "system"))
            await self._looked.change(**changes)
            self._is_guess = False
            self._said.text = self._remark()
            self._offer.set_visibility(False)

    def _is_whole(self) -> bool:
        return all(part in self._columns for part in needed(self._task or "text"))


def _settings_of(guess: Mapping[str, Any] | None) -> dict[str, Any]:
    if guess is None:
        return {}
    columns = {one["part"]: one["column"] for one in guess["columns"]}
    return {"task": guess["task"], "columns": columns}


def columns_by_part(settings: Mapping[str, Any], columns: list[str]) -> dict[str, str]:
    """The columns by part, those that have their part's name included."""
    said = settings.get("columns", {})
    parts = TASK_COLUMNS.get(settings.get("task", ""), ())
    chosen = {part: said.get(part, part) for part in parts}
    return (
        {part: column for part, column in chosen.items() if part in said or column in columns}
        if settings
        else {}
    )


def _style(select: ui.select, looked: Looked) -> ui.select:
    select.props("outlined dense options-dense").classes("w-full")
    select.set_enabled(looked.may_change)
    return select

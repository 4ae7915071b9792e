"""The question which setting of a working run is to be changed, and to what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nicegui import ui

from gemma_keras_tune.control_file import SETTABLE, check, field_of
from gemma_keras_tune.errors import RecipeError

from ...reader import Reader
from ...words import common
from ...words import runs as words
from ..widgets import heading, primary


async def ask_for_change(reader: Reader, now: Callable[[str], Any]) -> tuple[str, Any] | None:
    """The setting and its new value, or None if nobody wants to change one.

    What a run would refuse is told beside the value, and the question stays.

    Args:
        reader: How numbers are written.
        now: The value that a setting has; a `KeyError` where nobody knows.
    """
    with ui.dialog() as dialog, ui.card().classes("gkt-dialog"):
        heading(words.CHANGE_TITLE, level=2)
        names = {key: words.SETTINGS[key] for key in SETTABLE}
        setting = ui.select(names, label=words.SETTING, value="learning_rate")
        about = ui.label().classes("gkt-note")
        value = ui.input(words.VALUE).mark("new-value")
        for field in (setting, value):
            field.props("outlined").classes("w-full")
        with ui.row().classes("w-full justify-end gap-2"):
            ui.button(common.CANCEL, on_click=lambda: dialog.submit(None)).props("flat no-caps")
            primary(words.APPLY, lambda: apply()).mark("dialog-yes")

    def explain() -> None:
        key = setting.value
        about.text = " ".join((SETTABLE[key], _bounds(key), _now(key, now, reader))).strip()
        value.error = None

    def apply() -> None:
        try:
            chosen = setting.value, reader.typed(value.value or "")
            check("set", key=chosen[0], value=chosen[1])
        except (ValueError, RecipeError):
            value.error = words.VALUE_WRONG.format(
                example=reader.plain(_example(setting.value)), bounds=_bounds(setting.value)
            ).strip()
        else:
            dialog.submit(chosen)

    setting.on_value_change(explain)
    value.on("keydown.enter", apply)
    explain()
    answer: tuple[str, Any] | None = await dialog
    dialog.delete()
    return answer


def change_in_words(key: str, value: Any, reader: Reader) -> str:
    """A setting by its name, and what it was changed to."""
    shown = words.NO_VALUE if value is None else reader.plain(value)
    return words.CHANGED_TO.format(setting=words.SETTINGS.get(key, key), value=shown)


def _now(key: str, now: Callable[[str], Any], reader: Reader) -> str:
    try:
        value = now(key)
    except KeyError:
        return ""
    return words.VALUE_NOW.format(value=words.NO_VALUE if value is None else reader.plain(value))


def _example(key: str) -> float:
    return 0.0001 if key in ("learning_rate", "weight_decay") else 10


def _bounds(key: str) -> str:
    """The bounds of a setting, as its field in the recipe has them."""
    signs = {"ge": "\u2265", "gt": ">", "le": "\u2264", "lt": "<"}
    found = [
        f"{sign} {getattr(bound, name):g}"
        for bound in field_of(key).metadata
        for name, sign in signs.items()
        if getattr(bound, name, None) is not None
    ]
    return f"({', '.join(found)})" if found else ""

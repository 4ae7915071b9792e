"""How a file is read, for those that say it of themselves wrongly or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from ...words import data as words
from ..widgets import note
from .looked import Looked

_AUTO = "auto"
_ABOUT_READING = ("UNDECODABLE_BYTES", "MIXED_ENCODINGS", "UNKNOWN_ENCODING")


def show(
    looked: Looked, findings: Sequence[Mapping[str, Any]] = (), *, failed: bool = False
) -> None:
    """The choices, closed as long as nothing is wrong with them.

    Args:
        looked: What is read.
        findings: Of the reading; what is about letters is told here.
        failed: Whether the file could not be read at all.
    """
    told = [one for one in findings if one["code"] in _ABOUT_READING]
    for one in told:
        note(words.READ_WRONGLY.format(what=one["what"]), kind="warning")
    if looked.may_change:
        opened = bool(told) or failed
        with ui.expansion(words.READ_AS, value=opened).classes("w-full gkt-expansion"):
            _form(looked)


def _form(looked: Looked) -> None:
    said = {**(looked.settings or {}), **looked.reading}
    with ui.element("div").classes("gkt-fields"):
        for key, name, options in (
            ("encoding", words.ENCODING, words.ENCODINGS),
            ("delimiter", words.DELIMITER, words.DELIMITERS),
        ):
            value = said.get(key, _AUTO)
            select = ui.select({value: value} | dict(options), value=value, label=name)
            select.props("outlined dense options-dense").classes("w-full").mark(key)

            async def change(event: Any, key: str = key) -> None:
                await looked.read_as(**{key: event.value})

            select.on_value_change(looked.visit.tells(change))

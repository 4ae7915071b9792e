"""How a file is read, for those that say it of themselves wrongly or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from ...words import data as words
from ..widgets import note, secondary
from .looked import Looked

_AUTO = "auto"
_ABOUT_READING = ("UNDECODABLE_BYTES", "MIXED_ENCODINGS", "UNKNOWN_ENCODING")


def tell(looked: Looked, findings: Sequence[Mapping[str, Any]], text: str) -> None:
    """What was found about letters, each with the way out that is likely.

    Args:
        looked: What is read.
        findings: Of the reading.
        text: What is lost, with `why`, and perhaps with `rows`.
    """
    for finding in findings:
        if finding["code"] in _ABOUT_READING:
            encoding = finding["settings"].get("encoding")
            why = words.TRY_ANOTHER.format(what=finding["what"])
            if encoding is not None:
                why = words.SAVED_AS.format(name=_name(encoding))
            number, count = looked.visit.reader.number, finding["count"]
            rows = words.ROWS_OF_ONE if count == 1 else words.ROWS_OF.format(rows=number(count))
            with note(text.format(rows=rows, why=why), kind="warning").classes("gkt-asks"):
                offer_encoding(looked, finding)


def show(looked: Looked, findings: Sequence[Mapping[str, Any]], *, failed: bool = False) -> None:
    """The choices, closed as long as nothing is wrong with them.

    Args:
        looked: What is read.
        findings: Of the reading.
        failed: Whether the file could not be read at all.
    """
    if looked.may_change:
        opened = failed or any(one["code"] in _ABOUT_READING for one in findings)
        with ui.expansion(words.READ_AS, value=opened).classes("w-full gkt-expansion"):
            _form(looked)


def offer_encoding(looked: Looked, finding: Mapping[str, Any]) -> None:
    """A button that reads the file in the encoding that a finding suggests, if it does."""
    encoding = finding["settings"].get("encoding")
    if encoding is None or not looked.may_change:
        return

    async def take() -> None:
        await looked.read_as(encoding=encoding)

    title = words.READ_IT_AS.format(name=_name(encoding))
    button = secondary(title, looked.visit.tells(take), icon="build")
    button.props("dense size=sm padding='4px 12px'").mark("read-as")


def _name(encoding: str) -> str:
    return words.ENCODINGS.get(encoding, encoding)


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

"""The check-up: a score, what was found, and the rows that it was found in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui

from gemma_keras_tune.errors import TuneError

from ...words import data as words
from ..tables import PagedTable
from ..widgets import Figure, card, note, secondary
from .looked import MODEL, Looked
from .remedies import in_plain_words, show_remedies
from .rows import columns_of, lines_of

_LINE = re.compile(r":(\d{1,9})(?::|$)")


async def prepare(looked: Looked) -> Callable[[], None]:
    """The report, once it is made."""
    report, missing = await _report(looked)

    def fill() -> None:
        with card():
            _summary(looked, report)
            if missing:
                note(words.NO_MODEL.format(why=missing))
        with card(words.FOUND):
            if not report["findings"]:
                note(words.NOTHING_FOUND, kind="good")
            with ui.column().classes("w-full gap-0"):
                for finding in report["findings"]:
                    _Finding(looked, finding).show()
            _skip_switch(looked)

    return fill


async def _report(looked: Looked) -> tuple[dict[str, Any], str]:
    """The report; where the model isn't installed, one without lengths, and why.

    Raises:
        TuneError: Why there is none.
    """
    try:
        return await looked.look("check", model=MODEL), ""
    except TuneError as error:
        if error.code != "MISSING_EXTRA":
            raise
        return await looked.look("check"), looked.visit.text_of(error)


def score_word(score: float) -> str:
    """What the score means, in a word or two."""
    return next(word for least, word in words.SCORE_WORDS.items() if score >= least)


def _summary(looked: Looked, report: Mapping[str, Any]) -> None:
    reader, score = looked.visit.reader, report["score"]
    with ui.element("div").classes("gkt-figures"):
        value = f"{reader.number(score)} {words.SCORE_NOTE}"
        Figure(words.SCORE, value, score_word(score), term="data_score")
        Figure(words.USABLE_ROWS, reader.number(report["rows"]))
        for label, count in list(report["labels"].items())[:8]:
            Figure(str(label), reader.number(count), words.ROWS.lower())
    ui.label(words.SCORE_RULE).classes("gkt-note")


def _skip_switch(looked: Looked) -> None:
    if not looked.may_change:
        return
    with ui.column().classes("gap-0"):
        switch = ui.switch(words.SKIP_BAD, value=looked.recipe.bad_rows == "skip")
        ui.label(words.SKIP_BAD_HELP[bool(switch.value)]).classes("gkt-note")

    async def change(event: Any) -> None:
        await looked.change(bad_rows="skip" if event.value else "error")

    switch.on_value_change(looked.visit.tells(change))


class _Finding:
    """One finding, with a button that shows the rows that it names."""

    def __init__(self, looked: Looked, finding: Mapping[str, Any]) -> None:
        self._looked, self._finding = looked, finding
        self._lines = _lines_of(finding["where"])
        self._is_open = False

    def show(self) -> None:
        """Puts it onto the page."""
        finding, reader = self._finding, self._looked.visit.reader
        severity, tone = words.SEVERITIES[finding["severity"]]
        count = finding["count"]
        with ui.column().classes("gkt-finding").mark("finding"):
            with ui.row().classes("items-center gap-2"):
                ui.label(severity).classes(f"gkt-chip gkt-{tone}")
                if self._lines:
                    many = words.CONCERNS.format(count=reader.number(count))
                    ui.label(words.CONCERNS_ONE if count == 1 else many).classes("gkt-soft")
                ui.label(finding["code"]).classes("gkt-note gkt-mono")
            ui.label(finding["what"]).classes("gkt-multiline")
            fix = words.FIX.format(fix=in_plain_words(finding["fix"], finding["code"]))
            ui.label(fix).classes("gkt-soft gkt-multiline")
            with ui.row().classes("items-center gap-2"):
                if self._lines:
                    self._button = secondary(
                        words.SHOW_ROWS, self._looked.visit.tells(self._toggle), icon="table_rows"
                    )
                    self._button.props("dense size=sm padding='4px 12px'")
                if finding["severity"] == "error" and self._looked.may_change:
                    show_remedies(finding["code"], self._looked.visit.tells(self._take))
            self._rows = ui.column().classes("w-full gap-2")

    async def _take(self, settings: dict[str, str]) -> None:
        await self._looked.change(**settings)

    async def _toggle(self) -> None:
        self._is_open = not self._is_open
        self._button.text = words.HIDE_ROWS if self._is_open else words.SHOW_ROWS
        if not self._is_open:
            self._rows.clear()
            return
        found = await self._looked.look("columns", lines=self._lines)
        self._rows.clear()
        with self._rows:
            await self._show_rows(found)

    async def _show_rows(self, found: Mapping[str, Any]) -> None:
        looked, count = self._looked, self._finding["count"]
        reader = looked.visit.reader
        if count > len(self._lines):
            shown = reader.number(len(self._lines))
            ui.label(words.SHOWN_OF.format(shown=shown, count=reader.number(count)))
        lines = lines_of(looked, found)
        if lines:

            async def load(_: Any) -> tuple[Any, int]:
                return lines, len(lines)

            await PagedTable(self._finding["code"], columns_of(looked, found), load).refresh()
        for one in found["unread"]:
            with ui.row().classes("gkt-code items-start"):
                ui.label(reader.number(one["row"])).classes("gkt-note")
                ui.label(words.UNREAD.format(text=one["text"])).classes("gkt-code-text flex-1")


def _lines_of(places: list[str]) -> list[int]:
    """The numbers of the lines in `file:line` and `file:line:column`."""
    found = [match for place in places if (match := _LINE.search(place))]
    return sorted({int(match[1]) for match in found if int(match[1]) > 0})

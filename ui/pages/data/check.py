"""The check-up: how many rows need attention, what was found, and the rows that it was found in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui

from gemma_keras_tune.data_codes import CODES, LEFT_OUT

from ...words import data as words
from ..tables import Column, Line, PagedTable
from ..widgets import Figure, card, explain, heading, note, secondary
from .looked import Looked
from .plain import lines_in
from .reading import offer_encoding
from .remedies import (
    Remedy,
    in_plain_words,
    label_remedies,
    remedies_of,
    show_remedies,
    with_remedy,
)
from .rows import columns_of, lines_of

_SAME_AS = Column(words.SAME_AS)


async def prepare(looked: Looked) -> Callable[[], None]:
    """The report, once it is made."""
    report, missing = await looked.look_measured("check")

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
            _same_labels(looked)

    return fill


def score_word(score: float) -> str:
    """What the score means, in a word or two."""
    return next(word for least, word in words.SCORE_WORDS.items() if score >= least)


def _summary(looked: Looked, report: Mapping[str, Any]) -> None:
    """How many rows need attention and how many can be used; the score only comes after that."""
    number = looked.visit.reader.number
    heading(_attention(looked, report), level=2).mark("attention")
    if report["rows"]:
        ui.label(_about_attention(report, number)).mark("usable")
    if report["left_out"]:
        left_out = words.LEFT_OUT_ONE if report["left_out"] == 1 else words.LEFT_OUT_ROWS
        ui.label(left_out.format(count=number(report["left_out"])))
    with ui.element("div").classes("gkt-figures"):
        for label, count in list(report["labels"].items())[:8]:
            Figure(str(label), number(count), words.ROWS.lower())
    with ui.row().classes("items-center gap-1"):
        score = report["score"]
        text = words.SCORE.format(score=number(score), word=score_word(score))
        ui.label(text).classes("gkt-note")
        explain("data_score")


def _attention(looked: Looked, report: Mapping[str, Any]) -> str:
    number, concerned = looked.visit.reader.number, report["attention"]
    if not report["rows"]:
        return words.NONE_USABLE
    if not concerned:
        return words.NO_ATTENTION
    text = words.ATTENTION_ONE if concerned == 1 else words.ATTENTION
    return text.format(count=number(concerned), total=number(report["total"]))


def _about_attention(report: Mapping[str, Any], number: Callable[[int], str]) -> str:
    """How many rows can be used, and where those that need attention are among them or not."""
    usable = words.USABLE_ONE if report["rows"] == 1 else words.USABLE
    told = [usable.format(count=number(report["rows"]))]
    lost = report["total"] - report["rows"] - report["left_out"]
    odd = report["attention"] - lost
    if lost:
        text = words.NOT_USABLE_ONE if lost == 1 else words.NOT_USABLE
        told.append(text.format(count=number(lost)))
    if odd:
        text = words.ODD_ONE if odd == 1 else words.ODD
        told.append(text.format(count=number(odd)))
    return " ".join(told)


def _skip_switch(looked: Looked) -> None:
    if not looked.may_change:
        return
    with ui.column().classes("gap-0"):
        switch = ui.switch(words.SKIP_BAD, value=looked.recipe.bad_rows == "skip")
        ui.label(words.SKIP_BAD_HELP[bool(switch.value)]).classes("gkt-note")

    async def change(event: Any) -> None:
        await looked.change(bad_rows="skip" if event.value else "error")

    switch.on_value_change(looked.visit.tells(change))


def _same_labels(looked: Looked) -> None:
    """Which labels count as which, and the way back."""

    async def take_back(label: str) -> None:
        said = looked.recipe.same_labels
        rest = {one: meant for one, meant in said.items() if one != label}
        await looked.change(same_labels=rest or None)

    for label, meant in looked.recipe.same_labels.items():
        with ui.row().classes("items-center gap-2").mark("same-label"):
            ui.label(words.COUNTS_AS.format(label=label, meant=meant))
            if looked.may_change:
                button = secondary(
                    words.COUNTS_AS_BACK,
                    looked.visit.tells(lambda label=label: take_back(label)),
                    icon="undo",
                )
                button.props("dense size=sm padding='4px 12px'").mark("apart-again")


class _Finding:
    """One finding, with a button that shows the rows that it names."""

    def __init__(self, looked: Looked, finding: Mapping[str, Any]) -> None:
        self._looked, self._finding = looked, finding
        self._lines = lines_in(finding["where"])
        self._same_as = lines_in(finding["same_as"])
        self._is_open = False

    def show(self) -> None:
        """Puts it onto the page."""
        finding = self._finding
        with ui.column().classes("gkt-finding").mark("finding"):
            self._head()
            ui.label(finding["what"]).classes("gkt-multiline")
            fix = words.FIX.format(fix=in_plain_words(finding["fix"], finding["code"]))
            fix = LEFT_OUT if finding["fix"] == LEFT_OUT else fix
            ui.label(fix).classes("gkt-soft gkt-multiline")
            with ui.row().classes("items-center gap-2"):
                if self._lines:
                    self._button = secondary(
                        words.SHOW_ROWS, self._looked.visit.tells(self._toggle), icon="table_rows"
                    )
                    self._button.props("dense size=sm padding='4px 12px'")
                offer_encoding(self._looked, finding)
                if self._looked.may_change:
                    show_remedies(self._remedies(), self._looked.visit.tells(self._take))
            self._rows = ui.column().classes("w-full gap-2")

    def _head(self) -> None:
        """How grave it is, and how many rows it is about, where it is about rows."""
        finding, count = self._finding, self._finding["count"]
        severity, tone = words.SEVERITIES[finding["severity"]]
        if _is_left_out(finding):
            severity, tone = words.LEFT_OUT
        with ui.row().classes("items-center gap-2"):
            ui.label(severity).classes(f"gkt-chip gkt-{tone}")
            if self._lines and finding["code"] not in words.NOT_ABOUT_ROWS:
                many = words.ROWS_OF.format(rows=self._looked.visit.reader.number(count))
                ui.label(words.ROWS_OF_ONE if count == 1 else many).classes("gkt-soft")
            ui.label(finding["code"]).classes("gkt-note gkt-mono")

    def _remedies(self) -> list[Remedy]:
        finding = self._finding
        of_code = remedies_of(finding["code"]) if finding["severity"] == "error" else []
        return [*of_code, *label_remedies(finding)]

    async def _take(self, settings: dict[str, Any]) -> None:
        await self._looked.change(**with_remedy(self._looked.settings or {}, settings))

    async def _toggle(self) -> None:
        self._is_open = not self._is_open
        self._button.text = words.HIDE_ROWS if self._is_open else words.SHOW_ROWS
        if not self._is_open:
            self._rows.clear()
            return
        lines = sorted({*self._lines, *self._same_as})
        found = await self._looked.look("columns", lines=lines)
        self._rows.clear()
        with self._rows:
            await self._show_rows(found)

    async def _show_rows(self, found: Mapping[str, Any]) -> None:
        looked, count = self._looked, self._finding["count"]
        reader = looked.visit.reader
        if count > len(self._lines):
            shown = reader.number(len(self._lines))
            ui.label(words.SHOWN_OF.format(shown=shown, count=reader.number(count)))
        lines, columns = lines_of(looked, found), columns_of(looked, found)
        if self._same_as:
            lines, columns = self._beside_their_twins(lines), [columns[0], _SAME_AS, *columns[1:]]
        if lines:

            async def load(_: Any) -> tuple[Any, int]:
                return lines, len(lines)

            await PagedTable(self._finding["code"], columns, load).refresh()
        for one in found["unread"]:
            with ui.row().classes("gkt-code items-start"):
                ui.label(reader.number(one["row"])).classes("gkt-note")
                ui.label(words.UNREAD.format(text=one["text"])).classes("gkt-code-text flex-1")

    def _beside_their_twins(self, lines: list[Line]) -> list[Line]:
        """Each row before those that repeat it, which say so."""
        number, row_of = self._looked.visit.reader.number, {line.key: line for line in lines}
        copies: dict[int, list[int]] = {}
        for copy, first in zip(self._lines, self._same_as, strict=True):
            copies.setdefault(first, []).append(copy)
        shown = []
        for first in sorted(copies):
            for line in (first, *copies[first]):
                place, *cells = row_of[str(line)].cells
                same = "" if line == first else words.REPEATS.format(line=number(first))
                shown.append(Line(str(line), (place, same, *cells)))
        return shown


def _is_left_out(finding: Mapping[str, Any]) -> bool:
    """Whether its rows can't be used or are too long, and are left out."""
    by_row = CODES[finding["code"]].by_row and finding["severity"] == "warning"
    return by_row or finding["code"] == "DROPPED"

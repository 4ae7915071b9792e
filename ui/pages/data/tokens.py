"""Rows token by token, with colours that say what becomes of each: one row, or packed ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

from gemma_keras_tune.errors import TuneError

from ...words import data as words
from ..widgets import card, explain, heading, note
from .looked import MODEL, Looked
from .waiting import waiting

_NEAR = 40  # lines that are looked through for the next usable row
_PACKED = 2  # packed rows at a time


class Tokens(ui.element, component="tokens.js"):
    """The coloured tokens of some rows.

    Args:
        rows: Of each `title`, `segments` (with `title`, `tokens` and `more`) and `padding`.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        super().__init__()
        self.props["rows"] = [dict(row) for row in rows]


async def prepare(looked: Looked) -> Callable[[], None]:
    """The view of one row, and the way to the packed ones."""
    view = _View(looked)
    await view.load()
    return view.show


class _View:
    def __init__(self, looked: Looked) -> None:
        self._looked = looked
        self._is_packed = False
        self._offset = 0
        self._line = looked.line
        self._rows: list[dict[str, Any]] = []
        self._note = ""

    async def load(self) -> None:
        """Asks for the row, or the packed rows, that are wanted.

        Raises:
            TuneError: Why it can't be shown.
        """
        if self._is_packed:
            await self._load_packed()
        elif self._line:
            await self._load_lines([self._line])
        else:
            self._take(await self._preview(rows=1))

    def show(self) -> None:
        """Puts the view onto the page."""
        tells = self._looked.visit.tells
        with card():
            ui.label(words.TOKENS_LEAD).classes("gkt-soft")
            with ui.row().classes("items-center gap-2 w-full"):
                toggle = ui.toggle({0: words.ONE_ROW, 1: words.PACKED}, value=0)
                toggle.props("no-caps unelevated toggle-color=primary").mark("packed")
                toggle.on_value_change(tells(self._choose))
                ui.space()
                self._step(words.PREVIOUS, "chevron_left", -1)
                self._step(words.NEXT, "chevron_right", 1)
            self._body = ui.column().classes("w-full")
            _legend()
        self._fill()

    def _step(self, name: str, icon: str, by: int) -> None:
        button = ui.button(name, icon=icon, on_click=self._looked.visit.tells(lambda: self._go(by)))
        button.props("flat no-caps color=primary")

    def _fill(self) -> None:
        self._body.clear()
        with self._body:
            if self._note:
                note(self._note)
            Tokens(self._rows)

    async def _choose(self, event: Any) -> None:
        self._is_packed, self._offset = bool(event.value), 0
        await self._again()

    async def _go(self, by: int) -> None:
        if self._is_packed:
            self._offset = max(0, self._offset + by * _PACKED)
            await self._again()
            return
        here = self._line
        lines = range(here + 1, here + _NEAR) if by > 0 else range(max(1, here - _NEAR), here)
        rows = (await self._preview(lines=list(lines), rows=_NEAR))["rows"] if lines else []
        if not rows:
            raise TuneError(words.NO_MORE_ROWS)
        self._take({"rows": [rows[0] if by > 0 else rows[-1]]})
        self._fill()

    async def _again(self) -> None:
        self._body.clear()
        with self._body:
            waiting(words.COUNTING)
        try:
            await self.load()
        except TuneError as error:
            self._rows, self._note = [], self._looked.visit.text_of(error)
        self._fill()

    async def _preview(self, **args: Any) -> dict[str, Any]:
        looked = self._looked
        settings = {**(looked.settings or {}), **looked.reading, "bad_rows": "skip"}
        return await looked.look_as(settings, "preview", model=MODEL, **args)

    async def _load_lines(self, lines: list[int]) -> None:
        found = await self._preview(lines=lines)
        if not found["rows"]:
            self._rows, self._note = [], words.NO_MORE_ROWS
        else:
            self._take(found)

    def _take(self, found: Mapping[str, Any]) -> None:
        row = found["rows"][0]
        self._line, self._note = row["row"], ""
        self._rows = [{"title": _title(self._looked, row), "segments": [self._segment(row)]}]

    def _segment(self, row: Mapping[str, Any], title: str = "") -> dict[str, Any]:
        more = row["not_shown"]
        number = self._looked.visit.reader.number
        text = words.NOT_SHOWN.format(count=number(more)) if more else ""
        return {"title": title, "tokens": row["tokens"], "more": text}

    async def _load_packed(self) -> None:
        found = await self._looked.look("pack", model=MODEL, rows=_PACKED, offset=self._offset)
        if not found["rows"] and self._offset:
            self._offset = max(0, self._offset - _PACKED)
            raise TuneError(words.NO_MORE_ROWS)
        reader = self._looked.visit.reader
        self._note = words.PACKED_NOTE.format(
            examples=reader.number(found["examples"]),
            total=reader.number(found["total"]),
            length=reader.number(found["row_length"]),
            share=reader.percent(found["waste"]),
        )
        self._rows = [
            self._packed(row, found, self._offset + place)
            for place, row in enumerate(found["rows"], start=1)
        ]

    def _packed(
        self, row: Mapping[str, Any], found: Mapping[str, Any], place: int
    ) -> dict[str, Any]:
        number = self._looked.visit.reader.number
        count = len(row["segments"])
        title = words.PACKED_TITLE_ONE if count == 1 else words.PACKED_TITLE
        return {
            "title": title.format(
                number=number(place),
                total=number(found["total"]),
                rows=number(count),
                length=number(found["row_length"]),
            ),
            "segments": [
                self._segment(one, words.SEGMENT.format(line=number(one["row"])))
                for one in row["segments"]
            ],
            "padding": self._padding(row["padding"]),
        }

    def _padding(self, count: int) -> str:
        if count < 2:
            return words.PADDING_ONE if count else ""
        return words.PADDING_TEXT.format(count=self._looked.visit.reader.number(count))


def _title(looked: Looked, row: Mapping[str, Any]) -> str:
    number = looked.visit.reader.number
    title = words.ROW_TITLE.format(line=number(row["row"]), length=number(row["length"]))
    if row["cut"]:
        title += f", {words.ROW_CUT.format(cut=number(row['cut']))}"
    return title if row["used"] else f"{title}, {words.ROW_UNUSED}"


def _legend() -> None:
    with ui.column().classes("w-full gap-1"):
        heading(words.LEGEND, level=3)
        with ui.element("div").classes("gkt-legend"):
            for kind, (name, term) in words.KINDS.items():
                with ui.row().classes("items-center gap-1 no-wrap"):
                    ui.label(name).classes(f"gkt-token gkt-token-{kind}")
                    explain(term)

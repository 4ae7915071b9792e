"""The measured rows, one by one: the worst, the best, and those it was sure about and wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from nicegui import ui

from gemma_keras_tune.run_folder import RunFolder

from ...api.predictions import Asked, loss_of, read_predictions
from ...identity.access import Action
from ...words import result as words
from ..tables import Cell, Chip, Column, Line, PagedTable, Wanted, shortened
from ..visit import Visit
from ..widgets import card, secondary

_SCROLL = "document.querySelector('.gkt-rows').scrollIntoView({block: 'start'})"
_LONGEST = 300  # characters of a text in a cell


class Rows:
    """The table, in the order that somebody asks for.

    Args:
        visit: The open page.
        folder: The run's folder.
        is_labelled: Whether the rows have labels.
        has_wrong: Whether some of them are wrong; those are shown first.
    """

    def __init__(
        self, visit: Visit, folder: RunFolder, *, is_labelled: bool, has_wrong: bool
    ) -> None:
        self._visit, self._folder, self._is_labelled = visit, folder, is_labelled
        self._asked = Asked(order="sure_but_wrong" if has_wrong else "worst")

    def build(self) -> None:
        """Puts the table where the page is built now."""
        with card(
            words.PREDICTIONS, term="confidence" if self._is_labelled else "loss"
        ) as self._card:
            self._card.classes("gkt-rows")
            with ui.row().classes("w-full items-center gap-3"):
                orders = dict(words.ORDERS)
                if not self._is_labelled:
                    del orders["sure_but_wrong"]
                self._order = ui.select(orders, label=words.ORDER, value=self._asked.order)
                self._order.props("outlined dense").classes("w-72 max-w-full").mark("order")
                self._order.on_value_change(self._visit.tells(lambda e: self._sort(e.value)))
                if self._visit.may(Action.DOWNLOAD):
                    self._downloads()
            with ui.row().classes("items-center gap-3") as self._filter:
                self._filter_text = ui.label().classes("font-semibold")
                secondary(words.ALL_ROWS, self._visit.tells(self._show_all))
            self._filter.set_visibility(False)
            self._table = PagedTable(words.PREDICTIONS, self._columns(), self._load, per_page=10)

    async def start(self) -> None:
        """Shows the first rows."""
        await self._table.refresh()

    async def show_cell(self, expected: str, predicted: str) -> None:
        """Shows the rows behind a cell of the confusion matrix."""
        self._asked = Asked(order="row", expected=expected, predicted=predicted)
        self._order.value = "row"
        text = words.SHOWN_CELL.format(expected=expected, predicted=predicted)
        self._filter_text.text = text
        self._filter.set_visibility(True)
        await self._table.refresh(first=True)
        ui.run_javascript(_SCROLL)

    async def _show_all(self) -> None:
        self._asked = replace(self._asked, expected=None, predicted=None)
        self._filter.set_visibility(False)
        await self._table.refresh(first=True)

    async def _sort(self, order: Any) -> None:
        if order != self._asked.order:
            self._asked = replace(self._asked, order=order)
            await self._table.refresh(first=True)

    async def _load(self, wanted: Wanted) -> tuple[Sequence[Line], int]:
        await self._visit.asked_now(Action.VIEW_RUNS)
        rows, total = await asyncio.to_thread(
            read_predictions,
            self._folder.predictions,
            self._asked,
            limit=wanted.limit,
            offset=wanted.offset,
        )
        return [self._line(at, row) for at, row in enumerate(rows, wanted.offset)], total

    def _columns(self) -> list[Column]:
        names = words.ROW_COLUMNS_LABELS if self._is_labelled else words.ROW_COLUMNS
        return [Column(name, right=name in words.ROW_NUMBERS) for name in names]

    def _line(self, at: int, row: Mapping[str, Any]) -> Line:
        reader = self._visit.reader
        loss = reader.number(loss_of(row), digits=3)
        prompt = shortened(row.get("prompt") or words.NO_TEXT, _LONGEST)
        cells: list[Cell] = [
            reader.number(row.get("row")),
            prompt,
            shortened(row.get("expected"), _LONGEST),
        ]
        if self._is_labelled:
            predicted, expected = row.get("predicted", ""), row.get("expected")
            cells.append(Chip(predicted, "good" if predicted == expected else "bad"))
            cells += [reader.percent(row.get("confidence")), loss, row.get("base_predicted") or ""]
        else:
            cells += [loss, reader.number(loss_of(row, base=True), digits=3)]
        return Line(str(at), cells)

    def _downloads(self) -> None:
        run = f"/api/v1/runs/{self._folder.id}"
        ui.link(words.DOWNLOAD, f"{run}/predictions.csv").props("download").mark("sheet")
        ui.link(words.DOWNLOAD_JSON, f"{run}/files/predictions.jsonl").props("download")

"""From which confidence on an answer is taken as sure, and how the held-back rows fare by that."""

from __future__ import annotations

import asyncio

from nicegui import ui

from gemma_keras_tune.run_folder import RunFolder

from ...api.predictions import doubts
from ...identity.access import Action
from ...words import table as words
from ..visit import Visit
from ..widgets import explain

_PERCENT = 80  # a model that knows how sure it is errs in less than one of five rows above it


class DoubtField:
    """The field, and a line that says what the bound would have marked; empty, nothing is marked.

    Args:
        visit: The open page.
        folder: The run's, whose held-back rows are looked at.
    """

    def __init__(self, visit: Visit, folder: RunFolder) -> None:
        self._visit, self._folder = visit, folder
        with ui.row().classes("items-start no-wrap gap-1"):
            field = ui.number(words.DOUBT, value=_PERCENT, min=0, max=100, suffix="%")
            field.props("outlined dense stack-label debounce=300").classes("flex-1 min-w-0")
            field._props["hint"] = words.DOUBT_HINT
            explain("confidence")
        self._field = field.mark("doubt-below")
        field.on_value_change(visit.tells(self.tell))

    def build_line(self) -> None:
        """Puts the line where the page is built now."""
        self._said = ui.label().classes("gkt-note").mark("doubt-said")

    @property
    def below(self) -> float | None:
        """The bound, 0 to 1; None if nothing is to be marked."""
        return None if self._field.value is None else self._field.value / 100

    async def tell(self) -> None:
        """Says of how many held-back rows the run would have been in doubt, and how it did."""
        below, text = self.below, ""
        await self._visit.asked_now(Action.VIEW_RUNS)
        if below is not None:
            found = await asyncio.to_thread(doubts, self._folder.predictions, below)
            if found is not None:
                number = self._visit.reader.number
                text = words.DOUBT_SAID.format(
                    rows=number(found.rows),
                    doubtful=number(found.doubtful),
                    wrong=number(found.wrong_doubtful),
                    others=number(found.wrong_others),
                    rest=number(found.rows - found.doubtful),
                )
        if below == self.below:  # else it was changed meanwhile
            self._said.text = text
            self._said.set_visibility(bool(text))

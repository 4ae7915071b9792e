"""How many rows a run could learn from, and what stands in its way, beside the button for one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import Client, background_tasks, ui

from gemma_keras_tune.errors import TuneError

from ...identity.access import Action
from ...words import data as words
from ..widgets import Figure, secondary
from .looked import Looked


class Ready:
    """A line that is there where rows can't be used, with the way to the check-up.

    While no run could start, that way is the next step, and not the run.

    Args:
        looked: What is looked at.
        rows: The figure of all rows, which says then how many of them can be used.
        start: The button that leads to a run.
        see: Opens the check-up.
    """

    def __init__(
        self, looked: Looked, rows: Figure, start: ui.button, see: Callable[[], Any]
    ) -> None:
        self._looked, self._rows, self._start = looked, rows, start
        self._asked = 0
        with ui.row().classes("w-full items-center justify-end gap-2") as self._line:
            self._text = ui.label().classes("gkt-soft").mark("ready")
            self._see = secondary(words.SEE_CHECK, see, icon="fact_check").mark("see-check")
        self._line.set_visibility(False)

    def ask(self, *, lost: int) -> None:
        """Asks for the check-up, and tells what came of it if nothing was asked since.

        Args:
            lost: How many rows can't be read, which the figure says already.
        """
        self._asked += 1
        if self._looked.settings is not None and self._looked.visit.may(Action.SUBMIT_TRAIN):
            background_tasks.create(self._tell(self._asked, lost), name="count usable rows")

    async def _tell(self, number: int, lost: int) -> None:
        try:
            report, _ = await self._looked.look_measured("check")
        except TuneError:
            return  # the check-up itself says why there is none
        if number != self._asked or self._looked.visit.client.id not in Client.instances:
            return
        count = self._looked.visit.reader.number
        if not lost:
            is_all = report["rows"] == report["total"]
            usable = words.ALL_USABLE if is_all else words.SOME_USABLE
            self._rows.show(count(report["total"]), usable.format(count=count(report["rows"])))
        self._text.text = _in_the_way(report, count)
        self._line.set_visibility(bool(self._text.text))
        is_stopped = any(one["severity"] == "error" for one in report["findings"])
        next_step, other = (self._see, self._start) if is_stopped else (self._start, self._see)
        next_step.props("unelevated", remove="outline")
        other.props("outline", remove="unelevated")


def _in_the_way(report: Mapping[str, Any], count: Callable[[int], str]) -> str:
    """What keeps a run from starting, or which rows it would do without; "" if neither."""
    left_out = report["left_out"]
    unusable = report["total"] - report["rows"] - left_out
    if unusable:
        text = words.MUST_LEAVE_ONE if unusable == 1 else words.MUST_LEAVE
        return text.format(count=count(unusable))
    if any(one["severity"] == "error" for one in report["findings"]):
        return words.MUST_MEND
    if left_out:
        text = words.LEFT_OUT_ONE if left_out == 1 else words.LEFT_OUT_ROWS
        return text.format(count=count(left_out))
    return ""

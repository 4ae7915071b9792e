"""The confusion matrix: a table whose cells open the rows behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

from ...words import result as words
from ..visit import Visit
from ..widgets import card

OnCell = Callable[[str, str], Any]
_MOST_LABELS = 40


class Confusion:
    """The matrix of the tuned model.

    Args:
        visit: The open page.
        report: The run's report.
        on_cell: Called with the right label and the given one when a cell is clicked.
    """

    def __init__(self, visit: Visit, report: Mapping[str, Any], *, on_cell: OnCell) -> None:
        self._visit, self._on_cell = visit, on_cell
        found = report["tuned"]["confusion"]
        labels, counts = found["labels"][:_MOST_LABELS], found["counts"]
        with card(words.CONFUSION, term="confusion"):
            ui.label(words.CONFUSION_TEXT).classes("gkt-soft")
            with ui.element("div").classes("gkt-scroll"), ui.element("table").classes("gkt-matrix"):
                self._head(labels)
                with ui.element("tbody"):
                    for at, label in enumerate(labels):
                        self._row(label, labels, counts[at])

    def _head(self, labels: Sequence[str]) -> None:
        with ui.element("thead"), ui.element("tr"):
            for name in (words.RIGHT_LABEL, *labels):
                with ui.element("th").props("scope=col"):
                    _name(name)

    def _row(self, label: str, labels: Sequence[str], counts: Sequence[int]) -> None:
        total = max(1, sum(counts))
        with ui.element("tr"):
            with ui.element("th").props("scope=row"):
                _name(label)
            for predicted, count in zip(labels, counts, strict=False):
                with ui.element("td"):
                    self._cell(label, predicted, count=count, share=count / total)

    def _cell(self, expected: str, predicted: str, *, count: int, share: float) -> None:
        number = self._visit.reader.number(count)
        is_right = expected == predicted
        said = words.CONFUSION_CELL.format(count=number, expected=expected, predicted=predicted)
        button = ui.button(
            number, on_click=self._visit.tells(lambda: self._on_cell(expected, predicted))
        )
        strength = 0 if not count else round(15 + 60 * share)
        colour = "--gkt-good" if is_right else "--gkt-bad"
        button.classes("gkt-cell").props("flat no-caps color=inherit")
        button.style(
            f"background: color-mix(in srgb, var({colour}) {strength}%, transparent) !important"
            if strength
            else ""
        )
        button._props["aria-label"] = said  # may hold any sign; `props` would read it as text
        button.set_enabled(bool(count))


def _name(text: str) -> None:
    """A label in three lines at most; a longer one is whole when it is pointed at."""
    ui.label(text).classes("gkt-matrix-name")._props["title"] = text  # any sign may be in it

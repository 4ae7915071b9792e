"""Charts of one page, which are sent what is new in one message: each has its price."""

from __future__ import annotations

from typing import Any

from nicegui import ui


class LiveCharts(ui.element, component="live_charts.js"):
    """Collects calls of Plotly's methods until they are sent."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[list[Any]] = []

    def call(self, plot: ui.plotly, name: str, *args: Any) -> None:
        """Calls a method of Plotly on a chart, at the next `flush`.

        Args:
            plot: The chart.
            name: The method.
            args: Its arguments after the chart.
        """
        self._calls.append([plot.id, name, *args])

    def flush(self) -> None:
        """Sends what was collected."""
        if self._calls:
            self.run_method("pass", self._calls)
            self._calls = []

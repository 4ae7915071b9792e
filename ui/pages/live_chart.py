"""Charts of a run that are appended to, and drawn anew only when what they showed is gone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..live.curves import Curve
from ..live.run_state import Mark, RunState
from .charts import COLOURS, chart, figure
from .live_news import LiveNews

_MOST_POINTS = 1000  # of a line, when it is drawn
_MOST_SHOWN = 2000  # of a line: with more it is drawn anew, thinned out
_PATIENCE_S = 5.0  # without a word of a drawing: it is sent anew, and waited for twice as long

# The browser says once of each drawing that it is there, and not again at every point that comes.
# The plot of a tab that is not looked at is in no document, so its component is asked for it, by
# the number that NiceGUI gave it.
_SAY_ONCE = """() => {{
  const plot = getElement({id:d})?.$el;
  if (plot && plot.said !== plot.layout.meta) emit((plot.said = plot.layout.meta));
}}"""


@dataclass(frozen=True)
class LineOf:
    """One line of a chart.

    Attributes:
        curve: Which curve of the run it shows.
        name: What the legend calls it.
        points: Whether each point is marked, for lines with few of them.
        scale: The values are multiplied by it.
    """

    curve: str
    name: str
    points: bool = False
    scale: float = 1.0


@dataclass
class _Drawn:
    version: int = 0
    until: int = 0  # points of the curve that the chart has
    shown: int = 0  # points that the browser draws


class LiveChart:
    """One chart of a run.

    What was known when it was made stands in its figure. Later points are sent only once the
    browser has drawn it: those sent before would be lost, and leave a hole. What the browser says
    may be lost as well, so a drawing that nothing is heard of is sent anew when there is more to
    show. Points name the drawing that they belong to, as another may overtake them.

    Args:
        news: What sends to the charts of this page.
        state: Where the curves are.
        lines: The chart's lines.
        label: What it shows, in a sentence, for screen readers.
        x, y: The names of the axes.
        is_time: Whether x are seconds since 1970, to be shown as times.
        is_share: Whether y are shares, which are shown as percents from 0 to 100.
        y_axis: What Plotly is told of the axis of y besides.
    """

    def __init__(
        self,
        news: LiveNews,
        state: RunState,
        lines: Sequence[LineOf],
        *,
        label: str,
        x: str,
        y: str,
        is_time: bool = False,
        is_share: bool = False,
        y_axis: Mapping[str, Any] | None = None,
    ) -> None:
        self._y_axis = dict(y_axis or {})
        self._news, self._state = news, state
        self._lines, self._x, self._y = tuple(lines), x, y
        self._is_time, self._is_share, self._is_ready = is_time, is_share, False
        self._drawing, self._drawn_at, self._patience_s = 0, time.monotonic(), _PATIENCE_S
        self._drawn = [_Drawn() for _ in self._lines]
        self._marks: tuple[Mark, ...] = ()
        self.plot = chart(self._figure(), label=label).mark("live-chart")
        say = _SAY_ONCE.format(id=self.plot.id)
        self.plot.on("plotly_afterplot", lambda event: self._plotted(event.args), js_handler=say)

    def shows(self, curve: str) -> bool:
        """Whether one of its lines is of that curve."""
        return any(line.curve == curve for line in self._lines)

    def tick(self, state: RunState | None = None) -> None:
        """Gives out what is new, to be sent with the page's news, if the chart is there."""
        if state is not None and state is not self._state:
            self._state = state
            self._draw_anew()
        curves = [self._state.curve(line.curve) for line in self._lines]
        if not self._is_ready:
            if any(map(_has_more, curves, self._drawn)):
                self._draw_if_overdue()
            return
        if any(map(_is_gone, curves, self._drawn)):
            self._draw_anew()
            return
        self._extend(curves)
        if self._marks != tuple(self._state.marks) and not self._is_time:
            self._marks = tuple(self._state.marks)
            self._call("relayout", _marked(self._marks))

    def _plotted(self, drawing: object) -> None:
        """The browser has drawn what was sent as that drawing."""
        if drawing == self._drawing and not self._is_ready:
            self._is_ready, self._patience_s = True, _PATIENCE_S
            self.tick()
            self._news.flush()
        elif drawing != self._drawing and self._is_ready:
            self._draw_anew()  # after a lost connection an old one was sent after the new one

    def _draw_if_overdue(self) -> None:
        if time.monotonic() - self._drawn_at >= self._patience_s:
            self._patience_s *= 2  # a slow browser must come to answer the newest one at last
            self._draw_anew()

    def _draw_anew(self) -> None:
        self._is_ready, self._drawn_at = False, time.monotonic()
        self._drawing += 1
        self.plot.update_figure(self._figure())

    def _extend(self, curves: Sequence[Curve]) -> None:
        xs, ys, which = [], [], []
        for at, (curve, drawn) in enumerate(zip(curves, self._drawn, strict=True)):
            if len(curve) > drawn.until:
                x, y = curve.since(drawn.until)
                xs.append(self._shown_x(x))
                ys.append(_scaled(y, self._lines[at].scale))
                which.append(at)
                drawn.until += len(x)
                drawn.shown += len(x)
        if which:
            self._call("extendTraces", {"x": xs, "y": ys}, which)

    def _call(self, name: str, *args: Any) -> None:
        self._news.call(self.plot, "run_plot_method", name, *args, drawing=self._drawing)

    def _figure(self) -> dict[str, Any]:
        data = []
        for line, drawn, colour in zip(self._lines, self._drawn, _colours(), strict=False):
            curve = self._state.curve(line.curve)
            x, y = curve.thinned(_MOST_POINTS)
            drawn.version, drawn.until, drawn.shown = curve.version, len(curve), len(x)
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers" if line.points or len(x) == 1 else "lines",
                    "name": line.name,
                    "x": self._shown_x(x),
                    "y": _scaled(y, line.scale),
                    "line": {"color": colour, "width": 2},
                }
            )
        self._marks = tuple(self._state.marks)
        layout = {} if self._is_time else _marked(self._marks)
        layout["meta"] = self._drawing
        layout["uirevision"] = "always"  # drawn anew, it shows the part that somebody chose
        if self._is_time:
            layout["xaxis"] = {"type": "date"}
        if self._is_share:
            layout["yaxis"] = {"range": [-0.02, 1.04], "tickformat": ".0%"}
        layout["yaxis"] = layout.get("yaxis", {}) | self._y_axis
        return figure(data, x=self._x, y=self._y, layout=layout)

    def _shown_x(self, xs: list[float]) -> list[float]:
        return [x * 1000 for x in xs] if self._is_time else xs  # Plotly's dates are milliseconds


def _has_more(curve: Curve, drawn: _Drawn) -> bool:
    """Whether a curve is not as it was drawn."""
    return curve.version != drawn.version or len(curve) > drawn.until


def _is_gone(curve: Curve, drawn: _Drawn) -> bool:
    """Whether a line shows points that are no more, or more than can be drawn well."""
    new = len(curve) - drawn.until
    return curve.version != drawn.version or drawn.shown + new > _MOST_SHOWN


def _colours() -> list[str]:
    return [*COLOURS, *COLOURS]


def _scaled(ys: list[float | None], scale: float) -> list[float | None]:
    return ys if scale == 1.0 else [None if y is None else y * scale for y in ys]


def _marked(marks: Sequence[Mark]) -> dict[str, Any]:
    """A line at each step at which something was changed; the page says what."""
    line = {"color": COLOURS[6], "width": 1, "dash": "dot"}
    upright = {"type": "line", "yref": "paper", "y0": 0, "y1": 1, "line": line}
    steps = dict.fromkeys(mark.step for mark in marks)
    return {"shapes": [{**upright, "x0": step, "x1": step} for step in steps]}

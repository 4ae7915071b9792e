"""How long the rows are in tokens, where they are cut off, and how many that concerns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from nicegui import ui

from ...words import data as words
from ..charts import COLOURS, chart, figure
from ..widgets import Figure, card, note
from .looked import MODEL, Looked

_FAR = 2  # times the longest row: then the bars would have no room beside the line


async def prepare(looked: Looked) -> Callable[[], None]:
    """Figures, chart and form, once the tokens are counted."""
    report = await looked.look("check", model=MODEL)

    def fill() -> None:
        with card():
            ui.label(words.LENGTHS_LEAD).classes("gkt-soft")
            if report["tokens"] is None:
                note(words.LENGTHS_UNKNOWN, kind="warning")
            else:
                _figures(looked, report)
                chart(_histogram(looked, report), label=words.CHART)
                _verdict(looked, report)
            _form(looked)

    return fill


def _figures(looked: Looked, report: Mapping[str, Any]) -> None:
    reader, tokens = looked.visit.reader, report["tokens"]
    with ui.element("div").classes("gkt-figures"):
        for name, key in ((words.MEDIAN, "median"), (words.P95, "p95"), (words.LONGEST, "longest")):
            Figure(name, reader.number(tokens[key]), words.TOKENS_UNIT)
        Figure(
            words.OVER, reader.number(tokens["over_limit"]), words.ROWS.lower(), term="truncated"
        )
        share = reader.percent(tokens["supervised_share"])
        Figure(words.SUPERVISED_SHARE, share, term="supervised")


def _histogram(looked: Looked, report: Mapping[str, Any]) -> dict[str, Any]:
    """Bars of both kinds, and the line between them."""
    limit, steps = looked.recipe.max_length, report["histogram"]
    width = steps[0]["last"] - steps[0]["first"] + 1
    bars = []
    for name, colour, chosen in (
        (words.FITS, COLOURS[0], [step for step in steps if step["first"] <= limit]),
        (words.TOO_LONG, COLOURS[5], [step for step in steps if step["first"] > limit]),
    ):
        bars.append(
            {
                "type": "bar",
                "name": name,
                "x": [(step["first"] + step["last"]) / 2 for step in chosen],
                "y": [step["rows"] for step in chosen],
                "width": width * 0.9,
                "marker": {"color": colour},
                "customdata": [f"{step['first']} - {step['last']}" for step in chosen],
                "hovertemplate": f"%{{customdata}} {words.TOKENS_UNIT}: %{{y}}<extra></extra>",
            }
        )
    layout = {
        "barmode": "overlay",
        "hovermode": "closest",
        "showlegend": bool(report["tokens"]["over_limit"]),
        "margin": {"t": 32},
        "xaxis": {"rangemode": "tozero"},
        **_cut_line(looked, limit, steps[-1]["last"]),
    }
    return figure(bars, x=words.CHART_X, y=words.CHART_Y, layout=layout)


def _cut_line(looked: Looked, limit: int, longest: int) -> dict[str, Any]:
    """The line at the longest row allowed; if it is far off, only a word that says where."""
    text = words.CUT_LINE.format(length=looked.visit.reader.number(limit))
    above: dict[str, Any] = {"yref": "paper", "y": 1, "yanchor": "bottom", "showarrow": False}
    if limit > _FAR * longest:
        far = {"xref": "paper", "x": 1, "xanchor": "right", "text": f"{text} \u2192"}
        return {"annotations": [above | far]}
    line = {"color": COLOURS[1], "width": 2, "dash": "dash"}
    shape = {"type": "line", "x0": limit, "x1": limit, "yref": "paper", "y0": 0, "y1": 1}
    return {
        "shapes": [shape | {"line": line}],
        "annotations": [above | {"x": limit, "text": text}],
    }


def _verdict(looked: Looked, report: Mapping[str, Any]) -> None:
    reader, recipe = looked.visit.reader, looked.recipe
    over = report["tokens"]["over_limit"]
    text = words.SOME_CUT[recipe.too_long] if over else words.ALL_FIT
    said = text.format(
        over=reader.number(over),
        rows=reader.number(sum(step["rows"] for step in report["histogram"])),
        length=reader.number(recipe.max_length),
    )
    note(said, kind="good" if not over else "bad" if recipe.too_long == "error" else "warning")


def _form(looked: Looked) -> None:
    recipe, tells = looked.recipe, looked.visit.tells
    with ui.element("div").classes("gkt-fields"):
        longest = ui.number(
            words.MAX_LENGTH, value=recipe.max_length, min=8, max=131_072, precision=0
        )
        longest.props("outlined dense debounce=700").mark("max-length")
        ways = ui.select(
            dict(words.TOO_LONG_WAYS), value=recipe.too_long, label=words.TOO_LONG_LABEL
        )
        ways.props("outlined dense").mark("too-long")

    async def change(_: Any) -> None:
        if longest.value is not None:
            await looked.change(max_length=int(longest.value), too_long=ways.value)

    for one in (longest, ways):
        one.set_enabled(looked.may_change)
        one.on_value_change(tells(change))

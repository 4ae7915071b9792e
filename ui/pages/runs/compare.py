"""Two or more runs beside each other: curves, settings where they differ, and what came out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from nicegui import ui

from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune.run_result import read_report

from ...api.naming import Shown
from ...api.run_rows import folder_of, run_row
from ...identity.access import Action
from ...live.run_state import SMOOTH_LOSS, RunState
from ...words import runs as words
from ..charts import COLOURS, LOGARITHMIC, chart, figure
from ..data.plain import file_name_of
from ..frame import page
from ..tables import Column, Line, LinesTable
from ..visit import Visit
from ..widgets import card, empty_state, link_button, note

_MOST_RUNS = 8
_MOST_POINTS = 1000
_NAME_SHOWN = 8  # of a data set's long name, to tell apart two files that are called the same
_FIGURES = {  # with digits; None: a share
    "loss": 4, "perplexity": 3, "accuracy": None, "macro_f1": None, "lowest_validation_loss": 4,
}  # fmt: skip
_LESS_IS_BETTER = ("loss", "perplexity", "lowest_validation_loss")
_FOR_EXPERTS: Mapping[str, tuple[str, str, Mapping[str, Any]]] = {
    SMOOTH_LOSS: (words.CHART_SMOOTH, words.AXIS_NATS, LOGARITHMIC),
    "learning_rate": (words.CHART_RATE, words.AXIS_RATE, {"exponentformat": "e"}),
    "grad_norm": (words.CHART_NORM, words.AXIS_NORM, {}),
    "tokens_per_s": (words.CHART_SPEED, words.AXIS_SPEED, {}),
}
"""Of each curve its title, and the name and the look of its axis."""


@dataclass(frozen=True)
class Compared:
    """One of the runs.

    Attributes:
        id, name: The run.
        state: Its curves.
        recipe: Its settings by dotted key.
        measured: On the held-back rows, where it was, and the lowest loss on the validation rows.
    """

    id: str
    name: str
    state: RunState
    recipe: Mapping[str, Any]
    measured: Mapping[str, Any]


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(app, "/compare", title=words.COMPARE_TITLE, needs=Action.VIEW_RUNS, wide=True)
    async def show(visit: Visit, runs: str = "") -> None:
        wanted = list(dict.fromkeys(one for one in runs.split(",") if one))
        ids = wanted[:_MOST_RUNS]
        if len(ids) < 2:
            with empty_state("compare_arrows", words.COMPARE_FEW_TITLE, words.COMPARE_FEW):
                link_button(words.TO_RUNS, "/runs")
            return
        if len(wanted) > len(ids):
            number = visit.reader.number
            left = words.COMPARE_MANY.format(most=number(_MOST_RUNS), count=number(len(wanted)))
            note(left, kind="warning").mark("too-many")
        found = [await _read_run(visit, run_id) for run_id in ids]
        _curves(found)
        _figures(visit, found)
        _differences(found)


async def _read_run(visit: Visit, run_id: str) -> Compared:
    asked = visit.asked(Action.VIEW_RUNS)
    row = await run_row(asked.rows, run_id)
    folder = folder_of(asked.root, run_id)
    async with visit.live.watched(folder) as run:
        state = run.state
    recipe, report = await asyncio.to_thread(_read_files, folder)
    settings = flat(Shown(asked.root).value(recipe))
    path = settings.get("data.path")
    if file_name := await file_name_of(visit, {"path": path}):
        kind, _, name = str(path).partition(":")
        known = words.NAMED_DATA.format(file=file_name, name=name[:_NAME_SHOWN])
        settings["data.path"] = known if kind == "dataset" else file_name
    losses = state.curve("validation_loss").thinned(_MOST_POINTS)[1]
    lowest = min((loss for loss in losses if loss is not None), default=None)
    measured = {**((report or {}).get("tuned") or {}), "lowest_validation_loss": lowest}
    return Compared(run_id, row["name"], state, settings, measured)


def _read_files(folder: RunFolder) -> tuple[dict[str, Any], dict[str, Any] | None]:
    recipe: Any = {}
    if folder.recipe_json.is_file():
        recipe = json.loads(folder.recipe_json.read_text("utf-8"))
    return recipe if isinstance(recipe, dict) else {}, read_report(folder)


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Settings by dotted key."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{before}{key}"
        if isinstance(value, dict) and value and not name.endswith("columns"):
            found |= flat(value, f"{name}.")
        else:
            found[name] = value
    return found


def differences(recipes: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """The settings in which recipes differ, each with what it is in every one of them."""
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    found = []
    for key in keys:
        values = [_text(recipe.get(key)) for recipe in recipes]
        if len(set(values)) > 1 and key != "name":
            found.append((key, values))
    return found


def best_of(name: str, values: Sequence[float | None]) -> set[int]:
    """Which of the figures are the best ones; none if all are alike or only one is there."""
    there = {at: value for at, value in enumerate(values) if value is not None}
    if len(set(there.values())) < 2:
        return set()
    best = min(there.values()) if name in _LESS_IS_BETTER else max(there.values())
    return {at for at, value in there.items() if value == best}


def _curves(found: Sequence[Compared]) -> None:
    with card(words.CURVES, term="loss"):
        with ui.element("div").classes("gkt-halves"):
            for curve, title in (
                ("loss", words.TRAINING_CURVES),
                ("validation_loss", words.VALIDATION_CURVES),
            ):
                _overlaid(found, curve, title)
        with (
            ui.expansion(words.MORE_CURVES).classes("w-full gkt-expansion"),
            ui.element("div").classes("gkt-halves"),
        ):
            for curve, (title, y, axis) in _FOR_EXPERTS.items():
                _overlaid(found, curve, title, y=y, axis=axis)


def _overlaid(
    found: Sequence[Compared],
    curve: str,
    title: str,
    *,
    y: str = words.AXIS_NATS,
    axis: Mapping[str, Any] | None = None,
) -> None:
    """One curve of every run in one chart."""
    data = []
    for place, run in enumerate(found):
        steps, values = run.state.curve(curve).thinned(_MOST_POINTS)
        line = {"color": COLOURS[place % len(COLOURS)], "width": 2}
        mode = "lines+markers" if curve == "validation_loss" else "lines"
        data.append({"type": "scatter", "mode": mode, "name": f"{place + 1}: {run.name}",
                     "x": steps, "y": values, "line": line})  # fmt: skip
    with ui.column().classes("w-full min-w-0"):
        ui.label(title).classes("gkt-label")
        chart(figure(data, x=words.AXIS_STEP, y=y, layout={"yaxis": axis or {}}), label=title)


def _figures(visit: Visit, found: Sequence[Compared]) -> None:
    with card(words.FIGURES, term="held_back"):
        if all(_number(run.measured.get(name)) is None for name in _FIGURES for run in found):
            ui.label(words.NO_REPORTS).classes("gkt-soft")
            return
        table = LinesTable(words.FIGURES, _columns(words.FIGURE_COLUMN, found))
        lines = []
        for name, digits in _FIGURES.items():
            values = [_number(run.measured.get(name)) for run in found]
            if any(value is not None for value in values):
                texts = [
                    visit.reader.percent(value) if digits is None
                    else visit.reader.number(value, digits=digits)
                    for value in values
                ]  # fmt: skip
                for at in best_of(name, values):
                    texts[at] = words.BETTER.format(value=texts[at])
                lines.append(Line(name, (words.FIGURE_NAMES[name], *texts)))
        table.show(lines)


def _differences(found: Sequence[Compared]) -> None:
    with card(words.DIFFERENCES, term="recipe"):
        rows = differences([run.recipe for run in found])
        if not rows:
            ui.label(words.NO_DIFFERENCE).classes("gkt-soft")
            return
        table = LinesTable(words.DIFFERENCES, _columns(words.SETTING_COLUMN, found))
        table.show([Line(key, (key, *values)) for key, values in rows])
    with ui.row().classes("gap-3"):
        for place, run in enumerate(found):
            ui.link(f"{place + 1}: {run.name}", f"/runs/{run.id}")


def _columns(first: str, found: Sequence[Compared]) -> list[Column]:
    return [Column(first), *(Column(f"{at + 1}: {run.name}") for at, run in enumerate(found))]


def _text(value: Any) -> str:
    if value is None:
        return "\u2013"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


__all__ = ["Compared", "best_of", "differences", "flat", "register"]

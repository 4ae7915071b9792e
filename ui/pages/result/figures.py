"""Before and after in figures: the one that anybody understands, and the others for experts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from nicegui import ui

from ...identity.access import Action
from ...words import common
from ...words import result as words
from ..tables import Chip, Column, Line, LinesTable
from ..visit import Visit
from ..widgets import Figure, card, heading, labelled

_FIGURES = {"accuracy": "percent", "macro_f1": "percent", "loss": "number", "perplexity": "number"}
_TERMS = {"accuracy": "accuracy", "macro_f1": "f1", "loss": "loss", "perplexity": "perplexity"}
_PLAIN = ((words.FIGURE_NAMES["accuracy"], "accuracy"), (words.MARGIN, "margin"))
_OF_LABELS = ("precision", "recall", "f1")
_LESS_IS_BETTER = ("loss", "perplexity")


def show_figures(visit: Visit, run_id: str, report: Mapping[str, Any]) -> None:
    """The card with both models' figures."""
    is_labelled = "accuracy" in report["tuned"]
    with card(words.FIGURES, term="held_back"):
        with ui.element("div").classes("gkt-thirds"):
            for name, key in ((words.BEFORE, "base"), (words.AFTER, "tuned")):
                if report.get(key) is not None:
                    _in_front(visit, name, report[key])
        text = words.ACCURACY_TEXT if is_labelled else words.LIKELIHOOD_TEXT
        ui.label(text).classes("gkt-soft max-w-prose")
        _explained(_PLAIN if is_labelled else [(words.LIKELIHOOD, "likelihood")])
        with ui.expansion(words.EXPERTS).classes("w-full gkt-expansion"):
            _all_figures(visit, report)
            if is_labelled:
                _classes(visit, report["tuned"].get("per_class") or {})
            if visit.may(Action.DOWNLOAD):
                with ui.row().classes("gap-4 mt-4"):
                    for text, name in words.FIGURE_FILES.items():
                        ui.link(text, f"/api/v1/runs/{run_id}/files/{name}").props("download")


def right_rows(measures: Mapping[str, Any]) -> int:
    """How many rows got the right label."""
    counts = measures["confusion"]["counts"]
    return sum(counts[place][place] for place in range(len(counts)))


def likelihood(measures: Mapping[str, Any]) -> float:
    """The probability of a token of the right answers: its geometric mean, from the loss."""
    return math.exp(-measures["loss"])


def _in_front(visit: Visit, name: str, measures: Mapping[str, Any]) -> None:
    reader = visit.reader
    if "accuracy" not in measures:
        Figure(name, reader.percent(likelihood(measures)))
        return
    rows = sum(map(sum, measures["confusion"]["counts"]))
    said, bounds = "", measures.get("accuracy_interval")
    if bounds is not None:
        low, high = (reader.percent(bound, digits=0) for bound in bounds)
        right = reader.number(right_rows(measures))
        said = words.RIGHT_OF.format(right=right, rows=reader.number(rows), low=low, high=high)
    Figure(name, reader.percent(measures["accuracy"]), said)


def _all_figures(visit: Visit, report: Mapping[str, Any]) -> None:
    tuned, base = report["tuned"], report.get("base") or {}
    names = [name for name in _FIGURES if tuned.get(name) is not None]
    _explained((words.FIGURE_NAMES[name], _TERMS[name]) for name in names)
    table = LinesTable(words.FIGURES, [Column(name) for name in words.FIGURE_COLUMNS])
    lines = []
    for name in names:
        texts = [_figure(visit, name, values.get(name)) for values in (base, tuned)]
        change = _change(visit, name, base.get(name), tuned[name])
        lines.append(Line(name, (words.FIGURE_NAMES[name], *texts, change)))
    table.show(lines)
    if report.get("compared") is not None:
        ui.label(_compared(visit, report["compared"])).classes("gkt-note max-w-prose mt-2")


def _compared(visit: Visit, compared: Mapping[str, Any]) -> str:
    """How the two models differ row by row, and whether chance would do that."""
    reader, least = visit.reader, 0.001
    chance = reader.percent(max(least, compared["p_value"]))
    return words.COMPARED.format(
        better=reader.number(compared["better"]),
        worse=reader.number(compared["worse"]),
        chance=words.LESS_THAN.format(share=chance) if compared["p_value"] < least else chance,
    )


def _classes(visit: Visit, per_class: Mapping[str, Mapping[str, Any]]) -> None:
    reader = visit.reader
    heading(words.CLASSES, level=3).classes("mt-4")
    _explained(zip(words.CLASS_COLUMNS[1:], _OF_LABELS, strict=False))
    table = LinesTable(words.CLASSES, [Column(name) for name in words.CLASS_COLUMNS])
    lines = []
    for label, one in per_class.items():
        shares = (reader.percent(one[name]) for name in _OF_LABELS)
        lines.append(Line(label, (label, *shares, reader.number(one["support"]))))
    table.show(lines)


def _explained(terms: Iterable[tuple[str, str]]) -> None:
    """Names of figures, each with the button that explains it."""
    with ui.row().classes("gap-x-4 gap-y-0"):
        for name, term in terms:
            labelled(name, term=term)


def _figure(visit: Visit, name: str, value: float | None) -> str:
    if _FIGURES[name] == "percent":
        return visit.reader.percent(value)
    return visit.reader.number(value, digits=3)


def _change(visit: Visit, name: str, before: float | None, after: float) -> str | Chip:
    if before is None:
        return common.NONE
    if before == after:
        return words.SAME
    is_better = (after < before) == (name in _LESS_IS_BETTER)
    size = _figure(visit, name, abs(after - before))
    text = (words.BETTER if is_better else words.WORSE).format(change=size)
    return Chip(text, "good" if is_better else "bad")

"""Whether the held-back rows are enough to rely on the figures, and what to do if they aren't."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from gemma_keras_tune.recipe import DataRecipe

from ...api.naming import Shown
from ...identity.access import Action
from ...words import result as words
from ..visit import Visit
from ..widgets import link_button, note

_WIDEST = 0.2  # between the bounds: ten points to either side


def are_too_few(report: Mapping[str, Any]) -> bool:
    """Whether so few rows were held back that the share of right answers is hardly known.

    Reports of answers that aren't labels have no such share, and those of older versions no bounds.
    """
    bounds = report["tuned"].get("accuracy_interval")
    return bounds is not None and bounds[1] - bounds[0] > _WIDEST


def show_trust(visit: Visit, report: Mapping[str, Any], data: DataRecipe | None) -> None:
    """Says how often the model will be right on new rows, or that nobody can know it yet.

    Args:
        visit: The open page.
        report: The run's report.
        data: What the run was trained on; None if its recipe can't be read.
    """
    bounds = report["tuned"].get("accuracy_interval")
    if bounds is None:
        return
    low, high = (visit.reader.percent(bound, digits=0) for bound in bounds)
    if not are_too_few(report):
        ui.label(words.ENOUGH_ROWS.format(low=low, high=high)).classes("max-w-prose").mark("trust")
        return
    text = words.FEW_ROWS.format(rows=visit.reader.number(report["rows"]), low=low, high=high)
    with note(text, kind="warning").classes("gkt-asks").mark("trust"):
        if visit.may(Action.UPLOAD_DATA):
            link_button(words.MORE_ROWS, "/data").props("outline")
        place = _split_page(visit, data)
        if place and visit.may(Action.SUBMIT_TRAIN):
            link_button(words.HOLD_MORE_BACK, place).props("outline").mark("hold-more-back")


def _split_page(visit: Visit, data: DataRecipe | None) -> str:
    """Where it is said how many rows are held back; empty if they come from a file of their own."""
    if data is None or data.test_path is not None:
        return ""
    kind, _, name = Shown(visit.parts.settings.root).text(data.path).partition(":")
    return f"/data/{name}?tab=split" if kind == "dataset" else ""

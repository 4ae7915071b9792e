"""The model before and after, on rows that the training never saw."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from nicegui import ui
from sqlalchemy.engine import RowMapping

from gemma_keras_tune.run_result import read_report

from ...api.naming import Shown
from ...api.run_rows import folder_of, run_row
from ...api.submitting import Wanted, submit
from ...identity.access import Action
from ...words import common
from ...words import result as words
from ..frame import page
from ..run_tabs import run_tabs
from ..tables import Chip, Column, Line, LinesTable
from ..visit import Visit
from ..widgets import card, empty_state, heading, link_button, note, primary
from .confusion import Confusion
from .rows import Rows

_FIGURES = {"accuracy": "percent", "macro_f1": "percent", "loss": "number", "perplexity": "number"}
_LESS_IS_BETTER = ("loss", "perplexity")
_LOOK_S = 3.0


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(app, "/runs/{run_id}/result", title=words.TITLE, needs=Action.VIEW_RUNS, wide=True)
    async def show(visit: Visit, run_id: str) -> None:
        asked = visit.asked(Action.VIEW_RUNS)
        row = await run_row(asked.rows, run_id)
        run_tabs(visit, row, at="/result")
        folder = folder_of(asked.root, run_id)
        report = await asyncio.to_thread(read_report, folder)
        if report is None:
            _nothing_yet(visit, row)
            return
        shown = Shown(asked.root).value(report)
        _verdict(visit, shown)
        _figures(visit, shown)
        if shown["tuned"].get("confusion"):
            rows = Rows(visit, folder, is_labelled=True)
            _classes(visit, shown["tuned"]["per_class"])
            Confusion(visit, shown, on_cell=rows.show_cell)
        else:
            rows = Rows(visit, folder, is_labelled=False)
        rows.build()
        _samples(shown.get("samples") or [])
        _next(visit, row)
        await rows.start()


def _nothing_yet(visit: Visit, row: RowMapping) -> None:
    with empty_state("fact_check", words.NONE_TITLE, words.NONE_TEXT):
        if row["state"] == "done" and visit.may(Action.SUBMIT_EVALUATE):
            primary(words.MEASURE, visit.tells(lambda: _measure(visit, row["id"])))

    async def look() -> None:
        asked = await visit.asked_now(Action.VIEW_RUNS)
        folder = folder_of(asked.root, row["id"])
        if await asyncio.to_thread(folder.report_json.is_file):
            ui.navigate.reload()

    ui.timer(_LOOK_S, visit.tells(look))


async def _measure(visit: Visit, run_id: str) -> None:
    await submit(visit.asked(Action.SUBMIT_EVALUATE), Wanted(kind="evaluate", run=run_id, args={}))
    ui.notify(words.MEASURING)


def verdict(report: Mapping[str, Any]) -> tuple[str, str, bool | None]:
    """What the figures say: a key of the words, its kind, and whether it is more than chance.

    Of two shares of the same rows, the difference is taken for more than chance where it is larger
    than twice its standard error, as if the two had been measured on different rows: that errs on
    the careful side. Of a loss nothing is said about chance.
    """
    tuned, base = report["tuned"], report.get("base")
    if base is None:
        return "VERDICT_ALONE", "info", None
    if "accuracy" not in tuned:
        is_better = tuned["loss"] < base["loss"]
        key = "VERDICT_LOSS_BETTER" if is_better else "VERDICT_LOSS_WORSE"
        return key, "good" if is_better else "bad", None
    change, rows = tuned["accuracy"] - base["accuracy"], max(1, int(report["rows"]))
    spread = sum(share * (1 - share) / rows for share in (tuned["accuracy"], base["accuracy"]))
    if change == 0:
        return "VERDICT_SAME", "info", None
    is_sure = abs(change) > 2 * math.sqrt(spread)
    return ("VERDICT_BETTER", "good", is_sure) if change > 0 else ("VERDICT_WORSE", "bad", is_sure)


def _verdict(visit: Visit, report: Mapping[str, Any]) -> None:
    key, kind, is_sure = verdict(report)
    reader, tuned, base = visit.reader, report["tuned"], report.get("base") or {}
    if "accuracy" in tuned and base:
        values = {"tuned": reader.percent(tuned["accuracy"]),
                  "base": reader.percent(base["accuracy"])}  # fmt: skip
    else:
        values = {"tuned": reader.number(tuned["loss"], digits=3),
                  "base": reader.number(base.get("loss"), digits=3)}  # fmt: skip
    rows = reader.number(report["rows"])
    lines = [getattr(words, key).format(**values), words.ROWS.format(rows=rows)]
    if is_sure is not None:
        lines.append((words.SURE if is_sure else words.UNSURE).format(rows=rows))
    for count, text in (("shortened", words.SHORTENED), ("dropped", words.DROPPED)):
        if report.get(count):
            lines.append(text.format(count=reader.number(report[count])))
    note(" ".join(lines), kind=kind).mark("verdict")


def _figures(visit: Visit, report: Mapping[str, Any]) -> None:
    tuned, base = report["tuned"], report.get("base") or {}
    with card(words.FIGURES, term="held_back"):
        table = LinesTable(words.FIGURES, [Column(name) for name in words.FIGURE_COLUMNS])
        lines = []
        for name, form in _FIGURES.items():
            if tuned.get(name) is None:
                continue
            texts = [_figure(visit, form, values.get(name)) for values in (base, tuned)]
            change = _change(visit, name, form, base.get(name), tuned[name])
            lines.append(Line(name, (words.FIGURE_NAMES[name], *texts, change)))
        table.show(lines)


def _figure(visit: Visit, form: str, value: float | None) -> str:
    if form == "percent":
        return visit.reader.percent(value)
    return visit.reader.number(value, digits=3)


def _change(visit: Visit, name: str, form: str, before: float | None, after: float) -> str | Chip:
    if before is None:
        return common.NONE
    if before == after:
        return words.SAME
    is_better = (after < before) == (name in _LESS_IS_BETTER)
    size = _figure(visit, form, abs(after - before))
    text = (words.BETTER if is_better else words.WORSE).format(change=size)
    return Chip(text, "good" if is_better else "bad")


def _classes(visit: Visit, per_class: Mapping[str, Mapping[str, Any]]) -> None:
    reader = visit.reader
    with card(words.CLASSES, term="f1"):
        table = LinesTable(words.CLASSES, [Column(name) for name in words.CLASS_COLUMNS])
        table.show(
            [
                Line(
                    label,
                    (
                        label,
                        *(reader.percent(one[name]) for name in ("precision", "recall", "f1")),
                        reader.number(one["support"]),
                    ),
                )
                for label, one in per_class.items()
            ]
        )


def _next(visit: Visit, row: RowMapping) -> None:
    """Ways on from here, for those who may train."""
    if not visit.may(Action.SUBMIT_TRAIN):
        return
    with card(words.NEXT):
        ui.label(words.NEXT_HELP).classes("gkt-soft")
        with ui.row().classes("gap-2"):
            again = f"/configure?run={quote(row['id'])}"
            link_button(words.FURTHER, f"{again}&further=yes").mark("train-further")
            link_button(words.ANEW, again).props("outline")


def _samples(samples: list[Mapping[str, Any]]) -> None:
    if not samples:
        return
    with card(words.SAMPLES, term="tuned_model"):
        for sample in samples:
            with ui.column().classes("w-full gap-2 gkt-sample"):
                heading(words.QUESTION, level=3)
                ui.label(sample["prompt"]).classes("gkt-multiline gkt-quote").props("tabindex=0")
                with ui.element("div").classes("gkt-thirds"):
                    for title, text in (
                        (words.EXPECTED, sample["expected"]),
                        (words.ANSWER_BASE, _said(sample.get("base"))),
                        (words.ANSWER_TUNED, _said(sample.get("tuned"))),
                    ):
                        with ui.column().classes("gap-0 min-w-0"):
                            ui.label(title).classes("gkt-label")
                            ui.label(text).classes("gkt-multiline")


def _said(answer: Mapping[str, Any] | None) -> str:
    if answer is None:
        return common.NONE
    cut = f" {words.CUT}" if answer.get("stop_reason") == "length" else ""
    return f"{answer['text']}{cut}"

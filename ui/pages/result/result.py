"""The model before and after, on rows that the training never saw."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from nicegui import ui
from sqlalchemy.engine import RowMapping

from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune.run_result import read_report

from ...api.naming import Shown
from ...api.run_rows import folder_of, recipe_of, run_row
from ...api.submitting import Wanted, submit
from ...identity.access import Action
from ...words import common
from ...words import result as words
from ..data.plain import MISSPELT, plain
from ..frame import page
from ..run_tabs import run_tabs
from ..visit import Visit
from ..widgets import card, empty_state, heading, link_button, note, primary
from .confusion import Confusion
from .figures import likelihood, right_rows, show_figures
from .rows import Rows
from .trust import are_too_few, show_trust

_SURE = 0.05  # differences that chance makes more rarely than this are told as such
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
        recipe = await asyncio.to_thread(recipe_of, folder)
        _verdict(visit, shown)
        show_trust(visit, shown, None if recipe is None else recipe.data)
        await _tell_labels(visit, folder)
        show_figures(visit, run_id, shown)
        is_labelled = bool(shown["tuned"].get("confusion"))
        has_wrong = is_labelled and right_rows(shown["tuned"]) < shown["rows"]
        rows = Rows(visit, folder, is_labelled=is_labelled, has_wrong=has_wrong)
        if is_labelled:
            Confusion(visit, shown, on_cell=rows.show_cell)
        rows.build()
        _samples(shown.get("samples") or [], is_labelled=is_labelled)
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
    """What the figures say: which of the verdicts, its kind, and whether it is more than chance.

    One model is only called better where the sign test on the same rows says that chance alone
    would rarely bring it about, and to the same side. Reports of older versions have no test.
    """
    tuned, base, compared = report["tuned"], report.get("base"), report.get("compared")
    if base is None:
        return "alone", "info", None
    change = (
        tuned["accuracy"] - base["accuracy"]
        if "accuracy" in tuned
        else base["loss"] - tuned["loss"]
    )
    if change == 0:
        return "same", "info", None
    if compared is None:
        return "changed", "info", None
    agrees = (compared["better"] > compared["worse"]) == (change > 0)
    if compared["p_value"] >= _SURE or not agrees:
        return "changed", "info", False
    return ("better", "good", True) if change > 0 else ("worse", "bad", True)


def _verdict(visit: Visit, report: Mapping[str, Any]) -> None:
    which, kind, is_sure = verdict(report)
    reader, tuned, base = visit.reader, report["tuned"], report.get("base")
    rows = reader.number(report["rows"])
    if "accuracy" in tuned:
        said = words.VERDICTS_LABELS[which]
        values = [reader.number(one and right_rows(one)) for one in (tuned, base)]
    else:
        said = words.VERDICTS_ANSWERS[which]
        values = [reader.percent(one and likelihood(one)) for one in (tuned, base)]
    lines = [said.format(tuned=values[0], base=values[1], rows=rows)]
    if is_sure is not None:
        lines.append(words.SURE if is_sure else words.UNSURE.format(rows=rows))
        needed = (report.get("compared") or {}).get("rows_to_tell")
        if needed is not None and not is_sure:
            lines.append(words.ROWS_TO_TELL.format(rows=reader.number(needed)))
            if not are_too_few(report):  # else it is said below
                lines.append(words.HOW_TO_GET_THEM)
    if "accuracy" not in tuned:
        lines.append(words.ROWS.format(rows=rows))
    for count, text in (("shortened", words.SHORTENED), ("dropped", words.DROPPED)):
        if report.get(count):
            lines.append(text.format(count=reader.number(report[count])))
    note(" ".join(lines), kind=kind).mark("verdict")


async def _tell_labels(visit: Visit, folder: RunFolder) -> None:
    """That the run learned labels apart which may be one, as its events say."""
    live = visit.live.enter(folder)
    try:
        await live.is_whole.wait()
        said = {code: message for code, message in live.state.remarks if code in MISSPELT}
    finally:
        visit.live.leave(live)
    for message in said.values():
        told = plain(visit.without_paths(message), file_name="").text
        note(words.LABELS_APART.format(what=told), kind="warning").mark("labels")


def _next(visit: Visit, row: RowMapping) -> None:
    """Ways on from here, for those who may go them."""
    run = f"/runs/{quote(row['id'])}"
    uses = [
        (words.TRY, f"{run}/playground", "forum", Action.SUBMIT_GENERATE),
        (words.TABLE, f"{run}/table", "table_chart", Action.SUBMIT_GENERATE),
        (words.EXPORT, f"{run}/export", "download", Action.VIEW_ARTIFACTS),
    ]
    with card(words.NEXT):
        ui.label(words.USE_HELP).classes("gkt-soft")
        with ui.row().classes("gap-2"):
            for text, target, icon, action in uses:
                if visit.may(action):
                    link_button(text, target, icon=icon)
        if visit.may(Action.SUBMIT_TRAIN):
            ui.label(words.NEXT_HELP).classes("gkt-soft")
            with ui.row().classes("gap-2"):
                again = f"/configure?run={quote(row['id'])}"
                further = link_button(words.FURTHER, f"{again}&further=yes").props("outline")
                further.mark("train-further")
                link_button(words.ANEW, again).props("outline")


def _samples(samples: list[Mapping[str, Any]], *, is_labelled: bool) -> None:
    if not samples:
        return
    with card(words.SAMPLES, term="tuned_model"):
        if is_labelled:
            ui.label(words.SAMPLES_TEXT).classes("gkt-soft max-w-prose")
        for sample in samples:
            with ui.column().classes("w-full gap-2 gkt-sample"):
                heading(words.TEXT if is_labelled else words.QUESTION, level=3)
                ui.label(sample["prompt"]).classes("gkt-multiline gkt-quote").props("tabindex=0")
                with ui.element("div").classes("gkt-thirds"):
                    with _titled(words.RIGHT_LABEL if is_labelled else words.EXPECTED):
                        ui.label(sample["expected"]).classes("gkt-multiline")
                    _answer(words.ANSWER_BASE, sample.get("base"), sample["expected"])
                    _answer(words.ANSWER_TUNED, sample.get("tuned"), sample["expected"])


@contextmanager
def _titled(title: str) -> Iterator[None]:
    with ui.column().classes("gap-0 min-w-0"):
        ui.label(title).classes("gkt-label")
        yield


def _answer(title: str, answer: Mapping[str, Any] | None, expected: str) -> None:
    label = None if answer is None else answer.get("predicted")
    with _titled(title):
        if answer is None or label is None:
            ui.label(_said(answer)).classes("gkt-multiline")
            return
        is_right = label == expected
        said = words.COUNTED_RIGHT if is_right else words.COUNTED_WRONG
        chip = ui.label(said.format(label=label)).classes("gkt-chip")
        chip.classes("gkt-good" if is_right else "gkt-bad")
        if answer["text"].strip() != label:
            written = ui.label(words.WRITTEN.format(text=_said(answer)))
            written.classes("gkt-note gkt-multiline mt-1")


def _said(answer: Mapping[str, Any] | None) -> str:
    if answer is None:
        return common.NONE
    cut = f" {words.CUT}" if answer.get("stop_reason") == "length" else ""
    return f"{answer['text']}{cut}"

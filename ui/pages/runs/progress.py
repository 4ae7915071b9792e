"""How far a run is: its stage, its bar, the time left, and the figures that matter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from nicegui import ui

from ...live.broadcast import LiveRun
from ...live.run_state import TRAINING, RunState
from ...live.standing import Standing
from ...reader import Reader
from ...words import data as data_words
from ...words import runs as words
from ..data.plain import plain
from ..live_news import LiveBar, LiveNews, LiveText
from ..visit import Visit
from ..widgets import Figure, card, note

_NEARLY_S = 1.0  # less time left than that isn't counted

_FIGURES: Mapping[str, tuple[str, str]] = {
    "steps": (words.STEPS, "step"),
    "loss": (words.LOSS, "loss"),
    "validation": (words.VALIDATION, "validation"),
    "speed": (words.SPEED, "tokens_per_s"),
    "memory": (words.MEMORY, ""),
    "storage": (words.STORAGE, "checkpoint"),
}


class Progress:
    """The part of the page at its top.

    Args:
        visit: The open page.
        live: The run.
        news: What sends the page what is new.
        file_name: What people call the file that the run learns from.
    """

    def __init__(self, visit: Visit, live: LiveRun, news: LiveNews, file_name: str) -> None:
        self._visit, self._live, self._file_name = visit, live, file_name
        self._error = note("", kind="bad")
        self._error.set_visibility(False)
        self._error_text = _label_of(self._error)
        with card(words.PROGRESS):
            with ui.column().classes("w-full gap-0"):
                self._stage = LiveText(news).classes("font-semibold").mark("stage")
                self._detail = LiveText(news).classes("gkt-note gkt-detail")
            self._bar = LiveBar(news, words.PROGRESS)
            with ui.element("div").classes("gkt-figures gkt-steady"):
                self._figures = {
                    key: Figure(name, term=term, text=partial(LiveText, news))
                    for key, (name, term) in _FIGURES.items()
                }

    def show(self) -> None:
        """Puts in how the run stands now."""
        shown = self._live.once(("progress", self._visit.reader), self._make)
        self._stage.text, self._detail.text, self._bar.value = (
            shown.stage,
            shown.detail,
            shown.share,
        )
        for key, (value, below) in shown.figures.items():
            self._figures[key].show(value, below)
        if self._error_text.text != shown.error:
            self._error_text.text = shown.error
            self._error.set_visibility(bool(shown.error))

    def _make(self) -> _Shown:
        state, standing, reader = self._live.state, self._live.standing, self._visit.reader
        stage, share = _stage_of(state, standing, reader)
        return _Shown(
            stage=stage,
            share=share,
            detail=_detail_of(state, reader, is_at_work=standing.is_at_work),
            error=self._error_of(state, standing),
            figures=_figures_of(state, standing.row, reader),
        )

    def _error_of(self, state: RunState, standing: Standing) -> str:
        job = standing.job
        if standing.row["state"] != "failed" and (job is None or job.state != "quarantined"):
            return ""
        message = state.message or (job.message if job is not None else "") or ""
        told = plain(self._visit.without_paths(message), file_name=self._file_name).text
        details = f"\n{data_words.CODES.format(codes=state.code)}" if state.code else ""
        return f"{told}{details}".strip()


@dataclass(frozen=True)
class _Shown:
    """What readers with the same locale and time zone are shown, whoever they are."""

    stage: str
    share: float
    detail: str
    error: str
    figures: Mapping[str, tuple[str, str]]


def _stage_of(state: RunState, standing: Standing, reader: Reader) -> tuple[str, float]:
    job, is_at_work = standing.job, standing.is_at_work
    share = state.step / state.total_steps if state.total_steps else 0.0
    if is_at_work and state.is_paused:
        return words.PAUSED, share
    if is_at_work:
        if state.stage not in TRAINING and state.total:
            share = state.done / state.total
        return _work_of(state), min(1.0, share)
    if job is not None and job.state == "queued":
        text = words.WAITING.format(ahead=reader.number(standing.ahead))
        return (text if standing.ahead else words.WAITING_NEXT), share
    if job is not None and job.state == "paused":
        return words.STOPPED, share
    if job is not None:
        return words.STARTING, share
    ends = {"done": (words.DONE, 1.0), "stopped": (words.STOPPED, share),
            "failed": (words.FAILED, share), "died": (words.DIED, share)}  # fmt: skip
    return ends.get(standing.row["state"], (words.STAGES[""], share))


def _work_of(state: RunState) -> str:
    """What a run at work does now."""
    if not state.stage:
        return words.STARTING
    if state.stage == "training" and state.is_preparing:
        return words.FIRST_STEP
    if state.stage == "training" and state.step >= state.total_steps:
        return words.SAVING
    return words.STAGES.get(state.stage, state.stage)


def _detail_of(state: RunState, reader: Reader, *, is_at_work: bool) -> str:
    parts = []
    if state.total_steps:
        step, total = reader.number(state.step), reader.number(state.total_steps)
        parts.append(words.STEP_OF.format(step=step, total=total))
        number = max(1, math.ceil(state.epoch))
        share = reader.percent(state.epoch - (number - 1), digits=0)
        parts.append(words.EPOCH.format(share=share, number=reader.number(number)))
    if is_at_work and not state.is_paused and state.seconds_left is not None:
        parts.append(_left(state.seconds_left, reader, trains=state.stage in TRAINING))
    return " \u00b7 ".join(parts)


def _left(seconds: float, reader: Reader, *, trains: bool) -> str:
    if seconds < _NEARLY_S:
        return words.NEARLY_DONE
    left = words.TRAINING_LEFT if trains else words.LEFT
    return left.format(time=reader.duration(round(seconds)))


def _figures_of(
    state: RunState, row: Mapping[str, Any], reader: Reader
) -> Mapping[str, tuple[str, str]]:
    """Each figure and the line below it."""
    load, measured = state.load, state.curve("validation_loss")
    total = words.OF.format(total=reader.number(state.total_steps))
    best = min((y for y in measured.since(0)[1] if y is not None), default=None)
    lowest = "" if best is None else words.BEST.format(value=reader.number(best, digits=4))
    device = load.get("device_bytes")
    used, peak = load.get("rss_bytes"), load.get("peak_rss_bytes")
    if device:
        used, peak = device, load.get("peak_device_bytes")
    most = words.PEAK.format(size=reader.size(peak)) if peak else ""
    return {
        "steps": (reader.number(state.step), total if state.total_steps else ""),
        "loss": (reader.number(state.curve("loss").last, digits=4), ""),
        "validation": (reader.number(measured.last, digits=4), lowest),
        "speed": (reader.number(state.curve("tokens_per_s").last), ""),
        "memory": (reader.size(used), most),
        "storage": (reader.size(row["size"]), ""),
    }


def _label_of(row: ui.row) -> ui.label:
    return next(one for one in row.descendants() if isinstance(one, ui.label))

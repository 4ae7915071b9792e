"""How far a run is: its stage, its bar, the time left, and the figures that matter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from ...live.run_state import RunState
from ...live.standing import Standing
from ...words import runs as words
from ..visit import Visit
from ..widgets import Figure, card, note


class Progress:
    """The part of the page at its top.

    Args:
        visit: The open page.
    """

    def __init__(self, visit: Visit) -> None:
        self._reader, self._visit = visit.reader, visit
        self._error = note("", kind="bad")
        self._error_text = _label_of(self._error)
        with card(words.PROGRESS):
            with ui.row().classes("w-full items-baseline justify-between gap-x-4 gap-y-0"):
                self._stage = ui.label().classes("font-semibold").mark("stage")
                self._detail = ui.label().classes("gkt-note")
            self._bar = ui.linear_progress(0, show_value=False, size="0.75rem").props(
                f'rounded aria-label="{words.PROGRESS}"'
            )
            with ui.element("div").classes("gkt-figures"):
                self._steps = Figure(words.STEPS, term="step")
                self._loss = Figure(words.LOSS, term="loss")
                self._validation = Figure(words.VALIDATION, term="validation")
                self._speed = Figure(words.SPEED, term="tokens_per_s")
                self._memory = Figure(words.MEMORY)
                self._storage = Figure(words.STORAGE, term="checkpoint")
        self._best: float | None = None

    def show(self, state: RunState, standing: Standing) -> None:
        """Puts in how the run stands now."""
        row = standing.row
        text, share = self._words_of(state, standing)
        _put(self._stage, text)
        _put(self._detail, self._detail_of(state, is_at_work=standing.is_at_work))
        if self._bar.value != share:
            self._bar.value = share
        self._show_error(state, standing)
        self._show_figures(state, row)

    def _words_of(self, state: RunState, standing: Standing) -> tuple[str, float]:
        job, is_at_work = standing.job, standing.is_at_work
        share = state.step / state.total_steps if state.total_steps else 0.0
        if is_at_work and state.is_paused:
            return words.PAUSED, share
        if is_at_work:
            text = words.STAGES.get(state.stage, state.stage)
            if state.stage != "training" and state.total:
                share = state.done / state.total
            return text, min(1.0, share)
        if job is not None and job.state == "queued":
            text = words.WAITING.format(ahead=self._reader.number(standing.ahead))
            return (text if standing.ahead else words.WAITING_NEXT), share
        if job is not None:
            return words.STARTING, share
        ends = {"done": (words.DONE, 1.0), "stopped": (words.STOPPED, share),
                "failed": (words.FAILED, share), "died": (words.DIED, share)}  # fmt: skip
        return ends.get(standing.row["state"], (words.STAGES[""], share))

    def _detail_of(self, state: RunState, *, is_at_work: bool) -> str:
        reader, parts = self._reader, []
        if state.total_steps:
            step, total = reader.number(state.step), reader.number(state.total_steps)
            parts.append(words.STEP_OF.format(step=step, total=total))
            parts.append(words.EPOCH.format(epoch=reader.number(state.epoch, digits=2)))
        left = state.seconds_left
        if left is None and state.stage == "training" and state.seconds_a_step is not None:
            left = (state.total_steps - state.step) * state.seconds_a_step
        if is_at_work and not state.is_paused and left is not None:
            parts.append(words.LEFT.format(time=reader.duration(left)))
        return " \u00b7 ".join(parts)

    def _show_error(self, state: RunState, standing: Standing) -> None:
        row, job = standing.row, standing.job
        failed = row["state"] == "failed" or (job is not None and job.state == "quarantined")
        text = ""
        if failed:
            told = state.message or (job.message if job is not None else "") or ""
            code = f" ({state.code})" if state.code else ""
            text = self._visit.without_paths(f"{told}{code}".strip())
        _put(self._error_text, text)
        self._error.set_visibility(bool(text))

    def _show_figures(self, state: RunState, row: Mapping[str, Any]) -> None:
        reader, load = self._reader, state.load
        steps = reader.number(state.step)
        total = words.OF.format(total=reader.number(state.total_steps))
        self._steps.show(steps, total if state.total_steps else "")
        self._loss.show(reader.number(state.curve("loss").last, digits=4))
        measured = state.curve("validation_loss")
        best = min((y for y in measured.since(0)[1] if y is not None), default=None)
        lowest = "" if best is None else words.BEST.format(value=reader.number(best, digits=4))
        self._validation.show(reader.number(measured.last, digits=4), lowest)
        self._speed.show(reader.number(state.curve("tokens_per_s").last))
        device = load.get("device_bytes")
        used, peak = load.get("rss_bytes"), load.get("peak_rss_bytes")
        if device:
            used, peak = device, load.get("peak_device_bytes")
        most = words.PEAK.format(size=reader.size(peak)) if peak else ""
        self._memory.show(reader.size(used), most)
        self._storage.show(reader.size(row["size"]))


def _put(label: ui.label, text: str) -> None:
    if label.text != text:
        label.text = text


def _label_of(row: ui.row) -> ui.label:
    return next(one for one in row.descendants() if isinstance(one, ui.label))

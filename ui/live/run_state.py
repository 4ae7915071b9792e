"""How a run stands, from its events: its curves, and the newest of everything else."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .curves import Curve

STEP_CURVES = ("loss", "learning_rate", "grad_norm", "tokens_per_s")
"""Of every optimizer step; x is the number of the step."""

SMOOTH_LOSS = "smooth_loss"
"""The mean loss of the steps so far; each weighs nine tenths of the one after it."""

MEASURED_CURVES = ("validation_loss", "perplexity", "accuracy", "macro_f1")
"""Of every measurement on the validation rows."""

LOAD_CURVES = (
    "cpu_percent",
    "machine_cpu_percent",
    "rss_bytes",
    "device_bytes",
    "device_percent",
)
"""Of the machine; x is the time in seconds since 1970."""

JOURNALED = (
    *("run_started", "stage_started", "stage_ended", "validation", "checkpoint", "rolled_back"),
    *("control_applied", "control_refused", "warning", "note", "run_ended"),
)
"""Kinds of events that a person reads as lines of a log."""

TRAINING = ("training", "validation")
"""Stages of the training: its steps, and measuring between them."""

_OLDER = 0.9  # what a step weighs in the smoothed loss beside the one after it
_MOST_LINES = 300
_MOST_SAMPLES = 200
_MOST_REMARKS = 100


@dataclass(frozen=True)
class SampleSeen:
    """What the model answered to a prompt after so many steps."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True)
class Mark:
    """Something that happened at a step, to be marked on the curves.

    Attributes:
        step: The step.
        kind: `set`, `pause`, `resume`, `checkpoint` or `rolled_back`.
        text: Which setting was changed, or which step was undone.
        value: To what the setting was changed.
    """

    step: int
    kind: str
    text: str
    value: Any = None


@dataclass
class RunState:
    """What is known of a run. `hear` takes its events in the order in which they were written.

    Attributes:
        curves: By name; a classification also has `confidence:LABEL`.
        step: Optimizer steps done.
        total_steps: Of so many; 0 if unknown.
        epoch: Passes over the rows.
        stage: What it does now.
        done, total: How far that stage is.
        seconds_left: Until the end of that stage, or of the training.
        is_preparing: Whether the training's first step is still to come in this attempt.
        is_paused: Whether it waits between two steps.
        status: "" while it works; then `done`, `stopped` or `failed`, with `code` and `message`.
        load: The newest figures of the machine.
        samples, marks, remarks: The newest ones.
        journal: The newest events of the kinds `JOURNALED`.
        changed: What settings were changed to while it worked.
        refused: The newest command that was not carried out, and why.
        answered: Ids of the commands that were answered.
        changes: Rises with each event.
    """

    curves: dict[str, Curve] = field(default_factory=dict)
    step: int = 0
    total_steps: int = 0
    epoch: float = 0.0
    stage: str = ""
    done: float = 0.0
    total: float = 0.0
    seconds_left: float | None = None
    is_preparing: bool = True
    is_paused: bool = False
    has_started: bool = False
    status: str = ""
    code: str = ""
    message: str = ""
    device: str = ""
    load: dict[str, Any] = field(default_factory=dict)
    samples: list[SampleSeen] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)
    journal: deque[Mapping[str, Any]] = field(default_factory=lambda: deque(maxlen=_MOST_LINES))
    changed: dict[str, Any] = field(default_factory=dict)
    refused: tuple[str, str] | None = None
    answered: set[str] = field(default_factory=set)
    changes: int = 0
    _told_at: float | None = field(default=None, init=False, repr=False)

    def curve(self, name: str) -> Curve:
        """The curve of that name, empty if nothing was told of it."""
        if name not in self.curves:
            self.curves[name] = Curve()
        return self.curves[name]

    def hear(self, kind: str, said: Mapping[str, Any]) -> None:
        """Takes in one event; of kinds that it doesn't know, nothing."""
        self.changes += 1
        if kind in JOURNALED:
            self.journal.append({**said, "kind": kind})
        handler = getattr(self, f"_on_{kind}", None)
        if handler is not None:
            handler(said)

    def _on_run_started(self, said: Mapping[str, Any]) -> None:
        self.status = self.code = self.message = ""
        self.has_started, self.is_paused, self.stage = True, False, ""
        self.device = str(said.get("device", ""))
        self._go_back_to(int(said.get("resumed_from", 0)))

    def _on_rolled_back(self, said: Mapping[str, Any]) -> None:
        self._go_back_to(int(said["step"]))
        self._mark(said["step"], "rolled_back", f"{said['bad_step']}")

    def _go_back_to(self, step: int) -> None:
        """Forgets what comes after a step: it is done again."""
        for name, curve in self.curves.items():
            if name not in LOAD_CURVES:
                curve.cut_after(step)
        self.samples = [sample for sample in self.samples if sample.step <= step]
        self.marks = [mark for mark in self.marks if mark.step <= step]
        self.step = step

    def _on_stage_started(self, said: Mapping[str, Any]) -> None:
        self.stage, self.done, self.total, self.seconds_left = str(said["stage"]), 0.0, 0.0, None
        self.is_preparing = True

    def _on_progress(self, said: Mapping[str, Any]) -> None:
        self.stage = str(said["stage"])
        self.done, self.total = _number(said["done"]) or 0.0, _number(said["total"]) or 0.0
        if self.stage == "validation":  # the training's time goes on
            self._go_on_to(said)
        else:
            self._tell_left(said)

    def _tell_left(self, said: Mapping[str, Any]) -> None:
        self.seconds_left = _number(said.get("seconds_left"))
        self._told_at = _seconds(said.get("time"))

    def _go_on_to(self, said: Mapping[str, Any]) -> None:
        """Takes off the time since what was last told of the time left."""
        now, left = _seconds(said.get("time")), self.seconds_left
        if now is not None and self._told_at is not None and left is not None:
            self.seconds_left = max(0.0, left - (now - self._told_at) * (not self.is_paused))
        self._told_at = now

    def _on_step(self, said: Mapping[str, Any]) -> None:
        self.stage, self.is_preparing = "training", False
        self.step, self.total_steps = int(said["step"]), int(said["total_steps"])
        self.epoch = _number(said["epoch"]) or 0.0
        self._tell_left(said)
        for name in STEP_CURVES:
            self.curve(name).add(self.step, _number(said[name]))
        if (loss := _number(said["loss"])) is not None:
            smooth = self.curve(SMOOTH_LOSS)
            before = loss if smooth.last is None else smooth.last
            share = (1 - _OLDER) / (1 - _OLDER ** (len(smooth) + 1))  # of all weights so far
            smooth.add(self.step, before + (loss - before) * share)

    def _on_validation(self, said: Mapping[str, Any]) -> None:
        self.stage = "training"
        self._go_on_to(said)
        step = int(said["step"])
        values = {**said, "validation_loss": said["loss"]}
        for name in MEASURED_CURVES:
            if values.get(name) is not None:
                self.curve(name).add(step, _number(values[name]))
        for label, value in (said.get("confidence") or {}).items():
            self.curve(f"confidence:{label}").add(step, _number(value))

    def _on_load(self, said: Mapping[str, Any]) -> None:
        self.load = dict(said)
        self._go_on_to(said)  # it comes every few seconds, also while nothing else does
        at = _seconds(said.get("time"))
        for name in LOAD_CURVES:
            if at is not None and said.get(name) is not None:
                self.curve(name).add(at, _number(said[name]))

    def _on_checkpoint(self, said: Mapping[str, Any]) -> None:
        if said["reason"] in ("asked", "pause", "stop"):
            self._mark(said["step"], "checkpoint", "")

    def _on_sample(self, said: Mapping[str, Any]) -> None:
        self.samples.append(SampleSeen(int(said["step"]), str(said["prompt"]), str(said["text"])))
        del self.samples[:-_MOST_SAMPLES]

    def _on_control_applied(self, said: Mapping[str, Any]) -> None:
        self.answered.add(str(said["id"]))
        command = str(said["command"])
        self.is_paused = {"pause": True, "resume": False}.get(command, self.is_paused)
        if command == "set":
            self.changed[str(said.get("key"))] = said.get("value")
            self._mark(said["step"], "set", str(said.get("key")), said.get("value"))
        elif command in ("pause", "resume"):
            self._mark(said["step"], command, "")

    def _on_control_refused(self, said: Mapping[str, Any]) -> None:
        self.answered.add(str(said["id"]))
        self.refused = str(said["id"]), str(said["reason"])

    def _on_warning(self, said: Mapping[str, Any]) -> None:
        self.remarks.append((str(said["code"]), str(said["message"])))
        del self.remarks[:-_MOST_REMARKS]

    def _on_run_ended(self, said: Mapping[str, Any]) -> None:
        self.status, self.is_paused, self.seconds_left = str(said["status"]), False, None
        self.code, self.message = str(said.get("code", "")), str(said.get("message", ""))

    def _mark(self, step: Any, kind: str, text: str, value: Any = None) -> None:
        self.marks.append(Mark(int(step), kind, text, value))
        del self.marks[:-_MOST_REMARKS]


def _number(value: Any) -> float | None:
    """A finite number, or None; a file has "NaN" as text, since JSON has none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _seconds(time: Any) -> float | None:
    try:
        return datetime.fromisoformat(time).timestamp()
    except (TypeError, ValueError):
        return None

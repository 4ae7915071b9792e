"""What happened in a run, line by line, and below it what its programs wrote."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from nicegui import ui

from ...api.run_rows import log_of
from ...api.text_files import end_of
from ...identity.access import Action
from ...identity.refusals import NotFound
from ...live.run_state import RunState
from ...reader import Reader
from ...words import runs as words
from ..data.plain import is_remark, plain
from ..visit import Visit
from ..widgets import card
from .change import change_in_words

_LINES = 300
_LOOK_S = 2.0


class Log:
    """The tab: what the events say, and the end of the file that programs write to.

    Args:
        visit: The open page.
        run_id: The run's.
        state: How the run stands.
        file_name: What people call the file that the run learns from.
    """

    def __init__(self, visit: Visit, run_id: str, state: RunState, file_name: str) -> None:
        self._visit, self._run_id, self._file_name = visit, run_id, file_name
        self._newest: object = None
        with card(words.LOG):
            self._events = _Lines().mark("log")
        with card(words.PROGRAM_LOG) as self._programs:
            ui.label(words.PROGRAM_LOG_TEXT).classes("gkt-soft")
            self._written = _Lines()
        self._programs.set_visibility(False)
        self.show(state)
        ui.timer(_LOOK_S, visit.tells(self._look))

    def show(self, state: RunState) -> None:
        """Puts in what the events say now."""
        newest = state.journal[-1] if state.journal else None
        if newest is self._newest and self._events.text:
            return  # most events, such as steps, are no lines of a log
        self._newest = newest
        reader, lines = self._visit.reader, []
        for said in state.journal:
            text = plain(_SAYINGS[said["kind"]](said, reader), file_name=self._file_name).text
            when = reader.time(datetime.fromisoformat(said["time"]), seconds=True)
            lines.append(words.LOG_LINE.format(time=when, text=text))
        self._events.text = self._visit.without_paths("\n".join(lines)) or words.NO_LOG

    async def _look(self) -> None:
        asked = await self._visit.asked_now(Action.DOWNLOAD)
        try:
            log = await log_of(asked.rows, asked.root, self._run_id)
        except NotFound:
            return  # no job of this server trained it
        shown = self._visit.without_paths(await asyncio.to_thread(_last_lines, log))
        if self._written.text != shown:
            self._written.text = shown
            self._programs.set_visibility(bool(shown.strip()))


class _Lines(ui.element, component="../log_text.js"):
    """Lines of a log, of which the newest is in sight."""

    @property
    def text(self) -> str:
        """All lines."""
        return str(self.props.get("text", ""))

    @text.setter
    def text(self, text: str) -> None:
        self.props["text"] = text
        self.update()


def _last_lines(log: Path) -> str:
    try:
        return "\n".join(end_of(log).splitlines()[-_LINES:])
    except FileNotFoundError:
        return ""


def _started(said: Mapping[str, Any], reader: Reader) -> str:
    step = said.get("resumed_from", 0)
    return words.LOG_RESUMED.format(step=reader.number(step)) if step else words.LOG_STARTED


def _stage(said: Mapping[str, Any], reader: Reader) -> str:
    return words.STAGES.get(said["stage"], said["stage"])


def _stage_ended(said: Mapping[str, Any], reader: Reader) -> str:
    took = reader.duration(said["seconds"])
    return words.LOG_STAGE_ENDED.format(stage=_stage(said, reader), time=took)


def _measured(said: Mapping[str, Any], reader: Reader) -> str:
    step, loss = reader.number(said["step"]), reader.number(_float(said["loss"]), digits=4)
    text = words.LOG_MEASURED.format(step=step, loss=loss)
    if said.get("accuracy") is not None:
        text += words.LOG_ACCURACY.format(share=reader.percent(said["accuracy"]))
    return text + (words.LOG_BEST if said["best"] else "")


def _checkpoint(said: Mapping[str, Any], reader: Reader) -> str:
    size, step = reader.size(said["bytes"]), reader.number(said["step"])
    return words.LOG_CHECKPOINT.format(step=step, size=size)


def _asked(said: Mapping[str, Any], reader: Reader) -> str:
    command, step = said["command"], reader.number(said["step"])
    if command not in words.LOG_APPLIED:
        return str(command)
    change = change_in_words(str(said.get("key")), said.get("value"), reader)
    return words.LOG_APPLIED[command].format(step=step, change=change)


def _warning(said: Mapping[str, Any], reader: Reader) -> str:
    text = str(said["message"])
    return text if is_remark(str(said["code"])) else words.LOG_WARNING.format(text=text)


def _ended(said: Mapping[str, Any], reader: Reader) -> str:
    ends = {"done": words.DONE, "stopped": words.STOPPED, "failed": words.FAILED}
    parts = (ends.get(said["status"], said["status"]), said.get("message", ""))
    return ": ".join(part for part in parts if part)


def _float(value: Any) -> float | None:
    """A number of an event; those that JSON has none for are texts in it."""
    return value if isinstance(value, int | float) else None


_SAYINGS: Mapping[str, Callable[[Mapping[str, Any], Reader], str]] = {
    "run_started": _started,
    "stage_started": _stage,
    "stage_ended": _stage_ended,
    "validation": _measured,
    "checkpoint": _checkpoint,
    "rolled_back": lambda said, _: words.MARKS["rolled_back"].format(text=said["bad_step"]),
    "control_applied": _asked,
    "control_refused": lambda said, _: words.REFUSED.format(reason=said["reason"]),
    "warning": _warning,
    "note": lambda said, _: str(said["message"]),
    "run_ended": _ended,
}

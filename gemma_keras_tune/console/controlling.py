"""Asking a working run for something, and waiting for its answer."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..control_file import send_to
from ..errors import RecipeError, TuneError
from ..events import ControlApplied, ControlRefused, Sample, last_record, read_events
from ..recipe_files import parse_assignments
from ..run_folder import RunFolder, current_writer, resume_command
from . import screen
from .sources import run_argument

_POLL_S = 0.1
_ANSWERS = ("control_applied", "control_refused", "sample")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a command.

    Attributes:
        id: Its id.
        status: `applied`, `refused`, or `waiting`: no answer yet.
        step: Optimizer steps done when it was answered.
        reason: Why it was refused.
        samples: `prompt` and `text` of each answer that it brought.
    """

    id: str
    status: str
    step: int | None = None
    reason: str = ""
    samples: tuple[dict[str, str], ...] = ()


def control(
    folder: RunFolder,
    command: str,
    argument: str | None,
    *,
    wait_s: float,
    root: Path,
    json_output: bool,
) -> None:
    """Sends a command to a run, and says at which step it took effect.

    Args:
        folder: The run.
        command: One of `control_file.COMMANDS`.
        argument: `key=value` for `set`, the prompt for `sample`.
        wait_s: How long to wait for the answer, in seconds.
        root: The data root.
        json_output: Print one JSON object instead.

    Raises:
        RecipeError: If there is no such command, key or value.
        TuneError: `NOT_RUNNING`; `CONTROL_REFUSED`, with the run's reason.
    """
    key, value = _key_and_value(command, argument)
    seen = (last_record(folder.events) or {"seq": 0})["seq"]
    sent = send_to(folder, command, key=key, value=value, by="command line")
    outcome = _wait(folder, sent, after_seq=seen, wait_s=wait_s)
    if json_output:
        asked = {"run": folder.id, "command": command, "key": key, "value": value}
        screen.print_json(asked | asdict(outcome))
    if outcome.status == "refused":
        raise TuneError(
            f"The run {folder.id} did not do it: {outcome.reason}", code="CONTROL_REFUSED"
        )
    if json_output:
        return
    screen.say(screen.out(), screen.text(_said(outcome, command, key, value, wait_s)))
    for sample in outcome.samples:
        screen.say(screen.out(), f"> {sample['prompt']}", sample["text"])
    again = {"pause": ("control", "resume"), "stop": ("resume", "")}.get(command)
    if again and outcome.status == "applied":
        words = [again[0], *run_argument(folder, root), *([again[1]] if again[1] else [])]
        screen.say(screen.out(), screen.text(f"Go on with: {screen.command(*words)}"))


def _key_and_value(command: str, argument: str | None) -> tuple[str | None, Any]:
    if command != "set" or argument is None:
        return None, argument
    if "=" not in argument:
        raise RecipeError(
            f"{argument!r}: write it as key=value, such as learning_rate=1e-4.", code="CONTROL_KEY"
        )
    ((key, value),) = parse_assignments([argument]).items()
    is_none = isinstance(value, str) and value.lower() == "none"
    return key, None if is_none else value


def _wait(folder: RunFolder, sent: str, *, after_seq: int, wait_s: float) -> Outcome:
    """The answer, or that there is none yet.

    Raises:
        TuneError: `NOT_RUNNING`, if the run ended without one.
    """
    deadline = time.monotonic() + wait_s
    while True:
        is_alive = current_writer(folder) is not None  # asked first: its last word comes before
        outcome = _answer(folder, sent, after_seq)
        if outcome is not None:
            return outcome
        if not is_alive:
            raise TuneError(
                f"The process of the run {folder.id} ended before it could answer. "
                f"Go on with it first: {resume_command(folder)}",
                code="NOT_RUNNING",
            )
        if time.monotonic() >= deadline:
            return Outcome(id=sent, status="waiting")
        time.sleep(_POLL_S)


def _answer(folder: RunFolder, sent: str, after_seq: int) -> Outcome | None:
    samples: list[Sample] = []
    for record in read_events(folder.events, after_seq=after_seq, kinds=_ANSWERS):
        event = record.event
        if isinstance(event, Sample):
            samples.append(event)
        elif isinstance(event, ControlRefused) and event.id == sent:
            return Outcome(id=sent, status="refused", step=event.step, reason=event.reason)
        elif isinstance(event, ControlApplied) and event.id == sent:
            found = [one for one in samples if one.step == event.step]
            shown = tuple({"prompt": one.prompt, "text": one.text} for one in found)
            is_sample = event.command == "sample"
            return Outcome(
                id=sent, status="applied", step=event.step, samples=shown if is_sample else ()
            )
    return None


def _said(outcome: Outcome, command: str, key: str | None, value: Any, wait_s: float) -> str:
    if outcome.status == "waiting":
        return (
            f"Asked, with the id {outcome.id}. No answer within {wait_s:g} s: a run answers "
            "between two steps, once training has begun."
        )
    step = outcome.step
    return {
        "pause": f"Paused after step {step}; a kill would lose nothing.",
        "resume": f"Goes on after step {step}.",
        "checkpoint": f"A checkpoint of step {step} is saved.",
        "sample": f"After step {step}:",
        "stop": f"Stops after step {step}, with a checkpoint.",
        "set": f"{key} = {'none' if value is None else value}, after step {step}.",
    }[command]

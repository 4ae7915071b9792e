"""What others ask of a working run, done between two of its steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from .. import peers
from ..control_file import Command
from ..control_inbox import Inbox
from ..errors import DataError, TuneError
from ..events import ControlApplied
from ..model.value import Model
from .keeping import SaveReason

POLL_S = 0.2  # seconds between two looks at the file while a run is paused

_NO_PAUSE = "Several processes can't wait for each other so long: stop the run, start it later."

Answer = Callable[[Model, Sequence[str], Callable[[], bool]], list[str] | None]
"""The model's answers to prompts, or None if it was asked to stop meanwhile."""


class Controlled(Protocol):
    """What a run can be made to do."""

    @property
    def step(self) -> int:
        """Optimizer steps done."""

    def should_stop(self) -> bool:
        """Whether a signal asks the run to stop."""

    def stopped(self) -> TuneError:
        """What to raise to stop, once a checkpoint is saved."""

    def save(self, reason: SaveReason, *, again: bool = False) -> bool:
        """Whether there is a checkpoint of this step now; `again`: save it in any case."""

    def sample(self, prompt: str | None) -> str:
        """Asks the model this prompt, or the recipe's; then `""`, or else why not."""

    def why_not(self, key: str, value: Any) -> str:
        """Why a setting can't be changed like this in this run, now; `""` if it can."""

    def change(self, applied: ControlApplied) -> None:
        """Changes a setting from the next step on."""


def obey(inbox: Inbox, run: Controlled) -> float:
    """Seconds spent paused, after all that was asked is done and no pause is on any more.

    Raises:
        TuneError: What `run.stopped` gives, if the run is to stop.
    """
    paused_since: float | None = None
    seconds = 0.0
    while True:
        command = inbox.take()
        if command is None:
            if paused_since is None:
                return seconds
            if run.should_stop():
                raise run.stopped()
            time.sleep(POLL_S)
        elif command.command == "pause" and not peers.is_alone():
            inbox.refuse(command, _NO_PAUSE, run.step)
        elif command.command == "pause" and paused_since is None:
            run.save("pause")
            paused_since = time.monotonic()
            inbox.apply(command, run.step)
        elif command.command == "resume" and paused_since is not None:
            inbox.apply(command, run.step)
            seconds += time.monotonic() - paused_since
            paused_since = None
        else:
            _carry_out(command, inbox, run)


def why_not(key: str, value: Any, *, first: int, last: int, measures: bool, keeps: bool) -> str:
    """Why a run can't change this setting like this; `""` if it can.

    Args:
        key: One of `control_file.SETTABLE`.
        value: Within the bounds of its field.
        first: The next step.
        last: The last step that the recipe plans.
        measures: Whether there are validation rows.
        keeps: Whether there are checkpoints.
    """
    if key in ("evaluate_every_steps", "patience") and not measures:
        return "This run has no validation rows, so nothing is measured while it trains."
    if key.startswith("checkpoint_") and not keeps:
        return "This run keeps no checkpoints."
    if key != "end_step" or first <= value <= last:
        return ""
    if first > last:
        return "The last step that the recipe plans is done."
    return (
        f"end_step must be from {first}, the next step, to {last}, the last one that the recipe "
        f"plans; got {value}."
    )


def _carry_out(command: Command, inbox: Inbox, run: Controlled) -> None:
    """Does one thing that isn't pausing, and answers."""
    why_not = ""
    match command.command:
        case "pause":
            why_not = "It is paused already."
        case "resume":
            why_not = "It is not paused."
        case "checkpoint":
            why_not = "" if run.save("asked", again=True) else "This run keeps no checkpoints."
        case "sample":
            why_not = _sample(command, run)
        case "set":
            key = str(command.key)
            why_not = run.why_not(key, command.value)
            if not why_not:
                run.change(inbox.apply(command, run.step))
                return
        case "stop":
            inbox.apply(command, run.step)
            raise run.stopped()
    if why_not:
        inbox.refuse(command, why_not, run.step)
    else:
        inbox.apply(command, run.step)


def _sample(command: Command, run: Controlled) -> str:
    try:
        return run.sample(None if command.value is None else str(command.value))
    except DataError as error:  # a prompt that the template or the model can't take
        return str(error)

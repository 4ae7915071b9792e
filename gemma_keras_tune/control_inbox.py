"""The run's side of `control.jsonl`: each command is handed out once, and answered in the events.

What stood in the file when an attempt began was asked of nobody, or of an attempt that was killed
before it could answer: it is refused, never obeyed later in silence. Answers are durable before a
change takes effect, so an attempt that is killed leaves behind what the next one has to do again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from .control_file import Command, check, read_commands, size_of
from .errors import RecipeError
from .event_types import ControlApplied, ControlRefused, Event
from .events import read_events
from .writing import WorkFolder

_ANSWERS = ("control_applied", "control_refused")
_LEFT_OVER = (
    "It was asked while nobody worked on this, or of a process that was killed before it could "
    "answer. Ask again if it still holds."
)


class Inbox:
    """The commands to one attempt, in their order.

    Make it before the right to write is taken, so that whatever is sent afterwards counts.

    Args:
        folder: The folder of the run or the job.

    Attributes:
        applied: What earlier attempts, and then this one, have carried out, in that order.
    """

    def __init__(self, folder: WorkFolder) -> None:
        self._folder = folder
        self._left_over_until = size_of(folder.control)
        self._read_until = 0
        self._waiting: deque[Command] = deque()
        self._known: set[str] = set()
        self._tell: Callable[[Event], None] = lambda event: None
        self._closed = ""
        self.applied: list[ControlApplied] = []

    def begin(self, tell: Callable[[Event], None]) -> None:
        """Begins to read; what was left over from before is refused.

        Args:
            tell: Receives the answers.

        Raises:
            OSError: If events or commands can't be read.
        """
        self._tell = tell
        for record in read_events(
            self._folder.events, kinds=("control_applied", "control_refused")
        ):
            if isinstance(record.event, ControlApplied):
                self.applied.append(record.event)
            if isinstance(record.event, ControlApplied | ControlRefused):
                self._known.add(record.event.id)
        commands, self._read_until = read_commands(self._folder.control)
        sent_since, _ = read_commands(self._folder.control, self._left_over_until)
        fresh = {command.id for command in sent_since}
        self._receive(commands)
        for command in [one for one in self._waiting if one.id not in fresh]:
            self._waiting.remove(command)
            self.refuse(command, _LEFT_OVER)

    def take(self) -> Command | None:
        """The next command, checked; None if there is none. A wrong one is refused right here.

        Raises:
            OSError: If the file can't be read.
        """
        self._read()
        while self._waiting:
            command = self._waiting.popleft()
            try:
                check(command.command, key=command.key, value=command.value)
            except RecipeError as error:
                self.refuse(command, str(error))
                continue
            return command
        return None

    def stop_waiting(self) -> bool:
        """Whether a stop is among what has not been taken yet.

        Raises:
            OSError: If the file can't be read.
        """
        self._read()
        return any(command.command == "stop" for command in self._waiting)

    def accept_stop(self, step: int) -> None:
        """Answers every stop that waits: it takes effect after `step` steps."""
        for command in [one for one in self._waiting if one.command == "stop"]:
            self._waiting.remove(command)
            self.apply(command, step)

    def close(self, reason: str) -> None:
        """Takes only a stop from here on; all else is refused for this reason as it comes.

        Raises:
            OSError: If the file can't be read.
        """
        self._closed = reason
        self._read()
        waiting, self._waiting = self._waiting, deque()
        self._sort(waiting)

    def apply(self, command: Command, step: int) -> ControlApplied:
        """Answers that the command takes effect after `step` steps; durable when this returns."""
        event = ControlApplied(
            id=command.id, command=command.command, step=step, key=command.key, value=command.value
        )
        self._tell(event)
        self.applied.append(event)
        return event

    def refuse(self, command: Command, reason: str, step: int | None = None) -> None:
        """Answers that the command is not carried out, and why."""
        self._tell(
            ControlRefused(
                id=command.id,
                command=command.command,
                reason=reason,
                step=step,
                key=command.key,
                value=command.value,
            )
        )

    def refuse_rest(self, reason: str) -> None:
        """Refuses all that waits.

        Raises:
            OSError: If the file can't be read.
        """
        self._read()
        while self._waiting:
            self.refuse(self._waiting.popleft(), reason)

    def _read(self) -> None:
        if size_of(self._folder.control) != self._read_until:
            commands, self._read_until = read_commands(self._folder.control, self._read_until)
            self._receive(commands)

    def _receive(self, commands: list[Command]) -> None:
        fresh: dict[str, Command] = {}
        for command in commands:
            if command.id not in self._known:
                fresh.setdefault(command.id, command)
        self._known.update(fresh)
        self._sort(fresh.values())

    def _sort(self, commands: Iterable[Command]) -> None:
        for command in commands:
            if self._closed and command.command != "stop":
                self.refuse(command, self._closed)
            else:
                self._waiting.append(command)

"""What a job's events tell its supervisor: durable progress, life, and why it stopped."""

from __future__ import annotations

from pathlib import Path

from .tail import Line, Tail


class Marks:
    """Follows the events of one job.

    Args:
        paths: The files to follow: the job's own, and its run's if it trains.

    Attributes:
        progress: Steps in the last committed checkpoint; 0 before there is one.
        is_paused: Whether it waits between two steps because somebody asked it to.
        was_told_to_stop: Whether the newest attempt carried out a command to stop.
    """

    def __init__(self, *paths: Path) -> None:
        self._tails = [Tail(path) for path in paths]
        self.progress = 0
        self.is_paused = False
        self.was_told_to_stop = False

    def look(self) -> bool:
        """Whether anything new was said of the work since the last look.

        The load of the machine isn't: a thread of its own tells it, also while the work stands.

        Raises:
            OSError: If a file can't be read.
        """
        news = False
        for tail in self._tails:
            while records := tail.read():
                news = news or any(record.kind != "load" for record in records)
                for record in records:
                    self._hear(record)
                if not tail.has_more:
                    break
        return news

    def _hear(self, record: Line) -> None:
        kind, fields = record.kind, record.fields
        if kind == "run_started":
            self.is_paused = self.was_told_to_stop = False
        elif kind == "checkpoint" and isinstance(fields.get("step"), int):
            self.progress = max(self.progress, fields["step"])
        elif kind == "control_applied":
            command = fields.get("command")
            self.was_told_to_stop |= command == "stop"
            if command in ("pause", "resume"):
                self.is_paused = command == "pause"

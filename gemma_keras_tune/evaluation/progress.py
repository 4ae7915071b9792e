"""How far a stage of the evaluation is, as events with the seconds left."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..event_types import Event, Progress

OnEvent = Callable[[Event], None]


class Reporter:
    """Sends `Progress` events of one stage.

    The first report waited for the compiler, so the pace is measured from there as soon as
    there is a second one.

    Args:
        stage: Name of the stage.
        total: Pieces of work.
        on_event: Receives the events; None for nobody.
    """

    def __init__(self, stage: str, total: int, on_event: OnEvent | None) -> None:
        self._stage, self._total, self._on_event = stage, total, on_event
        self._began = time.monotonic()
        self._first: tuple[float, float] | None = None

    def report(self, done: int, *, work: float | None = None) -> None:
        """Send how far the stage is.

        Args:
            done: Finished pieces.
            work: All work so far in pieces, unfinished ones in part; `done` if not given.
        """
        if self._on_event is None:
            return
        now, work = time.monotonic(), done if work is None else work
        if self._first is None:
            self._first = (now, work)
            paced, seconds = work, now - self._began
        else:
            paced, seconds = work - self._first[1], now - self._first[0]
        left = seconds * (self._total - work) / paced if paced > 0 else None
        event = Progress(stage=self._stage, done=done, total=self._total, seconds_left=left)
        self._on_event(event)

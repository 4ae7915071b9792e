"""How far a stage of the evaluation is, as events with the seconds left."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..event_types import Event, Progress

OnEvent = Callable[[Event], None]


class Reporter:
    """Sends `Progress` events of one stage.

    The first report waited for the compiler, so it says nothing of the pace: that is measured
    from there on.

    Args:
        stage: Name of the stage.
        total: Pieces of work.
        on_event: Receives the events; None for nobody.
    """

    def __init__(self, stage: str, total: int, on_event: OnEvent | None) -> None:
        self._stage, self._total, self._on_event = stage, total, on_event
        self._first: tuple[float, float] | None = None

    def report(
        self, done: int, *, work: float | None = None, seconds_left: float | None = None
    ) -> None:
        """Send how far the stage is.

        Args:
            done: Finished pieces.
            work: All work so far in pieces, unfinished ones in part; `done` if not given.
            seconds_left: What is known of it otherwise; measured if not given.
        """
        if self._on_event is None:
            return
        now, work = time.monotonic(), done if work is None else work
        if self._first is None:
            self._first = (now, work)
        left = 0.0 if work >= self._total else seconds_left
        if left is None and work > self._first[1]:
            a_piece = (now - self._first[0]) / (work - self._first[1])
            left = a_piece * (self._total - work)
        event = Progress(stage=self._stage, done=done, total=self._total, seconds_left=left)
        self._on_event(event)

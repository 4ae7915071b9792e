"""Being asked to stop: signals become a question that the loop asks between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """A function that says whether SIGTERM or SIGINT has come since the block began.

    A second SIGINT (Ctrl-C by someone who won't wait) interrupts at once; a second SIGTERM
    changes nothing, so that it can't tear a checkpoint that is being saved. Outside the main
    thread, where signals can't be caught, the answer is always no.
    """
    requested = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if requested.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        requested.set()

    if threading.current_thread() is not threading.main_thread():
        yield requested.is_set
        return
    before = {number: signal.signal(number, note) for number in _SIGNALS}
    try:
        yield requested.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

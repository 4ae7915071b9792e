"""What a run says about itself from outside its stages: when each begins and ends, and how."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic

from .control_inbox import Inbox
from .errors import StoppedWithCheckpoint, TuneError
from .events import Event, Progress, RunEnded, StageEnded, StageStarted

OnEvent = Callable[[Event], None]

TRUSTED = 0.02
"""Share of a stage's work after which its pace is believed."""


@contextmanager
def stage(name: str, tell: OnEvent, stop_if_asked: Callable[[], None]) -> Iterator[None]:
    """Says when a stage begins and ends, and begins none after a request to stop."""
    stop_if_asked()
    tell(StageStarted(stage=name))
    began = monotonic()
    yield
    tell(StageEnded(stage=name, seconds=monotonic() - began))


def one_at_a_time(*listeners: OnEvent | None) -> OnEvent:
    """A function that hands an event to each listener, also where several threads call it."""
    lock = threading.Lock()

    def tell(event: Event) -> None:
        with lock:
            for listener in listeners:
                if listener is not None:
                    listener(event)

    return tell


@contextmanager
def listening(inbox: Inbox, tell: OnEvent) -> Iterator[None]:
    """Begins to read what is asked of the run, and leaves nothing without an answer at the end."""
    inbox.begin(tell)
    ended = "This attempt ended before it came to this. Ask again once the run works."
    try:
        yield
    except BaseException:
        with suppress(TuneError, OSError):  # what ended the run matters more
            inbox.refuse_rest(ended)
        raise
    inbox.refuse_rest(ended)


@contextmanager
def told_how_it_ended(tell: OnEvent) -> Iterator[None]:
    """Writes the end event, whatever happens: readers must not wait for a run that is over."""
    try:
        yield
    except StoppedWithCheckpoint as stop:
        tell(RunEnded(status="stopped", code=stop.code, message=str(stop), step=stop.step))
        raise
    except TuneError as error:
        tell(RunEnded(status="failed", code=error.code, message=str(error)))
        raise
    except BaseException as error:
        tell(RunEnded(status="failed", code="INTERNAL", message=f"{type(error).__name__}: {error}"))
        raise
    tell(RunEnded(status="done"))


def progress_of(name: str, tell: OnEvent) -> Callable[[str, int, int], None]:
    """A function of (what, done, total) that tells the progress of a stage, with time left.

    It tells twice a second at most, and the end; the time left from `TRUSTED` on.
    """
    began = told = monotonic()

    def report(what: str, done: int, total: int) -> None:
        nonlocal told
        now = monotonic()
        if done < total and now - told < 0.5:
            return
        told = now
        is_trusted = done > 0 and done >= TRUSTED * total
        left = (now - began) * (total - done) / done if is_trusted else None
        tell(Progress(stage=name, done=done, total=total, seconds_left=left))

    return report

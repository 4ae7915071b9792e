"""What a run says about itself from outside its stages: when each begins and ends, and how."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from .errors import StoppedWithCheckpoint, TuneError
from .events import Event, Progress, RunEnded, StageEnded, StageStarted

OnEvent = Callable[[Event], None]


@contextmanager
def stage(name: str, tell: OnEvent, stop_if_asked: Callable[[], None]) -> Iterator[None]:
    """Says when a stage begins and ends, and begins none after a request to stop."""
    stop_if_asked()
    tell(StageStarted(stage=name))
    began = monotonic()
    yield
    tell(StageEnded(stage=name, seconds=monotonic() - began))


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

    It tells twice a second at most, and the end.
    """
    began = told = monotonic()

    def report(what: str, done: int, total: int) -> None:
        nonlocal told
        now = monotonic()
        if done < total and now - told < 0.5:
            return
        told = now
        left = (now - began) * (total - done) / done if done else None
        tell(Progress(stage=name, done=done, total=total, seconds_left=left))

    return report

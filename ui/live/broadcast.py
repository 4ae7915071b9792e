"""One reader a run, however many look: its state is kept as long as anybody does.

Viewers ask at their own pace what is new since they last looked, so one that is slow gets one
larger answer later and is never in the way of the others.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from gemma_keras_tune.run_folder import RunFolder

from ..jobs.event_feed import EventFeed
from ..logs import logger
from .run_state import RunState

_KEEP_S = 30.0  # after the last viewer has gone: a reload finds it warm
_log = logger("live")


class LiveRun:
    """One run's state, and the task that keeps it new.

    Attributes:
        state: How it stands.
        viewers: How many look at it.
        is_whole: Set once all that was written before is in the state.
    """

    def __init__(self, folder: RunFolder, feed: EventFeed) -> None:
        self.folder, self.state, self.viewers = folder, RunState(), 0
        self.is_whole = asyncio.Event()
        self.left_at = time.monotonic()
        self._feed = feed
        self._task = asyncio.create_task(self._follow(), name=f"live {folder.id}")

    @property
    def is_alive(self) -> bool:
        """Whether it still reads."""
        return not self._task.done()

    def close(self) -> None:
        """Ends the reading."""
        self._task.cancel()

    async def _follow(self) -> None:
        try:
            size = await asyncio.to_thread(_size, self.folder)
            if size == 0:
                self.is_whole.set()
            read = 0
            async for batch in self._feed.follow(self.folder.events):
                if batch.skipped:  # this task was kept from its turn: it begins anew
                    self.state = RunState(changes=self.state.changes + 1)
                    raise OSError("events were left out")
                for line in batch.lines:
                    self._hear(line.kind, line.fields)
                    read += len(line.text.encode()) + 1
                if read >= size:
                    self.is_whole.set()
                await asyncio.sleep(0)  # a long history lets the others have their turn
        except OSError as error:
            _log.warning("live_run_unread", run=self.folder.id, error=str(error))
        finally:
            self.is_whole.set()

    def _hear(self, kind: str, fields: dict[str, object]) -> None:
        with suppress(KeyError, TypeError, ValueError):  # a line that isn't as events are
            self.state.hear(kind, fields)


class LiveRuns:
    """The runs that somebody looks at.

    Args:
        feed: Follows files of events.
    """

    def __init__(self, feed: EventFeed) -> None:
        self._feed = feed
        self._runs: dict[str, LiveRun] = {}

    @asynccontextmanager
    async def watched(self, folder: RunFolder) -> AsyncIterator[LiveRun]:
        """The run, as long as the block lasts."""
        run = self.enter(folder)
        try:
            await run.is_whole.wait()
            yield run
        finally:
            self.leave(run)

    def enter(self, folder: RunFolder) -> LiveRun:
        """The run, with one viewer more; `leave` must follow."""
        self._drop_old()
        run = self._runs.get(str(folder.path))
        if run is None or not run.is_alive:
            viewers = 0 if run is None else run.viewers
            run = self._runs[str(folder.path)] = LiveRun(folder, self._feed)
            run.viewers = viewers
        run.viewers += 1
        return run

    def leave(self, run: LiveRun) -> None:
        """One viewer less."""
        run.viewers -= 1
        run.left_at = time.monotonic()
        self._drop_old()

    def close(self) -> None:
        """Ends all reading."""
        for run in self._runs.values():
            run.close()
        self._runs.clear()

    def _drop_old(self) -> None:
        now = time.monotonic()
        for key, run in [*self._runs.items()]:
            if run.viewers <= 0 and now - run.left_at > _KEEP_S:
                run.close()
                del self._runs[key]


def _size(folder: RunFolder) -> int:
    try:
        return folder.events.stat().st_size
    except FileNotFoundError:
        return 0

"""One reader a run, however many look: its state is kept as long as anybody does.

Whoever looks is called when there is news, all of them in one go, a few times a second. After such
a round there is a rest, the longer the more the round took. They only put what they send into their
own page's outbox, so a slow page is never in the way of others.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar, cast

from sqlalchemy.exc import SQLAlchemyError

from gemma_keras_tune.run_folder import RunFolder

from ..jobs.event_feed import EventFeed
from ..logs import logger
from .run_state import RunState
from .standing import Standing

LEAST_S, MOST_S = 0.2, 0.35
"""Of rest from the end of a round of calling whoever looks to the beginning of the next one."""

_REST = 2  # the rest is so many times as long as the round, within those bounds
_KEEP_S = 30.0  # after the last viewer has gone: a reload finds it warm
_LOOK_S = 2.0  # how often the run's row, job and process are looked at
_IN_ONE_GO = 8  # so many are called before the others of this process have their turn
_log = logger("live")

Hear = Callable[[], None]
Look = Callable[[RunFolder], Awaitable[Standing]]
_Made = TypeVar("_Made")


class LiveRun:
    """One run's state, and the tasks that keep it new.

    Args:
        folder: The run.
        feed: Follows its events.
        look: Tells how it stands beside them.

    Attributes:
        state: What its events say.
        standing: How it stands beside them.
        viewers: How many look at it.
        changes: Rises whenever either of them changes.
        is_whole: Set once all that was written before is in the state.
    """

    def __init__(self, folder: RunFolder, feed: EventFeed, look: Look) -> None:
        self.folder, self.state, self.standing = folder, RunState(), Standing()
        self.viewers = self.changes = 0
        self.is_whole = asyncio.Event()
        self.left_at = time.monotonic()
        self._feed, self._look = feed, look
        self._made: dict[Hashable, object] = {}
        self._news = asyncio.Event()
        self._hearing: set[Hear] = set()
        self._tasks = [
            asyncio.create_task(self._follow(), name=f"live {folder.id}"),
            asyncio.create_task(self._tell(), name=f"live, told: {folder.id}"),
            asyncio.create_task(self._keep_looking(), name=f"live, looked at: {folder.id}"),
        ]

    def listen(self, hear: Hear) -> None:
        """Calls `hear` whenever there is news, until `forget`."""
        self._hearing.add(hear)

    def forget(self, hear: Hear) -> None:
        """Calls it no more."""
        self._hearing.discard(hear)

    def once(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """What `make` returns: made once for all who ask by that key, until something changes."""
        if key not in self._made:
            self._made[key] = make()
        return cast("_Made", self._made[key])

    async def look(self) -> None:
        """Looks how the run stands, now."""
        standing = await self._look(self.folder)
        if standing != self.standing:
            self.standing = standing
            self._changed()
            self._news.set()

    def close(self) -> None:
        """Ends the reading."""
        for task in self._tasks:
            task.cancel()

    async def _tell(self) -> None:
        loop = asyncio.get_running_loop()
        rested_at = -math.inf
        while True:
            has_waited = self._news.is_set()
            await self._news.wait()
            self._news.clear()
            begun = loop.time()
            is_after_pause = begun >= rested_at and not has_waited
            await self._call_all(loop)
            ended = loop.time()
            rest = min(MOST_S, max(LEAST_S, _REST * (ended - begun)))
            rested_at = ended + rest
            # The first round after a pause may be followed close by one other: no step waits
            # because of a look just before it.
            if not is_after_pause:
                await asyncio.sleep(rest)

    async def _call_all(self, loop: asyncio.AbstractEventLoop) -> None:
        for number, hear in enumerate([*self._hearing]):
            loop.call_soon(hear)  # an error of one page is that page's, and is logged
            if number % _IN_ONE_GO == _IN_ONE_GO - 1:
                await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            try:
                await self.look()
            except (OSError, SQLAlchemyError) as error:
                _log.warning("live_run_unseen", run=self.folder.id, error=str(error))

    async def _follow(self) -> None:
        """Reads for ever; from the beginning again if it was kept from its turn for too long."""
        while True:
            try:
                await self._read()
            except OSError as error:
                _log.warning("live_run_unread", run=self.folder.id, error=str(error))
            self.is_whole.set()  # with what there is
            self._news.set()
            await asyncio.sleep(_LOOK_S)

    async def _read(self) -> None:
        size, read = await asyncio.to_thread(_size, self.folder), 0
        if self.state.changes:
            self.state = RunState()
            self._changed()
        if size == 0:
            self.is_whole.set()
        async for batch in self._feed.follow(self.folder.events):
            if batch.skipped:
                raise OSError("events were left out")
            for line in batch.lines:
                self._hear(line.kind, line.fields)
                read += len(line.text.encode()) + 1
            if read >= size:
                self.is_whole.set()
                self._news.set()
            await asyncio.sleep(0)  # a long history lets the others have their turn

    def _hear(self, kind: str, fields: dict[str, object]) -> None:
        with suppress(KeyError, TypeError, ValueError):  # a line that isn't as events are
            self.state.hear(kind, fields)
        self._changed()

    def _changed(self) -> None:
        self.changes += 1
        self._made.clear()


class LiveRuns:
    """The runs that somebody looks at.

    Args:
        feed: Follows files of events.
        look: Tells how a run stands beside its events.
    """

    def __init__(self, feed: EventFeed, look: Look) -> None:
        self._feed, self._look = feed, look
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
        if run is None:
            run = self._runs[str(folder.path)] = LiveRun(folder, self._feed, self._look)
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

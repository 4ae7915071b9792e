"""Events as they are written, for any number of readers: each file is read once for all of them.

A reader says which number it has seen and gets what came after: first from the file, then as it
grows. One that can't keep up is told that some were left out, and can begin again from its last.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .tail import Line, Tail

_LIVELY_S = 5.0  # so long after something came, more is expected soon
_OFTENER = 5


@dataclass(frozen=True)
class Batch:
    """Some events, in their order.

    Attributes:
        lines: The events.
        skipped: Whether others before them were left out, because the reader was too slow.
    """

    lines: Sequence[Line]
    skipped: bool = False


@dataclass(eq=False)
class _Reader:
    waiting: list[Line] = field(default_factory=list)
    skipped: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self, lines: Sequence[Line], most: int) -> None:
        self.waiting.extend(lines)
        if len(self.waiting) > most:
            del self.waiting[:-most]  # the newest count most
            self.skipped = True
        self.news.set()


class EventFeed:
    """The files that somebody follows.

    Args:
        poll_s: How often a followed file is looked at, in seconds; oftener while it grows.
        most: How many events may wait for one reader.
    """

    def __init__(self, *, poll_s: float = 0.25, most: int = 5000) -> None:
        self.poll_s, self.most = poll_s, most
        self._files: dict[Path, _File] = {}

    @property
    def readers(self) -> int:
        """How many readers there are."""
        return sum(len(file.readers) for file in self._files.values())

    async def follow(self, path: Path, *, after_seq: int = 0) -> AsyncIterator[Batch]:
        """The events after `after_seq`, and then those that are written, without an end.

        Args:
            path: An `events.jsonl`; it may not be there yet.
            after_seq: The highest number that the reader has seen.

        Raises:
            OSError: If the file is there and can't be read.
        """
        file = self._files.get(path) or await self._open(path)
        reader, seen = _Reader(), after_seq
        file.readers.add(reader)
        file.open()
        try:
            past = Tail(path, after_seq=after_seq)
            while (lines := await asyncio.to_thread(past.read)) or past.has_more:
                if lines:
                    seen = lines[-1].seq
                    yield Batch(lines)
            while True:
                await reader.news.wait()
                reader.news.clear()
                if file.failure is not None:
                    raise file.failure
                lines, skipped = reader.waiting, reader.skipped
                reader.waiting, reader.skipped = [], False
                fresh = [line for line in lines if line.seq > seen]
                if fresh:
                    skipped = skipped and fresh[0].seq > seen + 1
                    seen = fresh[-1].seq
                    yield Batch(fresh, skipped)
        finally:
            file.readers.discard(reader)
            if not file.readers and self._files.get(path) is file:
                del self._files[path]
                file.close()

    async def _open(self, path: Path) -> _File:
        """The file, followed from here on; each reader reads for itself what is there already."""
        tail = Tail(path)
        await asyncio.to_thread(tail.skip_to_end)
        return self._files.setdefault(path, _File(tail, self))


class _File:
    """One followed file: its readers, and the task that looks at it."""

    def __init__(self, tail: Tail, feed: EventFeed) -> None:
        self.readers: set[_Reader] = set()
        self.failure: OSError | None = None
        self._tail, self._feed = tail, feed
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._look(), name=f"events {self._tail.path}")

    def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        heard = float("-inf")
        while True:
            try:
                lines = await asyncio.to_thread(self._tail.read)
            except OSError as error:
                self.failure = error
                for reader in self.readers:
                    reader.news.set()
                return
            if lines:
                heard = loop.time()
                for reader in self.readers:
                    reader.give(lines, self._feed.most)
            if not self._tail.has_more:
                is_lively = loop.time() - heard < _LIVELY_S
                await asyncio.sleep(self._feed.poll_s / (_OFTENER if is_lively else 1))

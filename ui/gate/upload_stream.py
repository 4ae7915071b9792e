"""One piece of an upload on its way to the disk: gathered, written and hashed in threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from starlette.requests import ClientDisconnect

from .answers import Refused
from .upload_files import Part

_WRITE_BYTES = 2**20  # gathered before a thread is asked to write


class Sink:
    """Gathers small pieces, and writes and hashes large ones in a thread.

    Args:
        part: Where they go.
        digest: The hash of what stands there already; none: it isn't known.
    """

    def __init__(self, part: Part, digest: Any) -> None:
        self.digest = digest
        self._part = part
        self._pending = bytearray()

    async def add(self, data: bytes) -> None:
        """Takes some bytes."""
        self._pending += data
        if len(self._pending) >= _WRITE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Writes what was gathered.

        Raises:
            OSError: If it can't be written; the hash isn't known from then on.
        """
        block = bytes(self._pending)
        self._pending.clear()
        await to_the_end(self._write, block)

    def _write(self, block: bytes) -> None:
        digest, self.digest = self.digest, None
        self._part.add(block)
        if digest is not None:
            digest.update(block)
            self.digest = digest


async def stream(sink: Sink, body: AsyncIterator[bytes], *, most: int, seconds: float) -> None:
    """Sends a body to `sink`; what has come when it breaks off or stalls is written too.

    Args:
        sink: Where it goes.
        body: The bytes; it may end early with `ClientDisconnect`.
        most: How many there may be.
        seconds: How long it may take.

    Raises:
        Refused: `UPLOAD_LIES` (413) if there are more, `UPLOAD_SLOW` (408).
        OSError: If they can't be written.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    try:
        with suppress(ClientDisconnect):
            while data := await _next(body, deadline):
                most -= len(data)
                if most < 0:
                    raise Refused(413, "UPLOAD_LIES", "The piece is longer than declared.")
                await sink.add(data)
        await sink.flush()
    except TimeoutError as error:
        await sink.flush()
        raise Refused(
            408,
            "UPLOAD_SLOW",
            "The piece came too slowly. What came is kept: ask for the offset and go on.",
        ) from error


async def _next(body: AsyncIterator[bytes], deadline: float) -> bytes:
    """The next bytes; none at the end.

    Raises:
        TimeoutError: If they don't come in time.
    """
    async with asyncio.timeout_at(deadline):
        async for data in body:
            if data:
                return data
    return b""


async def to_the_end(work: Callable[..., None], *args: Any) -> None:
    """Runs `work` in a thread and leaves only when it has ended, also when cancelled."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise

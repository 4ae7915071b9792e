"""Events as they happen (server-sent), from any number on, without a gap and without a double.

`id:` is the event's `seq`; a browser sends the last one back as `Last-Event-ID`. History comes as
if the run had never been interrupted (`view=raw`: every line). What is written later comes as it
is: where two attempts speak of the same step, the newer one counts.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Header, Query
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from gemma_keras_tune.event_types import RolledBack
from gemma_keras_tune.events import last_record, read_events, resolved

from ..identity.access import Action, Principal, authorize
from ..identity.refusals import Refusal
from ..jobs.tail import Tail
from .asking import Asking
from .naming import Shown

RETRY_MS = 2000
HEARTBEAT_S = 15.0
LOOK_S = 0.5  # how often it is asked whether the work is over
CHECK_S = 5.0  # how often it is asked whether the reader may still read
SEND_S = 30.0  # a reader that takes nothing for so long is gone
_CHUNK = 500  # events sent at once

After = Annotated[int, Query(ge=0, le=2**53, description="Only events with a higher number.")]
Follow = Annotated[bool, Query(description="Go on with what is written from now on.")]
View = Annotated[
    Literal["resolved", "raw"],
    Query(description="History as if never interrupted, or every line as it was written."),
]
LastEventId = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, le=2**53, description="As `after`; browsers send it."),
]
_EVENT = {
    "type": "object",
    "description": "One event of the stream.",
    "properties": {
        "id": {"type": "string", "description": "Its number; none for the stream's own words."},
        "event": {"type": "string", "enum": ["message", "end", "reconnect"]},
        "data": {"type": "string", "description": "JSON."},
    },
    "required": ["data"],
}
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": (
            "Server-sent events. `data:` is an event as in the reference of events, `id:` its "
            "number. `event: end` says that no more will come; `event: reconnect`: come again with "
            "the last number."
        ),
        "content": {"text/event-stream": {"schema": _EVENT}},
    },
    204: {"description": "It is over, and the reader has seen all."},
}
"""What a route's documentation says of a stream."""

_RESOLVING = asyncio.Semaphore(2)  # each holds a run's whole history in memory


@dataclass(frozen=True, kw_only=True)
class Stream:
    """What somebody wants to follow.

    Attributes:
        path: An `events.jsonl`.
        after: The highest number that the reader has seen.
        follow: Whether to wait for more at the end of the file.
        view: How history is told.
        is_over: Whether nothing more will be written.
        is_reconnect: Whether the reader was here before.
    """

    path: Path
    after: int
    follow: bool
    view: Literal["resolved", "raw"]
    is_over: Callable[[], Awaitable[bool]]
    is_reconnect: bool = False


async def event_stream(asked: Asking, stream: Stream) -> Response:
    """The answer that streams.

    Raises:
        TooManyRequests: `TOO_MANY_STREAMS`.
        TuneError: `EVENT_UNKNOWN` if history holds what this version can't resolve.
    """
    asked.services.streams.check(asked.principal.user_id)
    seen, history = stream.after, None
    if stream.view == "resolved":
        async with _RESOLVING:
            history = await asyncio.to_thread(_resolved, stream.path, stream.after)
    if stream.is_reconnect and await stream.is_over():
        last = await asyncio.to_thread(last_record, stream.path)
        if (last["seq"] if last else 0) <= seen:
            return Response(status_code=204)  # tells a browser not to come again
    return _Answer(_told(asked, stream, history), media_type="text/event-stream")


async def _told(
    asked: Asking, stream: Stream, history: tuple[list[tuple[int, str]], int] | None
) -> AsyncIterator[str]:
    """The text of the stream."""
    shown = Shown(asked.root)
    with asked.services.streams.open(asked.principal.user_id):
        yield f"retry: {RETRY_MS}\n\n"
        seen = stream.after
        if history is not None:
            lines, seen = history
            for start in range(0, len(lines), _CHUNK):
                yield shown.text(_events(lines[start : start + _CHUNK]))
        if not stream.follow:
            async for part in _rest(stream.path, seen, shown):
                yield part
            yield _said("end", reason="read")
            return
        async with aclosing(_followed(asked, stream, seen, shown)) as parts:
            async for part in parts:
                yield part


async def _followed(asked: Asking, stream: Stream, seen: int, shown: Shown) -> AsyncGenerator[str]:
    """What is written from now on, until it is over or the reader may read no more."""
    feed = asked.services.events.follow(stream.path, after_seq=seen)
    coming = asyncio.ensure_future(anext(feed))
    said = checked = time.monotonic()
    try:
        while True:
            await asyncio.wait({coming}, timeout=LOOK_S)
            now = time.monotonic()
            if now - checked >= CHECK_S:
                checked = now
                if not await _may_still_read(asked):
                    yield _said("end", reason="access")
                    return
            if coming.done():
                batch = coming.result()
                if batch.skipped and batch.lines[0].seq != seen + 1:
                    yield _said("reconnect", reason="slow")
                    return
                seen, said = batch.lines[-1].seq, now
                yield shown.text(_events([(line.seq, line.text) for line in batch.lines]))
                coming = asyncio.ensure_future(anext(feed))
            elif await stream.is_over():
                async for part in _rest(stream.path, seen, shown):
                    yield part
                yield _said("end", reason="over")
                return
            elif now - said >= HEARTBEAT_S:
                said = now
                yield ": still here\n\n"
    finally:
        coming.cancel()
        await asyncio.gather(coming, return_exceptions=True)
        if isinstance(feed, AsyncGenerator):
            await feed.aclose()


async def _rest(path: Path, seen: int, shown: Shown) -> AsyncIterator[str]:
    """What the file still holds."""
    tail = Tail(path, after_seq=seen)
    while lines := await asyncio.to_thread(tail.read):
        for start in range(0, len(lines), _CHUNK):
            part = lines[start : start + _CHUNK]
            yield shown.text(_events([(line.seq, line.text) for line in part]))


async def _may_still_read(asked: Asking) -> bool:
    now: Principal | None = await asked.principal_now()
    if now is None or now.user_id != asked.principal.user_id:
        return False
    try:
        authorize(now, Action.VIEW_EVENTS, asked.principal.workspace_id)
    except Refusal:
        return False
    return True


def _resolved(path: Path, after: int) -> tuple[list[tuple[int, str]], int] | None:
    """History as if never interrupted, and the number up to which it goes.

    None where the file tells it as it is, so that it need not be held in memory.
    """
    last = last_record(path)
    if last is None or not _is_interrupted(path, last):
        return None
    records = list(read_events(path))
    lines = [
        (record.seq, _line(record.seq, record.attempt, record.time, record.event))
        for record in resolved(records)
        if record.seq > after
    ]
    return lines, max(after, records[-1].seq if records else 0)


def _is_interrupted(path: Path, last: dict[str, Any]) -> bool:
    if last.get("attempt", 1) > 1:
        return True
    mark = RolledBack.model_fields["kind"].default.encode()
    with path.open("rb") as file:
        return any(mark in line for line in file)


def _line(seq: int, attempt: int, written: str, event: Any) -> str:
    head = json.dumps({"seq": seq, "attempt": attempt, "time": written})
    return f"{head[:-1]}, {event.model_dump_json()[1:]}"


def _events(lines: Sequence[tuple[int, str]]) -> str:
    return "".join(f"id: {seq}\ndata: {text}\n\n" for seq, text in lines)


def _said(kind: str, **fields: str) -> str:
    """A word of the stream's own, without a number."""
    return f"event: {kind}\ndata: {json.dumps(fields)}\n\n"


class _Answer(StreamingResponse):
    """A stream that gives up a reader who takes nothing."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            try:
                async with asyncio.timeout(SEND_S):
                    await send(message)
            except TimeoutError as error:
                raise OSError("the reader takes nothing") from error

        self.headers["X-Accel-Buffering"] = "no"
        await super().__call__(scope, receive, sending)

"""Events for many readers, each from the number that it has seen."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from gemma_keras_tune_ui.jobs.event_feed import EventFeed
from gemma_keras_tune_ui.jobs.tail import Tail
from tests.support.queue_jobs import until


def append(path: Path, *numbers: int) -> None:
    with path.open("a") as file:
        for number in numbers:
            file.write(json.dumps({"seq": number, "attempt": 1, "kind": "note"}) + "\n")


async def collect(feed: EventFeed, path: Path, after: int, until: int) -> list[int]:
    seen: list[int] = []
    async for batch in feed.follow(path, after_seq=after):
        seen += [line.seq for line in batch.lines]
        if seen[-1] >= until:
            return seen
    raise AssertionError


async def test_each_reader_gets_everything_once_whenever_it_comes(tmp_path: Path) -> None:
    path, feed = tmp_path / "events.jsonl", EventFeed(poll_s=0.005)
    tasks = [asyncio.create_task(collect(feed, path, 0, 400))]
    for number in range(1, 401):
        append(path, number)
        if number % 40 == 0:
            after = number // 2
            tasks.append(asyncio.create_task(collect(feed, path, after, 400)))
        await asyncio.sleep(0)
        if number % 25 == 0:
            await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        for task in tasks:
            seen = await task
            assert seen == list(range(seen[0], 401))
    assert [(await task)[0] for task in tasks] == [1, *(n // 2 + 1 for n in range(40, 401, 40))]


async def test_a_file_is_read_once_for_all_readers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, feed = tmp_path / "events.jsonl", EventFeed(poll_s=0.01)
    append(path, 1)
    tasks = [asyncio.create_task(collect(feed, path, 0, 2)) for _ in range(20)]
    await until(lambda: feed.readers == 20)
    await asyncio.sleep(0.05)
    read_by: set[int] = set()
    real = Tail._records

    def counted(self: Tail, data: bytes) -> object:
        read_by.add(id(self))
        return real(self, data)

    monkeypatch.setattr(Tail, "_records", counted)
    append(path, 2)
    async with asyncio.timeout(5):
        assert await asyncio.gather(*tasks) == [[1, 2]] * 20
    assert len(read_by) == 1
    await asyncio.sleep(0)
    assert feed.readers == 0


async def test_a_slow_reader_is_told_what_it_missed_and_can_begin_again(tmp_path: Path) -> None:
    path, feed = tmp_path / "events.jsonl", EventFeed(poll_s=0.005, most=10)
    append(path, 1)
    follow = feed.follow(path)
    first = await anext(follow)
    assert [line.seq for line in first.lines] == [1]
    second_ready = asyncio.create_task(anext(follow))
    await asyncio.sleep(0.02)
    append(path, 2)
    assert [line.seq for line in (await second_ready).lines] == [2]
    append(path, *range(3, 60))
    await asyncio.sleep(0.1)
    late = await anext(follow)
    assert late.skipped
    assert [line.seq for line in late.lines] == list(range(50, 60))
    await follow.aclose()
    assert await collect(feed, path, 2, 59) == list(range(3, 60))


async def test_a_file_that_was_replaced_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    append(path, 1, 2, 3)
    tail = Tail(path)
    assert [line.seq for line in tail.read()] == [1, 2, 3]
    other = tmp_path / "other"
    append(other, 2, 3, 4)
    other.rename(path)
    assert [line.seq for line in tail.read()] == [4]


@pytest.mark.parametrize(
    "junk",
    [
        b"\n",
        b"{}\n",
        b"[1]\n",
        b'{"seq": "4"}\n',
        b"\xff\xfe\n",
        b"[" * 99999 + b"\n",
        b'{"seq": 9',
    ],
)
async def test_junk_between_events_is_left_out(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / "events.jsonl"
    append(path, 1)
    with path.open("ab") as file:
        file.write(junk)
    tail = Tail(path)
    assert [line.seq for line in tail.read()] == [1]
    with path.open("ab") as file:
        file.write(b"" if junk.endswith(b"\n") else b"\n")
    append(path, 2)
    assert [line.seq for line in tail.read()] == [2]


def test_a_line_without_an_end_is_not_kept_in_memory_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"x" * (9 << 20))
    tail = Tail(path)
    while tail.read() == [] and tail.has_more:
        pass
    with path.open("ab") as file:
        file.write(b'"\n')
    append(path, 7)
    assert [line.seq for line in tail.read()] == [7]

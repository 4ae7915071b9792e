"""Claims a second of the job queue, and events a second through the feed.

    python -m tests.bench.queue [--jobs N] [--seconds S]

Prints one Markdown table. SQLite is used as in production (WAL, synchronous=FULL), so its rate is
that of the disk's flushes. PostgreSQL is a fresh one on loopback that doesn't flush (`fsync=off`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from gemma_keras_tune.event_types import Step
from gemma_keras_tune.events import EventWriter
from gemma_keras_tune_ui.jobs.event_feed import EventFeed
from gemma_keras_tune_ui.jobs.job import Work
from gemma_keras_tune_ui.jobs.queue import Queue
from gemma_keras_tune_ui.jobs.quotas import Limits
from gemma_keras_tune_ui.store.engine import Store, open_store
from tests.support.databases import (
    add_people,
    new_postgres_database,
    postgres_server,
    sqlite_url,
)

SLOTS = {"light": (), "device": ("gpu:0", "gpu:1", "gpu:2", "gpu:3")}
PEOPLE = tuple(f"person-{number}" for number in range(10))


async def queue_rates(name: str, store: Store, jobs: int) -> None:
    """Submits, then claims, starts, beats and finishes every job."""
    await add_people(store, PEOPLE)
    queue = Queue(store, defaults=Limits(running_jobs=None, queued_jobs=None))
    begun = time.perf_counter()
    for number in range(jobs):
        work = Work(kind="train", run=f"run-{number}", args={"recipe": {}})
        await queue.submit(work, workspace_id="w1", user_id=PEOPLE[number % 10], key=str(number))
    show(f"{name}: submit", jobs, time.perf_counter() - begun)
    claims, rest = [], []
    for _ in range(jobs):
        begun = time.perf_counter()
        job = await queue.claim(SLOTS)
        claims.append(time.perf_counter() - begun)
        assert job is not None
        begun = time.perf_counter()
        await queue.started(job, pid=1, process_start=1)
        await queue.beat(job)
        await queue.finish(job, "done")
        rest.append(time.perf_counter() - begun)
    assert await queue.claim(SLOTS) is None
    show(f"{name}: claim, from {jobs:,} queued to none", jobs, sum(claims), claims)
    show(f"{name}: record the child, beat, finish", jobs, sum(rest), rest)


async def event_rate(folder: Path, seconds: float, readers: int) -> None:
    """2,000 events a second written by one run, followed by several readers."""
    path, feed = folder / "events.jsonl", EventFeed()
    got, late = [0] * readers, []

    async def follow(number: int) -> None:
        async for batch in feed.follow(path):
            got[number] += len(batch.lines)
            written = json.loads(batch.lines[0].text)["tokens_per_s"]
            late.append(time.perf_counter() - written)
            assert not batch.skipped

    tasks = [asyncio.create_task(follow(number)) for number in range(readers)]
    cpu, begun, count = time.process_time(), time.perf_counter(), 0
    with EventWriter(path, 1) as writer:
        while (passed := time.perf_counter() - begun) < seconds:
            due = int(passed * 2000) - count
            await asyncio.to_thread(write_steps, writer, count, due)
            count += due
            await asyncio.sleep(0.01)
    while min(got) < count:  # noqa: ASYNC110  # whatever the readers do between
        await asyncio.sleep(0.01)
    wall = time.perf_counter() - begun
    for task in tasks:
        task.cancel()
    what = f"events to {readers} readers, written and read ({time.process_time() - cpu:.1f} s CPU)"
    show(what, count, wall, late)


def write_steps(writer: EventWriter, done: int, count: int) -> None:
    """So many more steps, each with the time of its writing."""
    for number in range(done, done + count):
        writer(
            Step(
                step=number, total_steps=10**6, epoch=0.5, loss=1.5, tokens=9, answer_tokens=3,
                learning_rate=1e-4, grad_norm=1.0, seconds=0.1, tokens_per_s=time.perf_counter(),
            )
        )  # fmt: skip


def show(what: str, count: int, seconds: float, each: list[float] | None = None) -> None:
    """One row of the table."""
    p95 = f"{statistics.quantiles(each, n=20)[-1] * 1000:.1f}" if each else ""
    print(f"| {what} | {count / seconds:,.0f} | {count:,} | {seconds:.1f} | {p95} |", flush=True)


async def main(jobs: int, seconds: float) -> None:
    """Prints the table."""
    print("| what | a second | count | wall s | p95 ms |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        store = await open_store(sqlite_url(Path(folder)))
        await queue_rates("SQLite", store, jobs)
        await store.close()
        await event_rate(Path(folder), seconds, readers=20)
    with postgres_server() as url:
        store = await open_store(await new_postgres_database(url))
        await queue_rates("PostgreSQL", store, jobs)
        await store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0)
    chosen = parser.parse_args()
    asyncio.run(main(chosen.jobs, chosen.seconds))

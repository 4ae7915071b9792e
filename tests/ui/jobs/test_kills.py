"""Children and server killed at random moments: nothing lost, nothing doubled.

Each child writes what it does into a ledger that is only appended to, so the tests don't have to
believe the database.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select

from gemma_keras_tune_ui.jobs.job import Job, Work, job_of
from gemma_keras_tune_ui.jobs.processes import Identity, identify
from gemma_keras_tune_ui.jobs.queue import Queue
from gemma_keras_tune_ui.jobs.quotas import Limits
from gemma_keras_tune_ui.store.engine import Store, open_store
from gemma_keras_tune_ui.store.tables import jobs
from tests.support.databases import add_people
from tests.support.queue_jobs import done_by, fake_data, fake_train, ledger, until

SERVER = Path(__file__).parents[2] / "support" / "kill_server.py"
ENDS = ("done", "failed", "cancelled")  # one in quarantine is resumed


class Server:
    """A server process that is started again after each kill."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.url = root, url
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        with (self.root / "server.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, str(SERVER), str(self.root), self.url],
                stdout=log, stderr=log, cwd=SERVER.parents[2],
                env={**os.environ, "PYTHONPATH": str(SERVER.parents[2])},
            )  # fmt: skip

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def kill_and_start(self) -> None:
        self.kill()
        self.process = self.start()


async def all_jobs(store: Store) -> list[Job]:
    async with store.begin() as connection:
        rows = await connection.execute(select(jobs).order_by(jobs.c.number))
        return [job_of(row) for row in rows.mappings()]


def children_of(jobs_now: list[Job]) -> list[Identity]:
    found = [Identity(job.pid or 0, job.process_start or 0) for job in jobs_now if job.pid]
    return [child for child in found if child.is_alive()]


def check_ledger(root: Path, job: Job) -> None:
    """One worker at a time, every step done, and one end.

    A child that is killed right after its result counts has no time to write its end.
    """
    lines = [line.split(" ", 2) for line in ledger(root, job)]
    assert lines, f"nobody began: {job}"
    workers = [pid for _, pid, _ in lines]
    changes = sum(a != b for a, b in zip(workers, workers[1:], strict=False))
    assert changes == len(set(workers)) - 1, f"two at once: {lines}"  # nobody comes back
    said = Counter(what for _, _, what in lines)
    assert said["end"] <= 1, lines
    if job.state == "done":
        result = json.loads((root / "jobs" / job.id / "result.json").read_text())
        assert result["status"] == "done"
        total = int(str(job.args).partition("steps=")[2].partition(",")[0])
        assert all(said[f"step {number}"] >= 1 for number in range(1, total + 1))


async def mayhem(
    store: Store, url: str, root: Path, *, kills: int, jobs_at_once: int, within_s: float
) -> Counter[str]:
    """Kills until it has killed enough, then lets everything end; gives how the jobs ended.

    As long as it kills, so many jobs are kept in the queue, however quick the machine is.
    """
    chance = random.Random(1)
    queue = Queue(store, defaults=Limits(running_jobs=None, queued_jobs=None))
    submitted: list[Job] = []
    server, killed, deadline = Server(root, url), 0, time.monotonic() + within_s
    try:
        while time.monotonic() < deadline:
            now = await all_jobs(store)
            unfinished = sum(job.state not in ENDS for job in now)
            if killed >= kills and not unfinished:
                break
            while killed < kills and unfinished < jobs_at_once:
                one = some_work(len(submitted))
                user = chance.choice(("ann", "bob"))
                submitted.append(await queue.submit(one, workspace_id="w1", user_id=user))
                unfinished += 1
            for job in now:
                if job.state == "quarantined":
                    await queue.resume(job.id)
            children = children_of(now)
            if killed < kills and children and chance.random() < 0.75:
                os.kill(chance.choice(children).pid, signal.SIGKILL)
                killed += 1
            elif killed < kills and chance.random() < 0.3:
                server.kill_and_start()
                killed += 1
            await asyncio.sleep(chance.uniform(0.05, 0.4))
        ended = await all_jobs(store)
    finally:
        server.kill()
    assert killed >= kills, f"only {killed} within {within_s:.0f} s"
    assert [job.id for job in ended] == [job.id for job in submitted]
    for job in ended:
        assert job.state == "done", job
        check_ledger(root, job)
    return Counter(job.state for job in ended)


def some_work(number: int) -> Work:
    """A training, and every fifth time something about data."""
    if number % 5 == 4:
        return fake_data("steps=4,pause=0.02")
    return fake_train("steps=12,pause=0.03", f"run-{number}")


@pytest.mark.slow
async def test_a_dozen_kills_lose_nothing_and_double_nothing(
    postgres_url: str, tmp_path: Path
) -> None:
    store = await open_store(postgres_url)
    await add_people(store)
    ends = await mayhem(store, postgres_url, tmp_path, kills=12, jobs_at_once=8, within_s=120)
    await store.close()
    assert set(ends) == {"done"} and ends["done"] >= 8


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_200_kills_lose_nothing_and_double_nothing(postgres_url: str, tmp_path: Path) -> None:
    store = await open_store(postgres_url)
    await add_people(store)
    ends = await mayhem(store, postgres_url, tmp_path, kills=200, jobs_at_once=12, within_s=600)
    await store.close()
    assert set(ends) == {"done"} and ends["done"] >= 12


@pytest.mark.slow
async def test_a_killed_server_loses_nothing_on_sqlite(tmp_path: Path) -> None:
    """SQLite here allows one connection, so the table is read between two servers."""
    root = tmp_path / "root"
    root.mkdir()
    url = f"sqlite+aiosqlite:///{root}/app.db"
    store = await open_store(url)
    await add_people(store)
    queue = Queue(store, defaults=Limits(running_jobs=None))
    submitted = [
        await queue.submit(some_work(number), workspace_id="w1", user_id="ann")
        for number in range(10)
    ]
    await store.close()
    chance, server = random.Random(2), Server(root, url)
    for _ in range(6):
        await asyncio.sleep(chance.uniform(0.6, 1.6))
        server.kill_and_start()
    try:
        await until(lambda: all("end" in done_by(root, job) for job in submitted), within_s=240)
        await asyncio.sleep(3)  # the last end is recorded
    finally:
        server.kill()
    store = await open_store(url)
    ended = await all_jobs(store)
    await store.close()
    assert {job.state for job in ended} == {"done"}
    for job in ended:
        check_ledger(root, job)
        assert done_by(root, job).count("end") == 1


@pytest.mark.slow
async def test_a_server_that_was_stopped_and_woken_writes_nothing_any_more(
    postgres_url: str, tmp_path: Path
) -> None:
    """Case 41: SIGSTOP for longer than a lease, another server takes over, then SIGCONT."""
    root = tmp_path / "root"
    root.mkdir()
    store = await open_store(postgres_url)
    await add_people(store)
    queue = Queue(store, lease_s=0.6)
    job = await queue.submit(fake_train("steps=150,pause=0.03"), workspace_id="w1", user_id="ann")
    server = Server(root, postgres_url)
    try:
        await until(lambda: "step 2" in done_by(root, job), within_s=30)
        os.kill(server.process.pid, signal.SIGSTOP)
        await asyncio.sleep(1.5)
        suspects = await queue.expire()
        adopted = await queue.adopt(suspects[0])
        assert adopted is not None and adopted.fence == 2
        os.kill(server.process.pid, signal.SIGCONT)
        for _ in range(20):
            held = await queue.beat(adopted)
            assert held is not None and held.fence == 2
            await asyncio.sleep(0.05)
        async with asyncio.timeout(30):
            while "end" not in done_by(root, job):
                await queue.beat(adopted)
                await asyncio.sleep(0.05)
        await asyncio.sleep(0.5)
        assert (await queue.get(job.id)).state == "running"
        assert await queue.finish(adopted, "done")
    finally:
        server.kill()
        await store.close()
    assert identify(server.process.pid).start == -1

"""Jobs that a fake child does, for tests of queue and supervisor."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gemma_keras_tune_ui.jobs.job import Job, Work
from gemma_keras_tune_ui.jobs.queue import Queue
from gemma_keras_tune_ui.jobs.supervisor import Supervisor
from gemma_keras_tune_ui.jobs.watch import Patience
from gemma_keras_tune_ui.store.engine import Store

FAKE_WORK = (sys.executable, str(Path(__file__).with_name("fake_work.py")))
ONE_OF_EACH = {"light": ("light:0", "light:1"), "device": ("cpu:0",)}
HASTY = Patience(
    look_s=0.05, beat_s=0.2, stop_s=0.4, term_s=0.4, pause_s=5.0, hang_s=60.0, retry_s=0.1
)


def fake_train(what: str, run: str = "run-1") -> Work:
    recipe = {"name": "made-up", "data": {"path": f"/{what}", "task": "text"}}
    return Work(kind="train", run=run, args={"recipe": recipe})


def fake_data(what: str) -> Work:
    return Work(kind="data", run=None, args={"action": "check", "path": f"/{what}"})


def new_supervisor(
    store: Store, root: Path, *, owner: str | None = None, **changes: Any
) -> Supervisor:
    queue = Queue(store, owner=owner, lease_s=0.6)
    settings: dict[str, Any] = {"slots": ONE_OF_EACH, "patience": HASTY, "warm": {}}
    return Supervisor(queue, root, command=FAKE_WORK, **settings | changes)


async def put(queue: Queue, work: Work, user: str = "ann") -> Job:
    return await queue.submit(work, workspace_id="w1", user_id=user)


async def until(condition: Callable[[], bool], *, within_s: float = 20.0) -> None:
    """Waits until `condition` holds; fails loudly if it doesn't come to that."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110  # it is a file on the disk
            await asyncio.sleep(0.02)


async def reach(queue: Queue, job: Job, *states: str, within_s: float = 20.0) -> Job:
    """The job, once it is in one of these states."""
    seen = job
    try:
        async with asyncio.timeout(within_s):
            while True:
                now = await queue.get(job.id)
                assert now is not None
                seen = now
                if seen.state in states:
                    return seen
                await asyncio.sleep(0.03)
    except TimeoutError:
        raise AssertionError(f"never came to {states}: {seen}") from None


def ledger(root: Path, job: Job) -> list[str]:
    """What the fake children of a job wrote: `ATTEMPT PID WHAT`."""
    path = root / "jobs" / job.id / "ledger.txt"
    return path.read_text().splitlines() if path.exists() else []


def done_by(root: Path, job: Job) -> list[str]:
    """The same without attempts and numbers."""
    return [line.split(" ", 2)[2] for line in ledger(root, job)]

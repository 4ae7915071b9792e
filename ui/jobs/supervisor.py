"""The one task tree that works the queue off: it claims, starts children, and follows them.

Children outlive it. A new supervisor finds them by what the database and their folders say, goes on
with those that live, and puts back those that don't.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from gemma_keras_tune.errors import TuneError

from ..logs import logger
from .children import WORK, Child
from .credentials import CredentialsOf, no_credentials
from .job import Job, Slots
from .launch import Launcher
from .queue import Queue
from .watch import UNREACHABLE, Patience, Watch

_log = logger("jobs")
_TRY_LATER = ("NEEDS_SPACE", "JOB_NOT_WRITABLE")
WARM_WORKERS: Mapping[str, Sequence[str]] = {"data": (), "plan": (), "generate": ()}


class Supervisor:
    """Starts and follows the jobs of one data root.

    Args:
        queue: Where the jobs are.
        root: The data root; its lock is held by this process.
        slots: What may run at once.
        command: What a child runs, without the job's folder.
        patience: How long to wait for what.
        warm: Which kinds have a warm worker, with more arguments for it.
        reserve_bytes: With less free disk than this, nothing new is started.
        credentials_of: What a job's own child gets of its workspace's secrets.
    """

    def __init__(
        self,
        queue: Queue,
        root: Path,
        *,
        slots: Slots,
        command: Sequence[str] = WORK,
        patience: Patience | None = None,
        warm: Mapping[str, Sequence[str]] = WARM_WORKERS,
        reserve_bytes: int = 64 << 20,
        credentials_of: CredentialsOf = no_credentials,
    ) -> None:
        self.queue, self.root, self.slots = queue, root, slots
        self.patience = patience or Patience()
        self.reserve_bytes = reserve_bytes
        self._problems: dict[str, str] = {}
        self._watches: dict[str, Watch] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._launcher = Launcher(root, command=command, warm=warm, credentials_of=credentials_of)
        self._wake = asyncio.Event()
        self._tending: asyncio.Task[None] | None = None

    @property
    def is_working(self) -> bool:
        """Whether it is started and hasn't come to an end by itself."""
        return self._tending is not None and not self._tending.done()

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps it from its work now, for people; it goes on by itself when that is over."""
        return tuple(sorted(set(self._problems.values())))

    @property
    def running(self) -> int:
        """How many jobs it follows."""
        return len(self._tasks)

    def silent(self, seconds: float) -> list[Job]:
        """The jobs whose work has said nothing for so long, though nobody paused it."""
        return [one.job for one in self._watches.values() if one.silent_s >= seconds]

    async def start(self) -> None:
        """Finds the children of servers before this one, and begins to work."""
        (self.root / "jobs").mkdir(parents=True, exist_ok=True)
        self.queue.on_change = self._wake.set
        self._tending = asyncio.create_task(self._tend(), name="supervisor")

    async def stop(self) -> None:
        """Ends the following, not the children: the next server goes on with them."""
        tasks = [*self._tasks.values()] + ([self._tending] if self._tending else [])
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._launcher.close()
        self._tending = None

    async def _tend(self) -> None:
        look_for_all, swept = True, float("-inf")
        while True:
            self._wake.clear()
            try:
                if self.queue.clock().seconds - swept >= self.patience.beat_s:
                    await self._find_children(not_mine=look_for_all)
                    look_for_all, swept = False, self.queue.clock().seconds
                await self._hear_wishes()
                await self._claim_all()
                self._say("queue", "")
            except UNREACHABLE as error:
                self._say("queue", f"the database doesn't answer: {error}")
                await asyncio.sleep(self.patience.retry_s)
            except Exception:  # noqa: BLE001  # one bad turn must not end all jobs' supervision
                _log.exception("supervisor_failed")
                await asyncio.sleep(self.patience.retry_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self.patience.look_s)

    async def _find_children(self, *, not_mine: bool) -> None:
        """Goes on with the suspects, whose children live or have left a result or died."""
        for suspect in await self.queue.expire(not_mine=not_mine):
            if suspect.id in self._tasks:
                continue  # ours; its next beat takes it back
            child = self._launcher.found(suspect, boot=self.queue.clock().boot)
            job = await self.queue.adopt(suspect)
            if job is None:
                continue
            if child is None:
                await self.queue.release(job)
            else:
                _log.info("job_adopted", job=job.id, pid=job.pid, lives=child.process.is_alive())
                self._follow(job, child)

    async def _hear_wishes(self) -> None:
        for job in await self.queue.mine() if self._watches else []:
            watch = self._watches.get(job.id)
            if watch is not None:
                watch.wished(job)

    async def _claim_all(self) -> None:
        free = await asyncio.to_thread(shutil.disk_usage, self.root)
        if free.free < self.reserve_bytes:
            self._say("disk", f"the disk of {self.root} is full: nothing new is started")
            return
        self._say("disk", "")
        while "start" not in self._problems:
            job = await self.queue.claim(self.slots)
            if job is None:
                return
            self._keep(job, asyncio.create_task(self._begin(job), name=f"job {job.id}"))

    def _follow(self, job: Job, child: Child) -> None:
        self._keep(job, asyncio.create_task(self._watch(job, child), name=f"job {job.id}"))

    def _keep(self, job: Job, task: asyncio.Task[None]) -> None:
        self._tasks[job.id] = task
        task.add_done_callback(lambda done: self._forget(job.id, done))

    def _forget(self, job_id: str, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its lease runs out; then it is looked for like any other.
            _log.error("watch_failed", job=job_id, exc_info=error)
        self._tasks.pop(job_id, None)
        self._watches.pop(job_id, None)
        self._problems.pop(job_id, None)
        self._wake.set()

    async def _begin(self, job: Job) -> None:
        try:
            child = await self._launcher.prepare(job)
        except TuneError as error:
            if error.code in _TRY_LATER:
                await self._try_later(job, error.code, str(error))
            else:
                await self.queue.finish(job, "failed", code=error.code, message=str(error))
            return
        except OSError as error:
            await self._try_later(job, "NOT_STARTED", f"No process could be started: {error}")
            return
        began = False
        try:
            process = child.process
            began = await self.queue.started(job, pid=process.pid, process_start=process.start)
            if began:
                child.go()
        finally:
            if not began:
                await child.turn_away()
        if began:
            await self._watch(job, child)

    async def _try_later(self, job: Job, code: str, message: str) -> None:
        """Puts a job back that can't be started now, and starts nothing for a while."""
        self._say("start", message)
        asyncio.get_running_loop().call_later(
            10 * self.patience.retry_s, lambda: self._say("start", "")
        )
        await self.queue.release(job, code=code, message=message)

    async def _watch(self, job: Job, child: Child) -> None:
        watch = Watch(
            self.queue,
            job,
            folder=self._launcher.folder(job),
            child=child,
            patience=self.patience,
            say=lambda problem: self._say(job.id, problem),
        )
        self._watches[job.id] = watch
        await watch.follow()

    def _say(self, what: str, problem: str) -> None:
        if not problem:
            self._problems.pop(what, None)
        elif self._problems.get(what) != problem:
            self._problems[what] = problem
            _log.warning("jobs_wait", problem=problem)

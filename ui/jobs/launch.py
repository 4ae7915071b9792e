"""From a claimed job to a child that waits to begin: folder, command, environment, warm workers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from gemma_keras_tune.durable import fsync_folder
from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.job_folder import JobFolder, read_result, write_job
from gemma_keras_tune.job_spec import parse_job

from ..logs import logger
from .children import Child, FoundChild, OwnChild, WarmChild, clean_environment
from .credentials import CredentialsOf, no_credentials
from .job import DEVICE, Job
from .processes import Identity
from .slots import environment_for
from .warm import OwnWarmChild, WarmWorker

_log = logger("jobs")
_NOBODY = Identity(0, 0)
_ROOM_S = 20.0  # how long a warm model server may take to go when its device is needed


class Launcher:
    """Makes children for jobs, and keeps the warm workers.

    Args:
        root: The data root.
        command: What a child runs, without the job's folder.
        warm: More arguments of each kind of warm worker; a kind that is left out gets a child of
            its own for each job.
        credentials_of: What a job's own child gets of its workspace's secrets. Warm workers serve
            every workspace, so they get none.
    """

    def __init__(
        self,
        root: Path,
        *,
        command: Sequence[str],
        warm: Mapping[str, Sequence[str]],
        credentials_of: CredentialsOf = no_credentials,
    ) -> None:
        self.root, self.command, self.warm = root, tuple(command), dict(warm)
        self._credentials_of = credentials_of
        self._workers: dict[tuple[str, tuple[str, ...]], WarmWorker] = {}
        self._starting = asyncio.Lock()

    def folder(self, job: Job) -> JobFolder:
        """Where the job's files are."""
        return JobFolder(self.root / "jobs" / job.id)

    async def prepare(self, job: Job) -> OwnChild | OwnWarmChild:
        """A child that begins with its `go`.

        Raises:
            TuneError: `JOB_INVALID`, `JOB_EXISTS`, `JOB_NOT_WRITABLE`, `NEEDS_SPACE` or
                `VAULT_KEY_LOST`.
            OSError: If no process can be started.
        """
        folder = await asyncio.to_thread(self._write, job)
        if job.warm_kind in self.warm:
            worker = await self._worker(job)
            return OwnWarmChild(worker, folder=folder, ends_with_worker=_does_it_itself(job.kind))
        if job.pool == DEVICE:
            await self._make_room(job.slots)
        environment = self._environment(job.slots) | dict(await self._credentials_of(job))
        command = (*self.command, str(folder.path))
        return await asyncio.to_thread(OwnChild, command, folder=folder, environment=environment)

    def found(self, job: Job, *, boot: str) -> Child | None:
        """What a server before this one started for the job, dead or alive; None: nothing.

        Args:
            job: The job, as the database has it.
            boot: The machine's boot now.
        """
        if job.pid is None or job.process_start is None:
            return None
        process = Identity(job.pid, job.process_start)
        if job.lease_boot != boot:
            process = _NOBODY  # a number of before the machine started anew says nothing
        if job.warm_kind in self.warm:
            folder = self.folder(job)
            return WarmChild(process, folder=folder, ends_with_worker=_does_it_itself(job.kind))
        return FoundChild(process)

    async def close(self) -> None:
        """Tells the warm workers to end after what they do now."""
        for worker in self._workers.values():
            await worker.close()
        self._workers.clear()

    def _write(self, job: Job) -> JobFolder:
        spec = parse_job(
            {"kind": job.kind, "run": job.run_id, "args": dict(job.args)}, where=f"job {job.id}"
        )
        folder = write_job(self.root, job.id, spec)
        # Of before a pause, or of another job: it must not be taken for this one's.
        if folder.result_json.exists() and not (job.fence > 1 and _is_at_its_end(folder)):
            folder.result_json.unlink()
            fsync_folder(folder.path)
        return folder

    def _environment(self, slots: tuple[str, ...]) -> dict[str, str]:
        return clean_environment({"GEMMA_KERAS_TUNE_HOME": str(self.root)} | environment_for(slots))

    async def _worker(self, job: Job) -> WarmWorker:
        """The warm worker for a job: one for data, one for plans, one a device for a model."""
        slots = job.slots if job.pool == DEVICE else ()
        async with self._starting:
            worker = self._workers.get((job.kind, slots))
            if worker is None or not worker.is_alive:
                worker = WarmWorker(
                    (*self.command, "--warm", job.kind, *self.warm[job.kind]),
                    environment=self._environment(slots),
                    log=self.root / "jobs" / f"warm-{job.kind}.txt",
                )
                self._workers[job.kind, slots] = worker
                _log.info("warm_worker", kind=job.kind, pid=worker.identity.pid)
            return worker

    async def _make_room(self, slots: tuple[str, ...]) -> None:
        """Ends the warm model server on a device that other work needs now."""
        async with self._starting:
            for kind, held in [*self._workers]:
                if set(held) & set(slots):
                    await self._workers.pop((kind, held)).close(within_s=_ROOM_S)


def _is_at_its_end(folder: JobFolder) -> bool:
    """Whether a child that was given up for dead has brought the job to its end all the same."""
    try:
        result = read_result(folder)
    except TuneError:  # damaged
        return False
    return result is not None and result.status != "stopped"


def _does_it_itself(kind: str) -> bool:
    """Whether a warm worker of this kind does its jobs itself, and not in a fork of each."""
    return kind != "data"

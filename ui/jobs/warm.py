"""Workers that stay, with what takes long to load: `work --warm data`, `plan` and `generate`.

They read job folders from their standard input, one a line, and answer a line of JSON when a job
has ended. When the server goes, their input ends; they finish what they have and go too.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from gemma_keras_tune.job_folder import JobFolder

from .children import NICE, WarmChild
from .processes import Identity, ended, identify, signal_group, signal_one


class WarmWorker:
    """One worker process.

    Args:
        command: What it runs.
        environment: All of its variables.
        log: Where its messages go.

    Raises:
        OSError: If it can't be started.
    """

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], log: Path
    ) -> None:
        with log.open("ab") as file:
            self._popen = subprocess.Popen(  # noqa: S603  # our own command
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                bufsize=0,
                env=dict(environment),
                start_new_session=True,
            )
        assert self._popen.stdin and self._popen.stdout  # noqa: S101  # they are pipes
        self._stdin, self._stdout = self._popen.stdin, self._popen.stdout
        self.identity: Identity = identify(self._popen.pid)
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._popen.pid, NICE)
        self._answers: dict[str, asyncio.Future[int | None]] = {}
        self._heard = b""
        for pipe in (self._stdin, self._stdout):
            os.set_blocking(pipe.fileno(), False)
        asyncio.get_running_loop().add_reader(self._stdout.fileno(), self._read)
        self._end = asyncio.create_task(self._follow())

    @property
    def is_alive(self) -> bool:
        """Whether it can be given jobs."""
        return not self._end.done()

    async def work(self, folder: JobFolder) -> int | None:
        """The exit code of the job when it has ended; None if the worker ended before it."""
        if not self.is_alive:
            return None
        answer = asyncio.get_running_loop().create_future()
        self._answers[folder.id] = answer
        try:
            self._stdin.write(f"{folder.path}\n".encode())
        except OSError:  # it ended, or it is stopped and its pipe is full
            return None
        return await answer

    async def close(self, *, within_s: float = 0.0) -> None:
        """Tells it to end after what it does now.

        Args:
            within_s: So many seconds later it is killed, if it hasn't ended; 0: never.
        """
        self._stdin.close()
        if within_s > 0:
            signal_one(self.identity, signal.SIGTERM)
            _, late = await asyncio.wait({self._end}, timeout=within_s)
            if late:
                signal_group(self.identity, signal.SIGKILL)
                await self._end
        self._end.cancel()
        await asyncio.gather(self._end, return_exceptions=True)

    async def _follow(self) -> None:
        try:
            await ended(self.identity)
            self._read()
            await asyncio.to_thread(self._popen.wait)
        finally:
            self._close_output()
            for answer in self._answers.values():
                if not answer.done():
                    answer.set_result(None)
            self._answers.clear()

    def _read(self) -> None:
        if self._stdout.closed:
            return
        try:
            data = os.read(self._stdout.fileno(), 1 << 16)
        except BlockingIOError:
            return
        if not data:
            self._close_output()
        *lines, self._heard = (self._heard + data).split(b"\n")
        for line in lines:
            self._hear(line)

    def _close_output(self) -> None:
        if not self._stdout.closed:
            asyncio.get_running_loop().remove_reader(self._stdout.fileno())
            self._stdout.close()

    def _hear(self, line: bytes) -> None:
        with suppress(ValueError, KeyError, TypeError):
            said = json.loads(line)
            answer = self._answers.pop(said["job"], None)
            if answer is not None and not answer.done():
                answer.set_result(int(said["exit"]))


class OwnWarmChild(WarmChild):
    """A job that a worker of this server does.

    Args:
        worker: The worker.
        folder: The job, which it isn't told of until `go`.
        ends_with_worker: Whether the worker does it itself, instead of a fork of its own.
    """

    def __init__(self, worker: WarmWorker, *, folder: JobFolder, ends_with_worker: bool) -> None:
        super().__init__(worker.identity, folder=folder, ends_with_worker=ends_with_worker)
        self._worker = worker
        self._answer: asyncio.Task[int | None] | None = None

    def go(self) -> None:
        """Hands the job to the worker."""
        self._answer = asyncio.create_task(self._worker.work(self.folder))

    async def turn_away(self) -> None:
        """Nothing: the worker was never told."""

    async def ended(self) -> None:
        """Returns when the worker has answered, or nobody is left who could."""
        if self._answer is not None:
            self.exit_code = await asyncio.shield(self._answer)
        if self.exit_code is None:
            await super().ended()

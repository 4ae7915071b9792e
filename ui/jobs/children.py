"""Child processes that do the work: started so that none begins which isn't on record.

A child waits at a gate until its process number stands in the database. If the server is killed
before, the gate closes and the child ends without having begun; so no job is ever worked on by a
process that nobody knows of.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from gemma_keras_tune.job_folder import JobFolder
from gemma_keras_tune.writing import current_writer

from .processes import Identity, ended, identify, signal_group, signal_one

WORK = (sys.executable, "-m", "gemma_keras_tune", "work")
_GATE = 'read -r go && [ "$go" = go ] && exec "$@" </dev/null'
NICE = 10
"""How much the work of jobs stands back behind the server, as `nice` has it."""
_POLL_S = 0.2

_PASSED_ON = frozenset({
    "HOME", "PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "USER", "LOGNAME", "VIRTUAL_ENV",
    "LD_LIBRARY_PATH", "GEMMA_KERAS_TUNE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE",
    "KAGGLEHUB_CACHE", "KAGGLE_CONFIG_DIR", "KERAS_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy",
    "no_proxy", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE",
})  # fmt: skip
_PASSED_ON_PREFIXES = ("LC_", "JAX_", "XLA_", "TF_", "TPU_", "CUDA_", "NVIDIA_", "OMP_", "MKL_")


def clean_environment(
    more: Mapping[str, str], environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The variables that a child gets: known ones only, so that no secret is handed on.

    Args:
        more: What it gets besides, such as the device it may use.
        environment: Where they come from; the server's own by default.
    """
    source = os.environ if environment is None else environment
    kept = {
        name: value
        for name, value in source.items()
        if name in _PASSED_ON or name.startswith(_PASSED_ON_PREFIXES)
    }
    return kept | dict(more)


class Child:
    """A process that works on one job: started by this server, or found again.

    Attributes:
        process: Which process it is.
        exit_code: How it ended (negative: by that signal); None while it lives, and for ever if
            it wasn't started by this server.
    """

    def __init__(self, process: Identity) -> None:
        self.process = process
        self.exit_code: int | None = None

    async def ended(self) -> None:
        """Returns when the process has ended and nothing of its group is left."""
        await ended(self.process)
        signal_group(self.process, signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Signals the process and all that it started."""
        signal_group(self.process, number)


class OwnChild(Child):
    """A child of this server, which waits at the gate until `go`.

    Args:
        command: What it runs.
        folder: Its job, where its output goes.
        environment: All of its variables.

    Raises:
        OSError: If it can't be started.
    """

    def __init__(
        self, command: Sequence[str], *, folder: JobFolder, environment: Mapping[str, str]
    ) -> None:
        with folder.log.open("ab") as log:
            self._popen = subprocess.Popen(  # noqa: S603  # our own command, no shell's words in it
                ["/bin/sh", "-c", _GATE, "gate", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder.path,
                env=dict(environment),
                start_new_session=True,
            )
        super().__init__(identify(self._popen.pid))
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self._popen.pid, NICE)

    def go(self) -> None:
        """Opens the gate."""
        assert self._popen.stdin is not None  # noqa: S101  # it is a pipe
        with suppress(BrokenPipeError):  # it was killed meanwhile
            self._popen.stdin.write(b"go\n")
            self._popen.stdin.close()

    async def turn_away(self) -> None:
        """Closes the gate for good and collects the process."""
        assert self._popen.stdin is not None  # noqa: S101  # it is a pipe
        with suppress(BrokenPipeError):
            self._popen.stdin.close()
        await self.ended()

    async def ended(self) -> None:
        """Returns when the process has ended, is collected, and nothing of its group is left."""
        await ended(self.process)
        signal_group(self.process, signal.SIGKILL)  # before its number is given away
        self.exit_code = await asyncio.to_thread(self._popen.wait)


class FoundChild(Child):
    """The process of a job that another server had started."""


class WarmChild(Child):
    """A job that a warm worker does, for this server or for one before it.

    Args:
        worker: The worker's process.
        folder: The job.
        ends_with_worker: Whether the worker does it itself, instead of a fork of its own.
    """

    def __init__(self, worker: Identity, *, folder: JobFolder, ends_with_worker: bool) -> None:
        super().__init__(worker)
        self.folder = folder
        self.ends_with_worker = ends_with_worker

    async def ended(self) -> None:
        """Returns when there is a result, or nobody is left who could still make one."""
        while not await asyncio.to_thread(self._is_over):  # noqa: ASYNC110  # nothing tells us
            await asyncio.sleep(_POLL_S)

    def signal(self, number: signal.Signals) -> None:
        """Signals the process that works on the job, if one has begun."""
        writer = current_writer(self.folder)
        if writer is not None:
            signal_one(Identity(writer.pid, writer.process_start), number)

    def _is_over(self) -> bool:
        lives = self.process.is_alive()
        if current_writer(self.folder) is not None:
            return False
        return not lives or (not self.ends_with_worker and _has_result(self.folder.result_json))


def _has_result(path: Path) -> bool:
    with suppress(OSError):
        return path.exists()
    return False

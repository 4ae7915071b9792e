"""Work on files that nobody trusts: in a child process that can only harm itself.

The child is forked, so it has everything imported already. It may take so much memory, so much
processor time and so much time by the clock; it has a process group of its own, which is ended as
a whole; and it dies with its parent. Linux only, as the package is.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from .errors import TuneError

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_GRACE_S = 2.0  # processor seconds between the warning signal and the end


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a child may use.

    Attributes:
        memory_bytes: Address space beyond what the parent has when it forks.
        seconds: Time by the clock, and of the processor.
    """

    memory_bytes: int = 1536 << 20
    seconds: float = 300.0


@dataclass(frozen=True, kw_only=True)
class Child:
    """A limited child at work.

    Attributes:
        pid: Its process id, which is that of its process group, too.
        deadline: When its time is up, on the monotonic clock.
        limits: What it may use.
    """

    pid: int
    deadline: float
    limits: Limits


@dataclass(frozen=True, kw_only=True)
class End:
    """How a child ended.

    Attributes:
        exit_code: What it ended with; minus the signal's number if one ended it.
        was_late: Whether its time was up.
        limits: What it was allowed.
    """

    exit_code: int
    was_late: bool
    limits: Limits

    @property
    def reason(self) -> TuneError:
        """Why a child that left no result has none, for a person."""
        if self.was_late or self.exit_code == -signal.SIGXCPU:
            return TuneError(
                f"It took longer than the {self.limits.seconds:g} seconds that are allowed, and "
                "was ended. Take a smaller file, or let an administrator raise the limit.",
                code="TOO_SLOW",
            )
        how = f"ended with code {self.exit_code}"
        if self.exit_code < 0:
            how = f"was ended by {signal.Signals(-self.exit_code).name}"
        return TuneError(
            f"The process that read the file {how} before it had a result. The file is damaged, or "
            f"needs more than the {self.limits.memory_bytes / 2**20:,.0f} MiB that are allowed.",
            code="WORKER_DIED",
        )


def adopt_orphans() -> None:
    """Makes this process the parent of what its children leave behind, so that `sweep` finds it."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def start(work: Callable[[], int], *, limits: Limits, log: Path) -> Child:
    """A forked child that is doing `work`, and will end with what `work` returns.

    This process must have no other thread that may hold a lock.

    Args:
        work: What to do; an exception ends the child with code 1.
        limits: What it may use.
        log: Where its output goes.

    Raises:
        OSError: If the system makes no more processes.
    """
    parent = os.getpid()
    address_space = psutil.Process().memory_info().vms + limits.memory_bytes
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Child(pid=pid, deadline=time.monotonic() + limits.seconds, limits=limits)
    code = 1
    try:
        _become_a_child(parent, log)
        _limit(limits, address_space)
        code = work()
    finally:
        if sys.exc_info()[0] is not None:
            traceback.print_exc()
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def ended(child: Child) -> End | None:
    """How the child ended, with its whole process group; None while it works within its time."""
    was_late = time.monotonic() >= child.deadline
    if was_late:
        _kill(child.pid)
    # Looked at before it is reaped: until then no other process can get its number.
    options = os.WEXITED | os.WNOWAIT | (0 if was_late else os.WNOHANG)
    if os.waitid(os.P_PID, child.pid, options) is None:
        return None
    _kill(child.pid)
    code = os.waitstatus_to_exitcode(os.waitpid(child.pid, 0)[1])
    was_late = was_late and code == -signal.SIGKILL
    return End(exit_code=code, was_late=was_late, limits=child.limits)


def sweep(children: Collection[Child]) -> None:
    """Ends what former children left behind: processes of ours that are none of `children`."""
    known = {child.pid for child in children}
    for process in psutil.Process().children():
        if process.pid not in known:
            with suppress(OSError, psutil.NoSuchProcess):
                _kill(process.pid)
                os.waitpid(process.pid, 0)


def _become_a_child(parent: int, log: Path) -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            with suppress(OSError):
                os.close(int(name))


def _limit(limits: Limits, address_space: int) -> None:
    seconds = max(1, int(limits.seconds))
    for what, soft, hard in (
        (resource.RLIMIT_AS, address_space, address_space),
        (resource.RLIMIT_CPU, seconds, seconds + int(_GRACE_S)),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_NPROC, 0, 0),  # no process and no thread; root is not bound by it
    ):
        most = resource.getrlimit(what)[1]
        if most != resource.RLIM_INFINITY:  # only root may raise it
            soft, hard = min(soft, most), min(hard, most)
        resource.setrlimit(what, (soft, hard))


def _kill(pid: int) -> None:
    """Ends a process and its group, if it already leads one."""
    for end in (os.killpg, os.kill):
        with suppress(ProcessLookupError, PermissionError):
            end(pid, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")

"""Telling a process from another that got its number later, and signalling the right one."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gemma_keras_tune.locks import process_start

_POLL_S = 0.2  # where the system can't tell us of an end


@dataclass(frozen=True)
class Identity:
    """A process for sure: its number, and when it began.

    Attributes:
        pid: Its number, which is used again after its end.
        start: When it began, in clock ticks since boot; 0 where the system doesn't say.
    """

    pid: int
    start: int

    def is_alive(self) -> bool:
        """Whether this very process still runs; one that ended and wasn't collected doesn't."""
        return self.pid > 1 and process_start(self.pid) == self.start


def identify(pid: int) -> Identity:
    """The process that has this number now."""
    return Identity(pid, process_start(pid))


async def ended(process: Identity) -> None:
    """Returns when the process has ended, whoever its parent is."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    except (AttributeError, OSError):  # not on this system
        while process.is_alive():  # noqa: ASYNC110  # nothing tells us
            await asyncio.sleep(_POLL_S)
        return
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    try:
        if process.is_alive():  # else the number was used again before the handle was opened
            loop.add_reader(handle, over.set)
            await over.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def signal_group(leader: Identity, number: signal.Signals) -> bool:
    """Whether the group that a process leads was sent a signal; never one that came later.

    The leader may have ended: its number isn't given away while others are left in its group.
    """
    if leader.pid <= 1:  # 0 would be our own group
        return False
    start = process_start(leader.pid)
    if start not in (-1, leader.start):
        return False
    if start == -1 and not _is_left_behind(leader):
        return False
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader.pid, number)
        return True
    return False


def signal_one(process: Identity, number: signal.Signals) -> bool:
    """Whether this very process was sent a signal."""
    if not process.is_alive():
        return False
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process.pid, number)
        return True
    return False


def catches(process: Identity, number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for a signal."""
    with suppress(OSError, ValueError, IndexError):
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        mask = int(status.partition("SigCgt:")[2].split()[0], 16)
        return process.is_alive() and bool(mask >> (number - 1) & 1)
    return False


def _is_left_behind(leader: Identity) -> bool:
    """Whether the group still has members, all of which are younger than its leader was."""
    starts = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with suppress(OSError, ValueError, IndexError):
                text = Path(entry.path, "stat").read_text(encoding="utf-8")
                fields = text.rpartition(")")[2].split()
                if int(fields[2]) == leader.pid == int(fields[3]):  # group and session
                    starts.append(int(fields[19]))
    return bool(starts) and min(starts) >= leader.start

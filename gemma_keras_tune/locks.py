"""One process at a time, by a lock on a file that the system lets go of when its holder dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

# What this process holds. A forked child would keep our locks alive after we are gone.
_held: set[int] = set()


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The process that holds a lock.

    Attributes:
        pid: Its process id on `host`.
        host: The machine's name.
        boot_id: The machine's boot, so that a pid of before a reboot is not believed.
        process_start: When the process began, in clock ticks since boot; 0 if unknown.
        since: When it took the lock, ISO 8601 in UTC.
    """

    pid: int
    host: str
    boot_id: str
    process_start: int
    since: str


def take(path: str | os.PathLike[str], *, wait_s: float = 0.0) -> int:
    """An open file that holds the lock at `path` until `release`, or until this process ends.

    Args:
        path: The lock file; made if it is missing, and never removed.
        wait_s: How long to wait for another holder, in seconds.

    Raises:
        BlockingIOError: If another process, or this one, still holds the lock.
        OSError: If the file can't be opened for writing.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return _try(Path(path))
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.02)


def describe(handle: int) -> None:
    """Writes into a held lock file who holds it, for `holder` to read.

    Raises:
        OSError: If the file can't be written.
    """
    me = Holder(
        pid=os.getpid(),
        host=socket.gethostname(),
        boot_id=boot_id(),
        process_start=process_start(os.getpid()),
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(asdict(me)).encode(), 0)


def release(handle: int) -> None:
    """Lets go of a lock that `take` gave."""
    if handle not in _held:
        return  # we are a forked child: the number may by now be another file's
    _held.remove(handle)
    with suppress(OSError):
        os.ftruncate(handle, 0)
    os.close(handle)


def holder(path: str | os.PathLike[str]) -> Holder | None:
    """Who holds the lock at `path` and has described itself, or None. Never takes the lock.

    A holder on another machine can't be looked at, and is believed.
    """
    try:
        found = Holder(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    if found.host != socket.gethostname():
        return found
    is_alive = process_start(found.pid) == found.process_start
    return found if is_alive and found.boot_id == boot_id() else None


def boot_id() -> str:
    """Which boot of the machine this is; empty where the system doesn't say."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""


def process_start(pid: int) -> int:
    """When a process began, in clock ticks since boot; 0 if it lives but can't be asked; -1: gone.

    A pid is used again after its process has ended; together with this it is not.
    """
    try:
        # The second field is the program's name in brackets, and may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return -1 if fields[0] in "ZX" else int(fields[19])
    except (OSError, ValueError, IndexError):
        if Path("/proc/self/stat").exists():
            return -1
    try:
        os.kill(pid, 0)  # no /proc here; signal 0 only asks whether there is such a process
    except ProcessLookupError:
        return -1
    except PermissionError:
        pass
    return 0


def _try(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_the_file_at(path, handle):
            raise BlockingIOError("the lock file was removed and made again meanwhile")
    except OSError:
        os.close(handle)
        raise
    _held.add(handle)
    return handle


def _is_the_file_at(path: Path, handle: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.stat(path), os.fstat(handle))
    return False


def _let_go_in_forked_child() -> None:
    for handle in _held:
        with suppress(OSError):
            os.close(handle)  # the lock itself stays with the parent, whose handle is open
    _held.clear()


os.register_at_fork(after_in_child=_let_go_in_forked_child)

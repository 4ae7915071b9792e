"""Whether the data root can carry a server: its folder, its file system, its free space."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gemma_keras_tune import locks
from gemma_keras_tune.durable import atomic_write_bytes
from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.run_folder import HOME_VARIABLE

LOCK_NAME = "server.lock"
TRASH_S = 7 * 86_400.0
_BALLAST = "ballast"
_BALLAST_BYTES = 64 * 2**20
_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "afs")
_MOUNTS = Path("/proc/self/mountinfo")


def prepare(root: Path, *, holds_database: bool) -> None:
    """Makes the root and tries whether a file can be kept there.

    Args:
        root: The data root.
        holds_database: Whether the database is a SQLite file in it.

    Raises:
        TuneError: `ROOT_NOT_WRITABLE`; `ROOT_ON_NETWORK` for SQLite on a network file system,
            whose locks can't be relied on (sqlite.org/howtocorrupt.html, section 2.1).
    """
    probe = root / f".writable-{secrets.token_hex(4)}"
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic_write_bytes(probe, b"x")
        probe.unlink()
    except OSError as error:
        raise TuneError(
            f"The data root {root} can't be written: {error.strerror or error}. Choose another "
            f"folder with --root or the variable {HOME_VARIABLE}, or make room in it.",
            code="ROOT_NOT_WRITABLE",
        ) from error
    kind = file_system(root)
    if holds_database and kind in _NETWORK:
        raise TuneError(
            f"The data root {root} is on a network file system ({kind}), where SQLite can lose "
            "its database. Choose a local folder with --root, or PostgreSQL with database.url.",
            code="ROOT_ON_NETWORK",
        )


def keep_ballast(root: Path) -> None:
    """Makes a file that is given up when the disk is full, so that the database can end its work.

    With too little room for it, there is none: that is no reason not to start.
    """
    path = root / _BALLAST
    with suppress(OSError):
        if path.stat().st_size == _BALLAST_BYTES:
            return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(handle, 0, _BALLAST_BYTES)
        finally:
            os.close(handle)
    except OSError:
        give_up_ballast(root)


def give_up_ballast(root: Path) -> bool:
    """Whether there was a ballast, which is now free disk."""
    try:
        (root / _BALLAST).unlink()
    except OSError:
        return False
    return True


@contextmanager
def held(root: Path) -> Iterator[None]:
    """Holds the root for this process: one server a data root.

    Raises:
        TuneError: `SERVER_RUNNING`, with who holds it.
    """
    lock = root / LOCK_NAME
    try:
        handle = locks.take(lock)
    except BlockingIOError as error:
        raise _running(root, locks.holder(lock)) from error
    try:
        locks.describe(handle)
        yield
    finally:
        locks.release(handle)


def refuse_second_server(root: Path) -> None:
    """Looks whether another server holds the root, before anything else is tried.

    Raises:
        TuneError: `SERVER_RUNNING`, with who holds it.
    """
    holder = server_of(root)
    if holder is not None:
        raise _running(root, holder)


def server_of(root: Path) -> locks.Holder | None:
    """The process that serves the root now, or None."""
    return locks.holder(root / LOCK_NAME)


def file_system(path: Path) -> str:
    """The kind of file system that a folder is on, as Linux calls it; empty if it can't be told."""
    try:
        lines = _MOUNTS.read_text(encoding="utf-8").splitlines()
        device = os.stat(path).st_dev
    except OSError:
        return ""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted:
            return after.split()[0]
    return ""


def _running(root: Path, holder: locks.Holder | None) -> TuneError:
    who = "another process"
    if holder is not None:
        who = f"process {holder.pid} on {holder.host}, since {holder.since}"
    return TuneError(
        f"A server works with the data root {root} already: {who}. Use that one, stop it, or "
        "choose another root with --root.",
        code="SERVER_RUNNING",
    )


async def empty_trash(root: Path, *, keep_s: float = TRASH_S) -> int:
    """Removes deleted data sets for good, once nobody wants them back; returns how many.

    Args:
        root: The data root.
        keep_s: How long they stay after they were deleted, in seconds.
    """
    return await asyncio.to_thread(_empty_trash, root / "trash", time.time() - keep_s)


def _empty_trash(trash: Path, before: float) -> int:
    removed = 0
    for folder in trash.glob("*/*"):
        with suppress(OSError):  # another sweep was quicker, or it isn't ours to remove
            if folder.lstat().st_ctime < before:  # the rename into the trash sets this time
                shutil.rmtree(folder)
                removed += 1
    return removed

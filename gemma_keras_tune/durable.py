"""Files that survive a kill, a full disk and a power cut: written whole, or not there at all.

A rename is atomic, but only `fsync` makes it last: of the file's bytes before the rename, and of
the folder's list of names after it. Everything that a run must not lose goes through here.
"""

from __future__ import annotations

import errno
import fcntl
import glob
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

# What the system answers when there is no room left: the disk, the quota, the largest file.
FULL_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_NEW_S = 60.0  # a temporary folder that is younger may still wait for its lock

# The system calls behind this module, by name, so that a test can let the n-th of them fail.
_open = os.open
_write = os.write
_fsync = os.fsync
_rename = os.rename

# What a file system answers that can't fsync a folder at all (some network and FUSE ones).
_NO_FOLDER_FSYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF}


def atomic_write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Writes `data` to `path` durably; a reader sees the old file or the new one, never a part.

    Raises:
        OSError: If the file can't be written (full disk, no permission); the old one is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        _write_new_file(temporary, data)
        _rename(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def atomic_write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes `text` as UTF-8, as `atomic_write_bytes` does."""
    atomic_write_bytes(path, text.encode("utf-8"))


def atomic_write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON, as `atomic_write_bytes` does.

    Raises:
        ValueError: If `value` holds NaN or an infinity, which JSON doesn't have.
        TypeError: If `value` holds something that JSON doesn't have.
        OSError: If the file can't be written; the old one is untouched.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write_text(path, text + "\n")


def append_line(path: str | os.PathLike[str], line: bytes) -> None:
    """Appends `line` and a line break durably; several processes may do so at the same time.

    A last line that somebody's kill tore is left as it is, and ours starts on a line of its own.

    Raises:
        OSError: If it can't be written; then the file is as it was, as far as the disk allows.
    """
    handle = _open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)  # let go of when the file is closed
        size = os.fstat(handle).st_size
        is_torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        try:
            write_all(handle, b"\n" * is_torn + line + b"\n")
            _fsync(handle)
        except OSError:
            with suppress(OSError):
                os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)
    fsync_folder(Path(path).parent)


@contextmanager
def new_folder(target: str | os.PathLike[str], *, replace: bool = False) -> Iterator[Path]:
    """A temporary folder beside `target` that becomes `target`, whole and durable, at the end.

    If the body raises, the temporary folder is removed and `target` is as it was. What a killed
    process left of the same target is removed too, and an older `target` that it had set aside to
    put the new one in its place is put back.

    Args:
        target: The folder that will be there afterwards.
        replace: Whether a `target` that is there already may be replaced.

    Raises:
        FileExistsError: If `target` is there and `replace` is false.
        OSError: If something can't be written; `target` is as it was.
    """
    target = Path(target)
    _put_back(target)
    if target.exists() and not replace:
        raise FileExistsError(errno.EEXIST, "the folder is there already", str(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(target)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    lock = os.open(temporary, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks: nobody can tell that we are alive
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield temporary
        fsync_tree(temporary)
        _move_into_place(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(lock)


@contextmanager
def new_file(target: str | os.PathLike[str]) -> Iterator[Path]:
    """The path of a temporary file beside `target` that becomes `target`, whole, at the end.

    The body writes it. If the body raises, the temporary file is removed and `target` is as it was.

    Args:
        target: The file that will be there afterwards; an older one is replaced.

    Raises:
        OSError: If it can't be flushed or renamed; `target` is as it was.
    """
    target = Path(target)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        fsync_file(temporary)
        rename(temporary, target)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _put_back(target: Path) -> None:
    """Ends what a process began that was killed while it replaced `target`."""
    for aside in _beside(target, "old"):
        with suppress(OSError):  # taken away meanwhile, or not ours to touch
            if time.time() - aside.stat().st_ctime < _NEW_S:
                continue
            if target.exists():
                shutil.rmtree(aside, ignore_errors=True)
            else:
                rename(aside, target)


def _beside(target: Path, ending: str) -> list[Path]:
    """The hidden folders of a target, by how their names end."""
    return sorted(target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-f]' * 8}.{ending}"))


def _remove_abandoned(target: Path) -> None:
    """Removes temporary folders of this target whose process is gone, and that are no longer new.

    One that was just made may not be locked yet.
    """
    for left in _beside(target, "tmp"):
        with suppress(OSError):  # taken away meanwhile, or not ours to remove
            if time.time() - left.stat().st_mtime < _NEW_S:
                continue
            lock = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(lock)


def rename(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Renames a file or folder, and returns when the new name would survive a power cut.

    Raises:
        OSError: If it can't be renamed, or the folders' fsync fails.
    """
    source, target = Path(source), Path(target)
    _rename(source, target)
    fsync_folder(target.parent)
    if source.parent != target.parent:
        fsync_folder(source.parent)


def remove_tree(folder: str | os.PathLike[str], *, trash: str | os.PathLike[str]) -> None:
    """Removes `folder` so that no half of it ever stands under its own name.

    Args:
        folder: What to remove.
        trash: A folder on the same file system; made if it is missing. What a kill leaves in it
            can be deleted by anyone at any time.

    Raises:
        OSError: If it can't be renamed into `trash`; then it is untouched.
    """
    folder, trash = Path(folder), Path(trash)
    trash.mkdir(exist_ok=True)
    doomed = trash / f"{folder.name}.{secrets.token_hex(4)}"
    rename(folder, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def sha256_file(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, as 64 lower-case hex digits.

    Raises:
        OSError: If the file can't be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fsync_tree(folder: str | os.PathLike[str]) -> None:
    """Flushes every file and every folder below `folder`, and `folder` itself, to the disk.

    Raises:
        OSError: If a flush fails; what was written must then be taken for lost.
    """
    for root, _, names in os.walk(folder, topdown=False, onerror=_raise):
        for name in names:
            fsync_file(Path(root) / name)
        fsync_folder(root)


def fsync_file(path: str | os.PathLike[str]) -> None:
    """Flushes one file's bytes to the disk.

    Raises:
        OSError: If the flush fails; the bytes must then be taken for lost.
    """
    handle = _open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _fsync(handle)
    finally:
        os.close(handle)


def fsync_folder(path: str | os.PathLike[str]) -> None:
    """Flushes a folder's list of names to the disk, where its file system knows how to.

    Raises:
        OSError: If the flush fails for any other reason than that it is not offered.
    """
    try:
        fsync_file(path)
    except OSError as error:
        if error.errno not in _NO_FOLDER_FSYNC:
            raise


def write_all(handle: int, data: bytes) -> None:
    """Writes all of `data` to an open file: `os.write` may write less than it was given.

    Raises:
        OSError: If the rest can't be written; a part may have been.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[_write(handle, rest) :]


def _write_new_file(path: Path, data: bytes) -> None:
    handle = _open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        write_all(handle, data)
        _fsync(handle)
    finally:
        os.close(handle)


def _move_into_place(temporary: Path, target: Path) -> None:
    """Renames `temporary` to `target`; an older `target` is first set aside, then deleted."""
    if not target.exists():
        rename(temporary, target)
        return
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.old")
    _rename(target, aside)
    try:
        rename(temporary, target)
    except BaseException:
        if not target.exists():
            _rename(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _raise(error: OSError) -> None:
    raise error

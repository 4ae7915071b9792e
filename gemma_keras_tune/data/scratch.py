"""Files for what may be too large for memory: nameless, and gone with the process."""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ..durable import FULL_DISK
from ..errors import TuneError
from ..run_folder import data_root

IN_MEMORY_BYTES = 16 * 2**20
"""What is smaller is never written to a disk."""


class Scratch:
    """Bytes that only grow: first in memory, then in a file that has no name.

    Several threads may read and append at a time. The file lies in `TMPDIR` where that is set, else
    in the data root's cache: `/tmp` is in memory on many machines.
    """

    def __init__(self) -> None:
        self._memory = bytearray()
        self._file: IO[bytes] | None = None
        self._size = 0
        self._lock = Lock()

    def append(self, data: bytes) -> int:
        """Adds `data` at the end, and says where the end is now.

        Raises:
            TuneError: `NEEDS_SPACE` if the disk is full; `SCRATCH_FOLDER` if it can't be written.
        """
        with self._lock:
            if self._file is None and self._size + len(data) > IN_MEMORY_BYTES:
                self._leave_memory()
            if self._file is None:
                self._memory += data
            else:
                with _told():
                    self._file.write(data)
            self._size += len(data)
            return self._size

    def flush(self) -> None:
        """Returns when no write is waiting.

        Raises:
            TuneError: As `append`.
        """
        with self._lock:
            self._flush()

    def read(self, start: int, size: int) -> bytes:
        """The `size` bytes from `start` on.

        Raises:
            TuneError: As `append`, if something was added since the last `flush`.
        """
        with self._lock:
            if self._file is None:
                return bytes(self._memory[start : start + size])
            self._flush()
            return os.pread(self._file.fileno(), size, start)

    def array(self, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """All of it as a `[n]` array that can't be written; what is on a disk stays there.

        Raises:
            TuneError: As `append`.
        """
        with self._lock:
            if self._file is None:
                return np.frombuffer(bytes(self._memory), dtype)
            self._flush()
            return np.memmap(self._file, dtype, mode="r")

    def _leave_memory(self) -> None:
        with _told():
            file = tempfile.TemporaryFile(dir=_folder())  # noqa: SIM115 - closed with this object
            weakref.finalize(self, _close, file)
            file.write(self._memory)
        self._file, self._memory = file, bytearray()

    def _flush(self) -> None:
        if self._file is not None:
            with _told():
                self._file.flush()


def _folder() -> Path:
    """Where scratch files lie."""
    told = os.environ.get("TMPDIR")
    if told:
        return Path(told)
    folder = data_root() / "cache" / "scratch"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # a full disk, which was told already
        file.close()


@contextmanager
def _told() -> Iterator[None]:
    """Says what to do where the disk doesn't take it."""
    try:
        yield
    except OSError as error:
        where = os.environ.get("TMPDIR") or data_root()
        if error.errno in FULL_DISK:
            raise TuneError(
                f"The disk that holds {where} is full, and the data set is too large for memory. "
                "Free some space, or set TMPDIR to a folder on a larger disk.",
                code="NEEDS_SPACE",
            ) from error
        raise TuneError(
            f"The data set is too large for memory, and nothing can be written in {where}: "
            f"{error.strerror or error}. Set TMPDIR to a folder on a disk that can be written.",
            code="SCRATCH_FOLDER",
        ) from error

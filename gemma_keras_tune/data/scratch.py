"""Files for what may be too large for memory: nameless, and gone with the process."""

from __future__ import annotations

import os
import tempfile
import weakref
from threading import Lock
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from ..durable import FULL_DISK
from ..errors import TuneError

IN_MEMORY_BYTES = 16 * 2**20
"""What is smaller is never written to a disk."""

_ON_DISK = "/var/tmp"  # noqa: S108 - the file has no name; /tmp is in memory on many machines


class Scratch:
    """Bytes that only grow: first in memory, then in a file that has no name.

    Several threads may use it at a time.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES, dir=_folder())
        self._size = 0
        self._lock = Lock()
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self._size

    def append(self, data: bytes) -> None:
        """Adds `data` at the end.

        Raises:
            TuneError: `NEEDS_SPACE`, if the disk is full.
            OSError: If it can't be written for another reason.
        """
        try:
            with self._lock:
                self._file.seek(self._size)
                self._file.write(data)
        except OSError as error:
            _refuse(error)
        self._size += len(data)

    def read(self, start: int, size: int) -> bytes:
        """The `size` bytes from `start` on."""
        with self._lock:
            self._file.seek(start)
            return self._file.read(size)

    def array(self, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """All of it as a `[n]` array that can't be written; what is on a disk stays there.

        Raises:
            TuneError: `NEEDS_SPACE`, if the disk is full.
            OSError: If it can't be written for another reason.
        """
        with self._lock:
            if self._size <= IN_MEMORY_BYTES:
                self._file.seek(0)
                return np.frombuffer(self._file.read(), dtype)
            try:
                self._file.flush()
            except OSError as error:
                _refuse(error)
            return np.memmap(self._file, dtype, mode="r")


def _folder() -> str | None:
    """Where Python puts temporary files if it was told where; else a folder on a disk."""
    told = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP"))
    return None if told or not os.access(_ON_DISK, os.W_OK | os.X_OK) else _ON_DISK


def _refuse(error: OSError) -> NoReturn:
    if error.errno not in FULL_DISK:
        raise error
    folder = _folder() or tempfile.gettempdir()
    raise TuneError(
        f"The disk that holds {folder} is full, and the data set is too large for memory. Free "
        "some space, or set TMPDIR to a folder on a larger disk.",
        code="NEEDS_SPACE",
    ) from error

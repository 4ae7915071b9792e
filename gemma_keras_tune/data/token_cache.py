"""Arrays on disk that are either whole or made again."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..durable import atomic_write_bytes

_DIGEST_BYTES = 32


def write_arrays(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """The arrays as .npz, with the SHA-256 of its bytes behind them, durably or not at all.

    NumPy reads the file as it is: bytes behind a ZIP archive don't count.

    Raises:
        OSError: If the file can't be written.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    data = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_bytes(path, data + hashlib.sha256(data).digest())


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]] | None:
    """The arrays of a whole file; None if it is missing or any byte of it is wrong."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    data, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(data).digest() != digest:
        return None
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}

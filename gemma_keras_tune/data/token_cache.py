"""Arrays on disk that are either whole or made again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..durable import atomic_write_json, new_folder, sha256_file

_SUMS = "sha256.json"


def write_arrays(folder: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """A folder with each array as .npy and the SHA-256 of all, durably or not at all.

    A whole one that is there stays: others may be reading it.

    Raises:
        OSError: If it can't be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    is_damaged = folder.exists() and read_arrays(folder, arrays) is None
    try:
        with new_folder(folder, replace=is_damaged) as made:
            for name, array in arrays.items():
                np.save(_file(made, name), array, allow_pickle=False)
            sums = {name: sha256_file(_file(made, name)) for name in arrays}
            atomic_write_json(made / _SUMS, sums)
    except OSError:
        if read_arrays(folder, arrays) is None:  # else another process was faster
            raise


def read_arrays(folder: Path, names: Iterable[str]) -> dict[str, npt.NDArray[Any]] | None:
    """The arrays of a folder, which stay on disk; None if any byte of one is wrong or missing."""
    try:
        sums = json.loads((folder / _SUMS).read_bytes())
        return {name: _load(_file(folder, name), sums[name]) for name in names}
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _load(path: Path, digest: str) -> npt.NDArray[Any]:
    if sha256_file(path) != digest:
        raise ValueError(f"{path} is not as it was written")
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"

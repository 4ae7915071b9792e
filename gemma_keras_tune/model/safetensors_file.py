"""Reads safetensors files a block at a time: memory stays at one block, nothing is mapped.

The `safetensors` package maps the whole file, and every page that was read then counts as
resident memory; a 2 GB file costs 2 GB beside the weights made of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from ..errors import ModelError
from .assemble import BLOCK_BYTES

_DTYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
}
_MAX_HEADER_BYTES = 100_000_000  # the format's own limit


@dataclass(frozen=True, kw_only=True)
class TensorPlace:
    """Where one tensor lies in its file.

    Attributes:
        path: The file.
        name: The tensor's name in it.
        shape: Its shape.
        dtype: Its NumPy dtype.
        start: First byte in the file.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int


def read_header(path: Path) -> list[TensorPlace]:
    """Every tensor of a safetensors file, in the order of their bytes.

    Raises:
        ModelError: If the file is cut short, is no safetensors file, or holds other than floats.

    Source:
        https://github.com/huggingface/safetensors#format
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(_MAX_HEADER_BYTES, size - 8):
            raise _damaged(path, f"its header should take {length:,} bytes of {size:,}")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            places = [_place(path, name, header[name], 8 + length) for name in header]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _damaged(path, f"its header can't be read ({error})") from error
    places.sort(key=lambda place: place.start)
    for place in places:
        end = place.start + _nbytes(place)
        if end > size:
            raise _damaged(path, f"tensor {place.name!r} should end at byte {end:,} of {size:,}")
    return places


def read_blocks(place: TensorPlace, file: BinaryIO) -> Iterator[np.ndarray]:
    """The tensor cut along its first axis, about 1 MB at a time.

    Yields:
        `[rows, ...]` arrays of the file's dtype, valid until the next one is asked for.

    Raises:
        ModelError: If the file ends before the tensor does.
    """
    rows = place.shape[0]
    per_row = _nbytes(place) // rows
    step = max(1, BLOCK_BYTES // max(1, per_row))
    buffer = np.empty((min(step, rows), *place.shape[1:]), place.dtype)
    file.seek(place.start)
    for row in range(0, rows, step):
        block = buffer[: min(step, rows - row)]
        if file.readinto(block.view(np.uint8).reshape(-1).data) != block.nbytes:  # type: ignore[attr-defined]
            raise _damaged(place.path, f"it ends inside tensor {place.name!r}")
        yield block


def _place(path: Path, name: str, entry: dict[str, Any], data_start: int) -> TensorPlace:
    if entry["dtype"] not in _DTYPES:
        raise ModelError(
            f"{path.name}: tensor {name!r} has the type {entry['dtype']!r}; only "
            f"{', '.join(_DTYPES)} can be loaded. Take the unquantised version of the model.",
            code="MODEL_DTYPE",
        )
    start, end = entry["data_offsets"]
    place = TensorPlace(
        path=path,
        name=name,
        shape=tuple(int(size) for size in entry["shape"]),
        dtype=np.dtype(_DTYPES[entry["dtype"]]),
        start=data_start + int(start),
    )
    if start < 0 or end - start != _nbytes(place) or not place.shape or min(place.shape) < 1:
        raise ValueError(f"tensor {name!r} has impossible sizes")
    return place


def _nbytes(place: TensorPlace) -> int:
    return int(np.prod(place.shape, dtype=object)) * place.dtype.itemsize


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path.name} in {path.parent.name!r} is damaged or not complete: {why}. "
        "Download the model again.",
        code="MODEL_FILE_DAMAGED",
    )

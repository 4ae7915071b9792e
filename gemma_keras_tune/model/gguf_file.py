"""The GGUF container: metadata and where each tensor lies, read without mapping the file.

`gguf.GGUFReader` takes 16 seconds and 700 MB for the header of a Gemma file (it wraps each of
262,144 vocabulary entries in arrays of its own), so only its dequantisation is used.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import ModelError, need
from .assemble import BLOCK_BYTES

_MAGIC = b"GGUF"
_SCALARS = {
    0: "B",
    1: "b",
    2: "H",
    3: "h",
    4: "I",
    5: "i",
    6: "f",
    7: "?",
    10: "Q",
    11: "q",
    12: "d",
}
_STRING, _ARRAY = 8, 9
_DEFAULT_ALIGNMENT = 32
_MAX_DIMENSIONS = 4


@dataclass(frozen=True, kw_only=True)
class GgufTensor:
    """Where one tensor lies.

    Attributes:
        name: Its name in the file.
        shape: Its shape, slowest axis first: `[out, in]` for a matrix.
        kind: The number of its `GGMLQuantizationType`.
        start: First byte in the file.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int


@dataclass(frozen=True, kw_only=True)
class GgufFile:
    """A parsed header.

    Attributes:
        path: The file.
        metadata: Key to value; arrays of numbers are NumPy arrays, arrays of text are lists.
        tensors: In the order of the file.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: tuple[GgufTensor, ...]


def read_gguf(path: Path) -> GgufFile:
    """The header of a GGUF file of version 2 or 3.

    Raises:
        ModelError: If the file is something else or is cut short.

    Source:
        https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    size = path.stat().st_size
    with path.open("rb", buffering=1 << 20) as file:
        if file.read(4) != _MAGIC:
            raise _damaged(path, "it does not begin with 'GGUF'")
        try:
            return _read_header(file, path, size)
        except (struct.error, UnicodeDecodeError, EOFError, KeyError) as error:
            raise _damaged(path, f"its header ends or breaks off ({error!r})") from error


def read_float_blocks(
    gguf_file: GgufFile, tensor: GgufTensor, file: BinaryIO
) -> Iterator[np.ndarray]:
    """The tensor as float32 rows, dequantised about 1 MB at a time.

    Yields:
        `[rows, ...]` float32 arrays.

    Raises:
        ModelError: If the type can't be dequantised, or the file ends too early.
        MissingExtraError: If the `gguf` package isn't installed.
    """
    gguf = need("gguf", extra="demo")
    try:
        kind = gguf.GGMLQuantizationType(tensor.kind)
        per_block, block_bytes = gguf.GGML_QUANT_SIZES[kind]
    except (ValueError, KeyError) as error:
        raise _unknown_kind(gguf_file.path, tensor, str(tensor.kind)) from error
    flat = len(tensor.shape) == 1
    row_length = tensor.shape[-1]
    rows = 1 if flat else tensor.shape[0]
    if row_length % per_block:
        raise _damaged(gguf_file.path, f"tensor {tensor.name!r} has rows that no block fits")
    row_bytes = row_length // per_block * block_bytes
    step = max(1, BLOCK_BYTES // (4 * row_length))
    file.seek(tensor.start)
    for row in range(0, rows, step):
        count = min(step, rows - row)
        raw = np.empty((count, row_bytes), np.uint8)
        if file.readinto(raw.reshape(-1).data) != raw.nbytes:  # type: ignore[attr-defined]
            raise _damaged(gguf_file.path, f"it ends inside tensor {tensor.name!r}")
        try:
            values = gguf.dequantize(raw, kind)
        except NotImplementedError as error:
            raise _unknown_kind(gguf_file.path, tensor, kind.name) from error
        values = np.asarray(values, np.float32).reshape(count, row_length)
        yield values[0] if flat else values


def _read_header(file: BinaryIO, path: Path, size: int) -> GgufFile:
    version, tensors, entries = _unpack(file, "IQQ")
    if version not in (2, 3):
        raise _damaged(path, f"it has version {version}, and only versions 2 and 3 can be read")
    metadata: dict[str, Any] = {}
    for _ in range(_bounded(entries, size)):
        key = _text(file, size)
        metadata[key] = _value(file, _unpack(file, "I")[0], size)
    found = [_tensor_entry(file, size) for _ in range(_bounded(tensors, size))]
    alignment = int(metadata.get("general.alignment", _DEFAULT_ALIGNMENT))
    if alignment < 1:
        raise _damaged(path, f"its alignment is {alignment}")
    data = -(-file.tell() // alignment) * alignment
    placed = tuple(
        GgufTensor(name=name, shape=shape, kind=kind, start=data + offset)
        for name, shape, kind, offset in found
    )
    return GgufFile(path=path, metadata=metadata, tensors=placed)


def _tensor_entry(file: BinaryIO, size: int) -> tuple[str, tuple[int, ...], int, int]:
    name = _text(file, size)
    (dimensions,) = _unpack(file, "I")
    if not 1 <= dimensions <= _MAX_DIMENSIONS:
        raise EOFError(f"tensor {name!r} has {dimensions} dimensions")
    shape = _unpack(file, "Q" * dimensions)
    kind, offset = _unpack(file, "IQ")
    if min(shape) < 1 or offset > size:
        raise EOFError(f"tensor {name!r} lies outside the file")
    return name, tuple(reversed(shape)), kind, offset


def _value(file: BinaryIO, kind: int, size: int) -> Any:
    if kind == _STRING:
        return _text(file, size)
    if kind != _ARRAY:
        return _unpack(file, _SCALARS[kind])[0]
    element, length = _unpack(file, "IQ")
    if element == _STRING:
        return [_text(file, size) for _ in range(_bounded(length * 8, size) // 8)]
    dtype = np.dtype(_SCALARS[element]).newbyteorder("<")
    data = file.read(_bounded(length * dtype.itemsize, size))
    if len(data) != length * dtype.itemsize:
        raise EOFError("an array is cut short")
    return np.frombuffer(data, dtype)


def _text(file: BinaryIO, size: int) -> str:
    length = _bounded(_unpack(file, "Q")[0], size)
    data = file.read(length)
    if len(data) != length:
        raise EOFError("a text is cut short")
    return data.decode("utf-8")


def _unpack(file: BinaryIO, fields: str) -> tuple[Any, ...]:
    layout = struct.Struct("<" + fields)
    return layout.unpack(file.read(layout.size))


def _bounded(count: int, size: int) -> int:
    """`count`, unless no file of this size can hold so much."""
    if count > size:
        raise EOFError(f"a length of {count:,} in a file of {size:,} bytes")
    return count


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(
        f"{path.name} is no whole GGUF file: {why}. Download it again.", code="MODEL_FILE_DAMAGED"
    )


def _unknown_kind(path: Path, tensor: GgufTensor, kind: str) -> ModelError:
    return ModelError(
        f"{path.name}: tensor {tensor.name!r} is quantised as {kind}, which can't be turned back "
        "into numbers here. Take another quantisation of the model, such as Q8_0 or Q4_K_M.",
        code="MODEL_DTYPE",
    )

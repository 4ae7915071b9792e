"""Writes safetensors files a block at a time: memory stays at one tensor above the model.

The `safetensors` package wants all tensors of a file in memory before it writes the first byte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..durable import atomic_write_json
from ..errors import ExportError
from ..model.assemble import cast

BLOCK_BYTES = 8 << 20
"""About how much is cast and written at once."""

INDEX_NAME = "model.safetensors.index.json"

Blocks = Callable[[], Iterable[np.ndarray]]


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One tensor to write.

    Attributes:
        name: Its name in the file.
        shape: Its shape.
        blocks: Called once; gives the tensor cut along its first axis, in order.
    """

    name: str
    shape: tuple[int, ...]
    blocks: Blocks


def write_sharded(
    folder: Path,
    tensors: Sequence[Tensor],
    *,
    dtype: np.dtype,
    max_shard_bytes: int,
    on_bytes: Callable[[int, int], None] | None = None,
) -> list[str]:
    """The names of the written files, `model.safetensors` or numbered shards with their index.

    Args:
        folder: Must exist.
        tensors: In the order in which they are written.
        dtype: Type of every tensor in the files, float32 or `ml_dtypes.bfloat16`.
        max_shard_bytes: A file's tensors take at most this, unless a single one takes more.
        on_bytes: Called with bytes done and bytes in all, after every block.

    Raises:
        ExportError: If a tensor holds NaN or infinity.
        OSError: If a file can't be written.
        ValueError: If a tensor's blocks don't add up to its shape.
    """
    shards = _shards(tensors, dtype.itemsize, max_shard_bytes)
    names = _shard_names(len(shards))
    total = sum(_nbytes(tensor, dtype.itemsize) for tensor in tensors)
    done = 0
    for name, shard in zip(names, shards, strict=True):
        with (folder / name).open("xb") as file:
            file.write(_header(shard, dtype))
            for tensor in shard:
                for data in _cast_blocks(tensor, dtype):
                    file.write(data)
                    done += data.nbytes
                    if on_bytes is not None:
                        on_bytes(done, total)
    if len(shards) > 1:
        placed = {t.name: n for n, shard in zip(names, shards, strict=True) for t in shard}
        index = {"metadata": {"total_size": total}, "weight_map": placed}
        atomic_write_json(folder / INDEX_NAME, index)
    return names


def _shards(tensors: Iterable[Tensor], itemsize: int, max_shard_bytes: int) -> list[list[Tensor]]:
    shards: list[list[Tensor]] = [[]]
    room = max_shard_bytes
    for tensor in tensors:
        size = _nbytes(tensor, itemsize)
        if shards[-1] and size > room:
            shards.append([])
            room = max_shard_bytes
        shards[-1].append(tensor)
        room -= size
    return shards


def _shard_names(count: int) -> list[str]:
    if count == 1:
        return ["model.safetensors"]
    return [f"model-{number:05d}-of-{count:05d}.safetensors" for number in range(1, count + 1)]


def _header(tensors: Sequence[Tensor], dtype: np.dtype) -> bytes:
    """Length and JSON that a safetensors file begins with.

    Source:
        https://github.com/huggingface/safetensors#format
    """
    kind = {"float32": "F32", "bfloat16": "BF16"}[dtype.name]
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for tensor in tensors:
        end = start + _nbytes(tensor, dtype.itemsize)
        entries[tensor.name] = {
            "dtype": kind,
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors are aligned
    return len(text).to_bytes(8, "little") + text


def _cast_blocks(tensor: Tensor, dtype: np.dtype) -> Iterator[memoryview]:
    """The bytes of the tensor, checked, in row-major order."""
    rows = 0
    for block in tensor.blocks():
        data = np.ascontiguousarray(cast(block, dtype))
        if not np.isfinite(data).all():
            raise ExportError(
                f"The weight {tensor.name} holds NaN or infinite values, so the model is broken "
                "and is not exported. Take an earlier checkpoint, or train again with a lower "
                "learning rate.",
                code="EXPORT_NOT_FINITE",
            )
        rows += len(data)
        yield data.reshape(-1).view(np.uint8).data
    if rows != tensor.shape[0]:
        raise ValueError(f"{tensor.name}: {rows} rows given, {tensor.shape[0]} expected")


def _nbytes(tensor: Tensor, itemsize: int) -> int:
    return int(np.prod(tensor.shape, dtype=np.int64)) * itemsize

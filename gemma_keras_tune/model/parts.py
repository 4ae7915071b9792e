"""One array of the weights on its way from a file to the devices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .weights import Shape

if TYPE_CHECKING:
    from jax.sharding import NamedSharding

Layout = Callable[[np.ndarray], np.ndarray]
"""Makes of our array a view with the axes of the file's tensor."""

_ALIGNMENT = 64  # what JAX's CPU client asks for before it takes an array without a copy
_Index = tuple[slice, ...]


class Parts:
    """The parts of an array that this process's devices hold, each once; or all of it.

    Args:
        shape: Of the whole array.
        dtype: Its type.
        sharding: How it is cut and copied; None for a single device.
    """

    def __init__(self, shape: Shape, dtype: np.dtype, sharding: NamedSharding | None) -> None:
        self._shape, self._dtype, self._sharding = shape, dtype, sharding
        whole = tuple(slice(0, size) for size in shape)
        self._of_device: dict[Any, _Index] = {}
        if sharding is not None:
            found = sharding.addressable_devices_indices_map(shape)
            self._of_device = {device: _bounded(at or whole, shape) for device, at in found.items()}
        indices = set(map(_hashable, self._of_device.values())) or {_hashable(whole)}
        self._parts = {
            at: _aligned_empty(tuple(stop - start for start, stop in at), dtype) for at in indices
        }

    @property
    def full_bytes(self) -> int:
        """What the whole array takes, on however many devices."""
        return math.prod(self._shape) * self._dtype.itemsize

    def open(self, row: int | None, layout: Layout) -> Target:
        """The place of one tensor of a file.

        Args:
            row: Which entry of the first axis it fills; None for all.
            layout: The entry seen with the axes of the file.
        """
        entry_shape = self._shape if row is None else self._shape[1:]
        entries = {
            at if row is None else at[1:]: part if row is None else part[row]
            for at, part in self._parts.items()
        }
        if len(entries) == 1 and next(iter(entries.values())).shape == entry_shape:
            return Target(layout(next(iter(entries.values()))))
        shell = np.broadcast_to(np.zeros((), self._dtype), entry_shape)
        if layout(shell) is shell and all(at[0] == (0, entry_shape[0]) for at in entries):
            return _CutTarget(entry_shape, entries)  # a whole embedding never is in memory
        whole = np.empty(entry_shape, self._dtype)
        return _GatheredTarget(layout(whole), whole, entries)

    def on_devices(self) -> Any:
        """The JAX array; on CPU its parts are the very memory that was filled."""
        import jax  # here, so that reading a config or a tokenizer loads no JAX

        if self._sharding is None:
            return jax.device_put(next(iter(self._parts.values())))
        placed = [
            jax.device_put(self._parts[_hashable(at)], device)
            for device, at in self._of_device.items()
        ]
        return jax.make_array_from_single_device_arrays(self._shape, self._sharding, placed)


class Target:
    """Where a tensor of a file goes, block by block along the file's first axis.

    Args:
        view: Our memory with the axes of the file.
    """

    def __init__(self, view: np.ndarray) -> None:
        self._view = view

    @property
    def shape(self) -> Shape:
        """Of the tensor in the file."""
        return self._view.shape

    def write(self, start: int, block: np.ndarray) -> None:
        """Writes the rows from `start` on."""
        self._view[start : start + len(block)] = block

    def close(self) -> None:
        """Says that all blocks were written."""


class _CutTarget(Target):
    """Where each part takes its columns of every block."""

    def __init__(self, shape: Shape, entries: dict[Any, np.ndarray]) -> None:
        self._entries, self._shape = entries, shape

    @property
    def shape(self) -> Shape:
        return self._shape

    def write(self, start: int, block: np.ndarray) -> None:
        for at, part in self._entries.items():
            columns = tuple(slice(first, last) for first, last in at[1:])
            part[start : start + len(block)] = block[(slice(None), *columns)]


class _GatheredTarget(Target):
    """Where the parts are taken from the whole tensor at the end: one layer's, so not large."""

    def __init__(self, view: np.ndarray, whole: np.ndarray, entries: dict[Any, np.ndarray]) -> None:
        super().__init__(view)
        self._whole, self._entries = whole, entries

    def close(self) -> None:
        for at, part in self._entries.items():
            part[...] = self._whole[tuple(slice(first, last) for first, last in at)]


def _bounded(index: _Index, shape: Shape) -> _Index:
    return tuple(slice(*at.indices(size)[:2]) for at, size in zip(index, shape, strict=True))


def _hashable(index: _Index) -> tuple[tuple[int, int], ...]:
    return tuple((at.start, at.stop) for at in index)


def _aligned_empty(shape: Shape, dtype: np.dtype) -> np.ndarray:
    """An uninitialised array whose memory JAX on CPU takes as it is.

    Its pages are only taken from the system when they are written.
    """
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)

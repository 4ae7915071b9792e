"""Fills the weights pytree tensor by tensor, in its final dtype and layout, without a copy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ml_dtypes
import numpy as np

from ..errors import ModelError
from .config import GemmaConfig
from .weights import Weights, layer_places, weight_shapes

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the bytes done, and the bytes in all."""

Layout = Callable[[np.ndarray], np.ndarray]
"""Makes of our array a view with the axes of the file's tensor."""

BLOCK_BYTES = 1 << 20  # more leaves the cache: 8 MB takes 1.5 to 2.5 times as long
"""How much of a file is in memory at once, about."""

_ALIGNMENT = 64  # what JAX's CPU client asks for before it takes an array without a copy


class WeightsBuilder:
    """Takes tensors in any order and gives back the finished pytree.

    Args:
        config: What the weights must look like.
        dtype: Float32 or bfloat16 (`ml_dtypes.bfloat16`).
        where: The file or folder, for messages.
        on_progress: Told the bytes of the result after every tensor.
    """

    def __init__(
        self,
        config: GemmaConfig,
        dtype: Any,
        *,
        where: str,
        on_progress: Progress | None = None,
    ) -> None:
        self._config, self._dtype, self._where = config, np.dtype(dtype), where
        shapes = weight_shapes(config)
        layers = shapes.pop("layers")
        self._arrays = {
            name: _aligned_empty(shape, self._dtype) for name, shape in (shapes | layers).items()
        }
        self._per_layer, self._places = set(layers), layer_places(config)
        self._missing = set(shapes) | {f"{name}[{layer}]" for name, layer in self._places}
        self._total = sum(array.nbytes for array in self._arrays.values())
        self._done, self._on_progress = 0, on_progress

    def fill(
        self,
        name: str,
        layer: int | None,
        blocks: Iterable[np.ndarray],
        *,
        shape: tuple[int, ...],
        layout: Layout = lambda ours: ours,
        called: str = "",
    ) -> None:
        """Write one tensor of a file.

        Args:
            name: Our name for it, such as `q_proj`.
            layer: Which layer, or None for the embedding and the last norm.
            blocks: The tensor cut along its first axis, in order; any float dtype.
            shape: The tensor's shape in the file.
            layout: Our array seen with the file's axes, such as `lambda ours: ours.T`.
            called: The file's name for it, for messages.

        Raises:
            ModelError: If there is no place for it, its shape does not fit, it comes twice, or it
                holds NaN or infinity.
        """
        key = name if layer is None else f"{name}[{layer}]"
        called = called or key
        key_and_row = (name, None) if layer is None else self._places.get((name, layer))
        if key_and_row is None or key_and_row[0] not in self._arrays:
            raise ModelError(
                f"{self._where}: tensor {called!r} has no place in a model of these sizes "
                f"({self._config.layers} layers). The files don't belong together.",
                code="MODEL_TENSOR_UNKNOWN",
            )
        array, row = self._arrays[key_and_row[0]], key_and_row[1]
        target = array if row is None else array[row]
        view = layout(target)
        if view.shape != tuple(shape):
            raise ModelError(
                f"{self._where}: tensor {called!r} has the shape {list(shape)}, but the sizes in "
                f"the model's config ask for {list(view.shape)}. The files don't belong together; "
                "download the model again.",
                code="MODEL_TENSOR_SHAPE",
            )
        if key not in self._missing:
            raise ModelError(f"{self._where}: tensor {called!r} comes twice.", code="MODEL_TENSOR")
        filled = 0
        for block in blocks:
            _refuse_non_finite(block, where=self._where, called=called)
            view[filled : filled + len(block)] = cast(block, self._dtype)
            filled += len(block)
        if filled != view.shape[0]:
            raise ValueError(f"{called}: {filled} rows given, {view.shape[0]} expected")
        self._missing.discard(key)
        self._done += target.nbytes
        if self._on_progress:
            self._on_progress("weights", self._done, self._total)

    def finish(self) -> Weights:
        """The pytree as JAX arrays; on CPU they are the very memory that was filled.

        Raises:
            ModelError: If a tensor never came.
        """
        if self._missing:
            some = sorted(self._missing)
            more = f" and {len(some) - 5} more" if len(some) > 5 else ""
            raise ModelError(
                f"{self._where}: {len(some)} tensors are missing: {', '.join(some[:5])}{more}. "
                "The download is not complete; download the model again.",
                code="MODEL_TENSOR_MISSING",
            )
        import jax  # here, so that reading a config or a tokenizer loads no JAX

        # popped, so that on an accelerator each host copy goes before the next one is sent
        arrays = {name: jax.device_put(self._arrays.pop(name)) for name in list(self._arrays)}
        layers = {name: arrays.pop(name) for name in list(arrays) if name in self._per_layer}
        return {**arrays, "layers": layers}


def cast(block: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """`block` in `dtype`, rounded to nearest even; the same array where nothing changes."""
    if block.dtype == ml_dtypes.bfloat16 and dtype == np.float32:
        # the upper half of a float32; many times faster than ml_dtypes' own conversion
        return (block.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
    return block.astype(dtype, copy=False)


def _refuse_non_finite(block: np.ndarray, *, where: str, called: str) -> None:
    if block.dtype == ml_dtypes.bfloat16:
        bits = block.view(np.uint16) & np.uint16(0x7F80)
        broken = bool(bits.size) and int(bits.max()) == 0x7F80
    else:
        broken = not np.isfinite(block).all()
    if broken:
        raise ModelError(
            f"{where}: tensor {called!r} holds NaN or infinite values, so the file is damaged. "
            "Download the model again.",
            code="MODEL_NOT_FINITE",
        )


def _aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialised array whose memory JAX on CPU takes as it is.

    Its pages are only taken from the system when they are written.
    """
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)

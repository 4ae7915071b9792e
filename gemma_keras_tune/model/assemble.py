"""Fills the weights pytree tensor by tensor, in its final dtype and layout, without a copy."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from ..errors import ModelError
from .config import GemmaConfig
from .parts import Layout, Parts
from .weights import Weights, layer_places, weight_shapes

if TYPE_CHECKING:
    from jax.sharding import Mesh

Progress = Callable[[str, int, int], None]
"""Called with what is being done, the bytes done, and the bytes in all."""

BLOCK_BYTES = 1 << 20  # more leaves the cache: 8 MB takes 1.5 to 2.5 times as long
"""How much of a file is in memory at once, about."""


class WeightsBuilder:
    """Takes tensors in any order and gives back the finished pytree.

    Args:
        config: What the weights must look like.
        dtype: Float32 or bfloat16 (`ml_dtypes.bfloat16`).
        where: The file or folder, for messages.
        mesh: The devices that the weights are laid over, of which this process keeps its own
            parts; None for a single device.
        on_progress: Told the bytes of the result after every tensor.
    """

    def __init__(
        self,
        config: GemmaConfig,
        dtype: Any,
        *,
        where: str,
        mesh: Mesh | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        self._config, self._dtype, self._where = config, np.dtype(dtype), where
        shapes = weight_shapes(config)
        layers = shapes.pop("layers")
        layouts = _layouts(config, mesh)
        self._arrays = {
            key: Parts(shape, self._dtype, layouts.get(key))
            for key, shape in (shapes | layers).items()
        }
        self._per_layer, self._places = set(layers), layer_places(config)
        self._missing = set(shapes) | {f"{name}[{layer}]" for name, layer in self._places}
        self._total = sum(array.full_bytes for array in self._arrays.values())
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
        parts, row = self._arrays[key_and_row[0]], key_and_row[1]
        target = parts.open(row, layout)
        if target.shape != tuple(shape):
            raise ModelError(
                f"{self._where}: tensor {called!r} has the shape {list(shape)}, but the sizes in "
                f"the model's config ask for {list(target.shape)}. The files don't belong "
                "together; download the model again.",
                code="MODEL_TENSOR_SHAPE",
            )
        if key not in self._missing:
            raise ModelError(f"{self._where}: tensor {called!r} comes twice.", code="MODEL_TENSOR")
        filled = 0
        for block in blocks:
            _refuse_non_finite(block, where=self._where, called=called)
            target.write(filled, cast(block, self._dtype))
            filled += len(block)
        if filled != target.shape[0]:
            raise ValueError(f"{called}: {filled} rows given, {target.shape[0]} expected")
        target.close()
        self._missing.discard(key)
        self._done += math.prod(shape) * self._dtype.itemsize
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
        # popped, so that on an accelerator each host copy goes before the next one is sent
        arrays = {name: self._arrays.pop(name).on_devices() for name in list(self._arrays)}
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


def _layouts(config: GemmaConfig, mesh: Mesh | None) -> Mapping[str, Any]:
    if mesh is None:
        return {}
    from .sharding import weight_layouts  # here, so that reading a config loads no JAX

    return weight_layouts(config, mesh)

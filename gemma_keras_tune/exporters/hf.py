"""A Hugging Face folder with the adapters merged in, written tensor by tensor.

KerasHub's own exporter writes the weights without their LoRA, and keeps a second copy of them in
memory; this one adds each layer's adapter to that layer's matrix while it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ..durable import atomic_write_json
from ..model.assemble import cast
from ..model.config import GemmaConfig
from ..model.huggingface import hf_names
from ..model.value import Model
from ..model.weights import is_matrix, layer_places, layer_shapes, weight_shapes
from ..recipe import ExportRecipe
from .hf_config import hf_config, hf_generation_config
from .hf_tokenizer import write_tokenizer
from .safetensors_writer import BLOCK_BYTES, Tensor, write_sharded

_DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}


def write_hf(
    folder: Path,
    model: Model,
    recipe: ExportRecipe,
    *,
    on_bytes: Callable[[int, int], None] | None = None,
) -> None:
    """Writes everything that `transformers` needs to compute what `model` computes.

    Args:
        folder: Must exist.
        model: With or without adapters; it is not changed.
        recipe: Type of the written weights, and the largest file.
        on_bytes: Called with bytes of weights done and in all.

    Raises:
        ExportError: If Hugging Face can't express the config, or a weight is not finite.
        MissingExtraError: If a library of the extra `export` isn't installed.
        OSError: If a file can't be written.
    """
    config = hf_config(model.config, model.template, dtype=recipe.dtype)
    atomic_write_json(folder / "config.json", config)
    atomic_write_json(folder / "generation_config.json", hf_generation_config(model.template))
    write_tokenizer(folder, model.template, max_positions=model.config.max_positions)
    write_sharded(
        folder,
        hf_tensors(model),
        dtype=_DTYPES[recipe.dtype],
        max_shard_bytes=recipe.max_shard_bytes,
        on_bytes=on_bytes,
    )


def hf_tensors(model: Model) -> list[Tensor]:
    """Every tensor of the family's `transformers` model, adapters added, in the model's order."""
    return [
        Tensor(
            name=theirs,
            shape=_shape(model.config, name, layer),
            blocks=_blocks(model, name, layer),
        )
        for (name, layer), theirs in hf_names(model.config).items()
    ]


def _shape(config: GemmaConfig, name: str, layer: int | None) -> tuple[int, ...]:
    shapes = weight_shapes(config) if layer is None else layer_shapes(config, layer)
    shape: tuple[int, ...] = shapes[name]
    return shape[::-1] if is_matrix(name) else shape


def _blocks(model: Model, name: str, layer: int | None) -> Callable[[], Iterator[np.ndarray]]:
    """A function that gives one tensor as `transformers` lays it out, matrices `[out, in]`."""

    def blocks() -> Iterator[np.ndarray]:
        if layer is None:
            array = _array(model.weights[name])
        else:
            # sliced on the device first, so that only this layer comes over
            key, row = layer_places(model.config)[name, layer]
            array = _array(model.weights["layers"][key][row])
            adapters = model.adapters
            if adapters is not None and key in adapters.tree:
                a, b = (_array(adapters.tree[key][part][row]) for part in ("a", "b"))
                array = cast(array, np.dtype(np.float32)) + np.float32(adapters.scale) * (a @ b)
        yield from _row_blocks(array.T if is_matrix(name) else array)

    return blocks


def _row_blocks(array: Any) -> Iterator[np.ndarray]:
    """The array cut along its first axis into blocks of about 8 MB."""
    host = _array(array)
    rows = max(1, BLOCK_BYTES // max(1, host[0].nbytes))
    for start in range(0, len(host), rows):
        yield host[start : start + rows]


def _array(array: Any) -> np.ndarray:
    """The array on the host; on CPU a view of the same memory."""
    return np.asarray(array)

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
from ..model.huggingface import HF_LAYER_NAMES
from ..model.value import Model
from ..model.weights import PROJECTIONS, layer_shapes
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
    """Every tensor of a `Gemma3ForCausalLM`, adapters added, in the order of the model."""
    config = model.config
    shapes = layer_shapes(config)
    tensors = [
        Tensor(
            name="model.embed_tokens.weight",
            shape=(config.vocab_size, config.width),
            blocks=lambda: _row_blocks(model.weights["embedding"]),
        )
    ]
    for layer in range(config.layers):
        for ours, theirs in HF_LAYER_NAMES.items():
            tensors.append(
                Tensor(
                    name=f"model.layers.{layer}.{theirs}.weight",
                    shape=shapes[ours][::-1],
                    blocks=_layer_blocks(model, ours, layer),
                )
            )
    final_norm = model.weights["final_norm"]
    tensors.append(
        Tensor(name="model.norm.weight", shape=(config.width,), blocks=lambda: [_array(final_norm)])
    )
    return tensors


def _layer_blocks(model: Model, name: str, layer: int) -> Callable[[], Iterator[np.ndarray]]:
    """A function that gives one layer's tensor as `transformers` lays it out, `[out, in]`."""

    def blocks() -> Iterator[np.ndarray]:
        # sliced on the device first, so that only this layer comes over
        array = _array(model.weights["layers"][name][layer])
        if name not in PROJECTIONS:
            yield array
            return
        adapters = model.adapters
        if adapters is not None and name in adapters.tree:
            a, b = (_array(adapters.tree[name][part][layer]) for part in ("a", "b"))
            array = cast(array, np.dtype(np.float32)) + np.float32(adapters.scale) * (a @ b)
        yield from _row_blocks(array.T)

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

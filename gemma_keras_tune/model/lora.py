"""Low-rank adapters as a pytree of their own, beside the frozen weights.

They are the LoRA of the paper on the flattened `[in, out]` matrices, so PEFT's files map one to
one. (KerasHub's own LoRA on query, key and value is another: per head in A, shared in B.)
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..errors import ModelError
from ..recipe import LORA_TARGETS, LoraRecipe
from .adapter_settings import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_settings, unreadable
from .config import GemmaConfig
from .value import Model
from .weights import Stack, layer_stacks, stacks_of

_PREFIX = "base_model.model.model.layers"
_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@partial(jax.tree_util.register_dataclass, data_fields=("tree",), meta_fields=("config",))
@dataclass(frozen=True, kw_only=True, eq=False)
class Adapters:
    """LoRA matrices of all layers, and what they were made with.

    Attributes:
        tree: `{projection: {"a": [layers, in, rank], "b": [layers, rank, out]}}`, float32; the
            projections are the keys of `weights["layers"]`.
        config: Rank, alpha, dropout, targets and scaling.
    """

    tree: dict[str, dict[str, jax.Array]]
    config: LoraRecipe

    @property
    def scale(self) -> float:
        """What the product `x A B` is multiplied by.

        Source:
            Hu et al. 2021, arXiv:2106.09685, alpha / rank; Kalajdzievski 2023,
            arXiv:2312.03732, alpha / sqrt(rank).
        """
        rank = self.config.rank
        return self.config.alpha / (math.sqrt(rank) if self.config.use_rslora else rank)


def adapter_shapes(config: GemmaConfig, lora: LoraRecipe) -> Adapters:
    """What `init_adapters` makes, as shapes and dtypes.

    Raises:
        ModelError: If the rank is larger than a targeted matrix allows.
    """
    tree: dict[str, dict[str, Any]] = {}
    for key, stack in stacks_of(config, lora.projections).items():
        layers, (size_in, size_out) = len(stack.layers), stack.shape
        if lora.rank > min(size_in, size_out):
            raise ModelError(
                f"model.lora.rank: {lora.rank} is more than {stack.name} allows, a matrix of "
                f"{size_in} x {size_out}. Take at most {min(size_in, size_out)}.",
                code="LORA_RANK",
            )
        shapes = {"a": (layers, size_in, lora.rank), "b": (layers, lora.rank, size_out)}
        tree[key] = {
            which: jax.ShapeDtypeStruct(shape, jnp.float32) for which, shape in shapes.items()
        }
    return Adapters(tree=tree, config=lora)


def init_adapters(config: GemmaConfig, lora: LoraRecipe) -> Adapters:
    """Fresh adapters that change nothing yet: A is random, B is zero.

    A is uniform within `1 / sqrt(in)`, as in PEFT. Its numbers depend on the seed, the
    projection and the shapes only, not on which other projections are targeted, nor on the
    device. NumPy draws them: JAX would compile a program for each shape first, for seconds.

    Raises:
        ModelError: If the rank is larger than a targeted matrix allows.
    """
    shapes = adapter_shapes(config, lora)
    tree = {}
    for key, pair in shapes.tree.items():
        name, _, part = key.partition(".")
        random = np.random.default_rng((lora.seed, LORA_TARGETS.index(name), int(part or 0)))
        bound = np.float32(1 / math.sqrt(pair["a"].shape[1]))
        a = bound * (2 * random.random(pair["a"].shape, np.float32) - 1)
        tree[key] = {"a": jnp.asarray(a), "b": jnp.asarray(np.zeros(pair["b"].shape, np.float32))}
    return Adapters(tree=tree, config=lora)


def merge(model: Model) -> Model:
    """The model with its adapters added into the weights; projections without one are shared.

    The sum is taken in float32 and rounded once to the weights' dtype.

    Raises:
        ValueError: If the model has no adapters.
    """
    if model.adapters is None:
        raise ValueError("the model has no adapters to merge")
    return model.replace(weights=_shifted(model, model.adapters, sign=1.0), adapters=None)


def unmerge(model: Model, adapters: Adapters) -> Model:
    """The model with the adapters' product subtracted from its weights, and live beside them.

    Undoes `merge` up to one rounding in the weights' dtype; the exact base is the value that
    was merged, which `merge` leaves as it was.

    Raises:
        ValueError: If the model has live adapters already.
    """
    if model.adapters is not None:
        raise ValueError("the model has live adapters; merge them first")
    return model.replace(weights=_shifted(model, adapters, sign=-1.0), adapters=adapters)


def _shifted(model: Model, adapters: Adapters, *, sign: float) -> dict[str, Any]:
    layers = dict(model.weights["layers"])
    for name, pair in adapters.tree.items():
        layers[name] = _add_product(layers[name], pair["a"], pair["b"], sign * adapters.scale)
    return {**model.weights, "layers": layers}


@jax.jit
def _add_product(kernel: jax.Array, a: jax.Array, b: jax.Array, scale: float) -> jax.Array:
    def one_layer(args: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        matrix, a, b = args
        product = jnp.matmul(a, b, precision="highest")
        return (matrix.astype(jnp.float32) + scale * product).astype(matrix.dtype)

    return jax.lax.map(one_layer, (kernel, a, b))


def save_adapter(folder: Path, adapters: Adapters, config: GemmaConfig, *, base_name: str) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors` as PEFT reads them.

    Args:
        folder: Must exist.
        adapters: What to write, float32.
        config: Shape of the model that they belong to.
        base_name: Where PEFT may find the base model: a name or a path.
    """
    stacks = layer_stacks(config)
    tensors = {
        _peft_name(layer, stacks[key].name, part): np.ascontiguousarray(
            np.asarray(pair[part][row]).T
        )
        for key, pair in adapters.tree.items()
        for part in ("a", "b")
        for row, layer in enumerate(stacks[key].layers)
    }
    save_file(tensors, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    lora = adapters.config
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": list(lora.projections),
        "use_rslora": lora.use_rslora,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
    }
    (folder / ADAPTER_CONFIG).write_text(json.dumps(settings, indent=2) + "\n")


def load_adapter(folder: Path, config: GemmaConfig) -> Adapters:
    """The adapters that PEFT or `save_adapter` wrote.

    Args:
        folder: Holds `adapter_config.json` and `adapter_model.safetensors`.
        config: Shape of the model that they belong to.

    Raises:
        ModelError: If files are missing or unreadable, or the adapter is of another kind or
            does not fit the model.
    """
    lora = read_settings(folder)
    try:
        tensors = load_file(folder / ADAPTER_WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise unreadable(folder, error) from error
    expected = dict(_expected_shapes(config, lora))
    wrong = [
        *(f"{name} is missing" for name in expected if name not in tensors),
        *(f"{name} is not expected" for name in tensors if name not in expected),
        *(
            f"{name} has shape {tensors[name].shape}, not {shape}"
            for name, shape in expected.items()
            if name in tensors and tensors[name].shape != shape
        ),
    ]
    if wrong:
        shown = "; ".join(wrong[:3]) + (f"; and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        raise ModelError(
            f"{folder}: the adapter does not fit the model: {shown}.", code="ADAPTER_FIT"
        )

    def stacked(stack: Stack, part: str) -> jax.Array:
        parts = [tensors[_peft_name(layer, stack.name, part)].T for layer in stack.layers]
        return jnp.asarray(np.stack(parts), jnp.float32)

    stacks = stacks_of(config, lora.projections).items()
    tree = {key: {part: stacked(stack, part) for part in ("a", "b")} for key, stack in stacks}
    return Adapters(tree=tree, config=lora)


def _expected_shapes(
    config: GemmaConfig, lora: LoraRecipe
) -> Iterator[tuple[str, tuple[int, int]]]:
    for stack in stacks_of(config, lora.projections).values():
        size_in, size_out = stack.shape
        for layer in stack.layers:
            yield _peft_name(layer, stack.name, "a"), (lora.rank, size_in)
            yield _peft_name(layer, stack.name, "b"), (size_out, lora.rank)


def _peft_name(layer: int, name: str, part: str) -> str:
    block = "self_attn" if name in _ATTENTION else "mlp"
    return f"{_PREFIX}.{layer}.{block}.{name}.lora_{part.upper()}.weight"

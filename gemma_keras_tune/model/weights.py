"""Names and shapes of the weights: the one table that every reader and writer follows."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from .config import GemmaConfig

if TYPE_CHECKING:
    import jax

Weights = dict[str, Any]
"""`{"embedding", "final_norm", "layers": {name: [layers, ...]}}`, JAX arrays of one dtype.

`"output"` is there too where the output projection isn't the embedding.
"""

Shape = tuple[int, ...]

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The seven matrices of a layer, `[in, out]` each, named as PEFT names them."""

_PER_LAYER_MATRICES = (
    "per_layer_model_projection",
    "per_layer_input_gate",
    "per_layer_projection",
)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One array of `weights["layers"]`: a weight of all layers that have it in one shape.

    Attributes:
        name: What the weight is, such as `q_proj`.
        shape: Of one layer's, without the leading axis.
        layers: The layers, in the order of the leading axis.
    """

    name: str
    shape: Shape
    layers: tuple[int, ...]


def weight_shapes(config: GemmaConfig) -> dict[str, Any]:
    """The shape of every weight, in the structure of the weights themselves.

    Per-layer arrays are stacked on a leading axis; matrices are `[in, out]` with flattened heads,
    so `hidden @ matrix` is the product.
    """
    rows = (config.vocab_size, config.width)
    shapes: dict[str, Any] = {"embedding": rows, "final_norm": (config.width,)}
    if not config.tied:
        shapes["output"] = rows
    if config.per_layer_width:
        columns = config.layers * config.per_layer_width
        shapes["per_layer_embedding"] = (config.per_layer_vocab, columns)
        shapes["per_layer_model_projection"] = (config.width, columns)
        shapes["per_layer_projection_norm"] = (config.per_layer_width,)
    stacks = layer_stacks(config)
    shapes["layers"] = {key: (len(one.layers), *one.shape) for key, one in stacks.items()}
    return shapes


@cache
def layer_stacks(config: GemmaConfig) -> Mapping[str, Stack]:
    """The arrays of `weights["layers"]` by key.

    The key is the weight's name; where layers have it in several shapes, as the global layers of
    Gemma 4 have larger heads, those after the first shape have `.2`, `.3` at the end.
    """
    found: dict[str, dict[Shape, list[int]]] = {}
    for layer in range(config.layers):
        for name, shape in layer_shapes(config, layer).items():
            found.setdefault(name, {}).setdefault(shape, []).append(layer)
    return {
        name if number == 1 else f"{name}.{number}": Stack(
            name=name, shape=shape, layers=tuple(layers)
        )
        for name, by_shape in found.items()
        for number, (shape, layers) in enumerate(by_shape.items(), start=1)
    }


def stacks_of(config: GemmaConfig, names: Collection[str]) -> dict[str, Stack]:
    """The arrays of the weights of these names, by key."""
    return {key: stack for key, stack in layer_stacks(config).items() if stack.name in names}


@cache
def layer_places(config: GemmaConfig) -> Mapping[tuple[str, int], tuple[str, int]]:
    """Where the weight of a name and a layer is: the key in `weights["layers"]`, and the row."""
    return {
        (stack.name, layer): (key, row)
        for key, stack in layer_stacks(config).items()
        for row, layer in enumerate(stack.layers)
    }


def layer_shapes(config: GemmaConfig, layer: int) -> dict[str, Shape]:
    """The shape of every weight of one layer."""
    kind, width = config.kinds[layer], config.width
    queries, keys = kind.query_size, kind.kv_size
    shapes: dict[str, Shape] = {"q_proj": (width, queries)}
    if kind.has_key:
        shapes["k_proj"] = (width, keys)
    if kind.has_value:
        shapes["v_proj"] = (width, keys)
    shapes |= {
        "o_proj": (queries, width),
        "gate_proj": (width, kind.hidden_dim),
        "up_proj": (width, kind.hidden_dim),
        "down_proj": (kind.hidden_dim, width),
        "input_norm": (width,),
        "pre_feedforward_norm": (width,),
    }
    if config.post_norms:
        shapes |= {"post_attention_norm": (width,), "post_feedforward_norm": (width,)}
    if config.qk_norm:
        shapes["q_norm"] = (kind.head_dim,)
        if kind.has_key:
            shapes["k_norm"] = (kind.head_dim,)
    if config.per_layer_width:
        shapes |= {
            "per_layer_input_gate": (width, config.per_layer_width),
            "per_layer_projection": (config.per_layer_width, width),
            "post_per_layer_input_norm": (width,),
        }
    if config.layer_scalar:
        shapes["layer_scalar"] = (1,)
    return shapes


def is_left_out(config: GemmaConfig, name: str, layer: int) -> bool:
    """Whether files may hold a weight that the layer never uses: keys of one that shares others'.

    Google's own files have them for the last layers of Gemma 4.
    """
    of_keys = name in ("k_proj", "v_proj", "k_norm", "v_norm")
    return of_keys and layer < config.layers and not config.kinds[layer].has_key


def is_matrix(name: str) -> bool:
    """Whether a weight is a matrix that hidden states are multiplied with, `[in, out]`."""
    return name in PROJECTIONS or name in _PER_LAYER_MATRICES


def parameter_count(config: GemmaConfig) -> int:
    """How many numbers the weights hold."""
    shapes = weight_shapes(config)
    layers = shapes.pop("layers")
    return sum(math.prod(shape) for shape in (*shapes.values(), *layers.values()))


def is_scale(name: str) -> bool:
    """Whether a weight is the scale of an RMSNorm; `name` is its name, or its key."""
    return name.partition(".")[0].endswith("norm")


def output_matrix(weights: Mapping[str, Any]) -> Any:
    """What hidden states are multiplied with for logits, `[vocab, width]`."""
    return weights.get("output", weights["embedding"])


def init_random(config: GemmaConfig, *, seed: int, dtype: Any = np.float32) -> Weights:
    """Random weights whose every layer matters, for tests and shape-only work.

    Matrices have a standard deviation of `1/sqrt(in)`, embeddings `1/sqrt` of their columns, norm
    scales 0.1 around what leaves the input as it is, so that a wrong norm or a layer left out
    changes the output.

    Args:
        config: The sizes.
        seed: The same seed gives the same numbers, whatever the dtype rounds them to.
        dtype: Any JAX float dtype.

    Returns:
        The pytree of `weight_shapes(config)`.
    """
    import jax.numpy as jnp  # here, so that shapes can be asked for without JAX

    rng = np.random.default_rng(seed)

    def one(name: str, shape: Shape) -> jax.Array:
        deviation, middle = 0.1, 0.0
        if is_scale(name):
            # what is multiplied is near 1, whatever the family adds to the scale
            middle = 1.0 - config.norm_offset
            if name.startswith("q_norm") and not config.norm_offset:
                # where queries aren't scaled otherwise, their norm does it
                middle = shape[-1] ** -0.5 / config.query_scale
                deviation *= middle
        elif name == "layer_scalar":
            middle = 1.0
        else:
            by_row = name in ("embedding", "output", "per_layer_embedding")
            deviation = 1 / math.sqrt(shape[-1] if by_row else shape[-2])
        values = middle + rng.standard_normal(shape, np.float32) * np.float32(deviation)
        return jnp.asarray(values, dtype)

    shapes = weight_shapes(config)
    layers = {name: one(name, shape) for name, shape in shapes.pop("layers").items()}
    return {**{name: one(name, shape) for name, shape in shapes.items()}, "layers": layers}

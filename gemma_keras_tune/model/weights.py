"""Names and shapes of the weights: the one table that every reader and writer follows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .config import GemmaConfig

if TYPE_CHECKING:
    import jax

Weights = dict[str, Any]
"""`{"embedding", "final_norm", "layers": {name: [layers, ...]}}`, JAX arrays of one dtype."""

Shape = tuple[int, ...]

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The seven matrices of a layer, `[in, out]` each, named as PEFT names them."""


def weight_shapes(config: GemmaConfig) -> dict[str, Any]:
    """The shape of every weight, in the structure of the weights themselves.

    Per-layer arrays are stacked on a leading `[layers]` axis; matrices are `[in, out]` with
    flattened heads, so `hidden @ matrix` is the product.
    """
    layer = layer_shapes(config)
    return {
        "embedding": (config.vocab_size, config.width),
        "final_norm": (config.width,),
        "layers": {name: (config.layers, *shape) for name, shape in layer.items()},
    }


def layer_shapes(config: GemmaConfig) -> dict[str, Shape]:
    """The shape of every weight of one layer, without the `[layers]` axis."""
    width, queries, keys, hidden = (
        config.width,
        config.query_size,
        config.kv_size,
        config.hidden_dim,
    )
    shapes: dict[str, Shape] = {
        "q_proj": (width, queries),
        "k_proj": (width, keys),
        "v_proj": (width, keys),
        "o_proj": (queries, width),
        "gate_proj": (width, hidden),
        "up_proj": (width, hidden),
        "down_proj": (hidden, width),
        "input_norm": (width,),
        "pre_feedforward_norm": (width,),
    }
    if config.post_norms:
        shapes |= {"post_attention_norm": (width,), "post_feedforward_norm": (width,)}
    if config.qk_norm:
        shapes |= {"q_norm": (config.head_dim,), "k_norm": (config.head_dim,)}
    return shapes


def parameter_count(config: GemmaConfig) -> int:
    """How many numbers the weights hold."""
    per_layer = sum(math.prod(shape) for shape in layer_shapes(config).values())
    return (config.vocab_size + 1) * config.width + config.layers * per_layer


def init_random(config: GemmaConfig, *, seed: int, dtype: Any = np.float32) -> Weights:
    """Random weights whose every layer matters, for tests and shape-only work.

    Matrices have a standard deviation of `1/sqrt(in)`, the embedding `1/sqrt(width)`, norm
    scales 0.1, so that a wrong norm or a layer left out changes the output.

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
        if name.endswith("norm"):
            deviation = 0.1
        else:
            deviation = 1 / math.sqrt(config.width if name == "embedding" else shape[-2])
        return jnp.asarray(rng.standard_normal(shape, np.float32) * np.float32(deviation), dtype)

    shapes = weight_shapes(config)
    layers = {name: one(name, shape) for name, shape in shapes["layers"].items()}
    return {
        "embedding": one("embedding", shapes["embedding"]),
        "final_norm": one("final_norm", shapes["final_norm"]),
        "layers": layers,
    }

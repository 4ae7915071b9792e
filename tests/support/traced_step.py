"""A training step traced on shapes, on one device or laid over a mesh: no weight exists."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from gemma_keras_tune.model.mesh import DATA, MeshShape
from gemma_keras_tune.model.sharding import make_mesh, weight_layouts
from gemma_keras_tune.planning.compiler import shapes_of
from gemma_keras_tune.planning.estimate import Setting, setting_of
from gemma_keras_tune.planning.known_models import model_config
from gemma_keras_tune.recipe import DataRecipe, ModelRecipe, Recipe, TrainRecipe
from gemma_keras_tune.training.step import _settings, _train_step


def traced_step(
    model: ModelRecipe,
    train: TrainRecipe,
    length: int,
    platform: Any,
    shape: tuple[int, int] | None,
) -> Any:
    """The step, to be lowered.

    Args:
        model: A model that is known by name, and its adapters.
        train: Its settings.
        length: Tokens of a row.
        platform: For what it is planned, by JAX's word.
        shape: Groups, and devices of a group; None for a single device.
    """
    data = DataRecipe(path="none.csv", task="text", columns={"text": "text"}, max_length=length)
    recipe = Recipe(name="traced", data=data, model=model, train=train)
    setting = setting_of(recipe, model_config(model), platform)
    state, weights, batches = shapes_of(setting)
    mesh = None
    if shape is not None:
        mesh = make_mesh(MeshShape(data=shape[0], model=shape[1]))
        state, weights, batches = _laid(mesh, setting, state, weights, batches)
    key = jax.ShapeDtypeStruct((), jnp.uint32)
    return _train_step.trace(
        state, weights, batches, key,
        config=setting.config, recipe=_settings(train), mesh=mesh,
    )  # fmt: skip


def _laid(mesh: Any, setting: Setting, state: Any, weights: Any, batches: Any) -> Any:
    """The same shapes, laid over the mesh."""

    def on(shape: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)

    layouts = weight_layouts(setting.config, mesh)
    layers = {name: on(shape, layouts[name]) for name, shape in weights["layers"].items()}
    outer = {name: on(shape, layouts[name]) for name, shape in weights.items() if name != "layers"}
    whole = NamedSharding(mesh, PartitionSpec())
    dealt = NamedSharding(mesh, PartitionSpec(None, DATA))
    state = jax.tree.map(lambda shape: on(shape, whole), state)
    batches = {name: on(shape, dealt) for name, shape in batches.items()}
    return state, {**outer, "layers": layers}, batches

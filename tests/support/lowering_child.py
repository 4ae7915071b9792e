"""Lowers training steps for a device that isn't there: as far as JAX goes without one. JSON.

Called as `python -m tests.support.lowering_child tpu` or `gpu`, with `mesh_child.EIGHT` in
XLA_FLAGS. Pallas checks and translates the kernels; nothing is compiled, and no weight exists.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from unittest import mock

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

CASES: dict[str, tuple[str, Any, tuple[int, int] | None]] = {
    "gemma_2b_en": ("gemma_2b_en", "fused", None),
    "gemma2_2b_en": ("gemma2_2b_en", "fused", None),
    "gemma4_2b": ("gemma4_2b", "fused", None),
    "gemma3_instruct_1b": ("gemma3_instruct_1b", "fused", None),
    "gemma3_instruct_1b auto": ("gemma3_instruct_1b", "auto", None),
    "gemma3_instruct_1b plain": ("gemma3_instruct_1b", "plain", None),
    "gemma3_instruct_1b on 2x4": ("gemma3_instruct_1b", "fused", (2, 4)),
    "gemma3_instruct_27b_text on 8x1": ("gemma3_instruct_27b_text", "fused", (8, 1)),
}
"""Model, what is asked, mesh."""
PROGRAMS = {"tpu": ("tpu", "@tpu_custom_call"), "gpu": ("cuda", "@__gpu$xla.gpu.triton")}
"""Of each platform the name for which it is lowered, and how a kernel is called."""


def main(platform: Any) -> None:
    """Prints how many kernels each case's program calls."""
    with mock.patch.object(jax, "default_backend", lambda: platform):
        found = {
            name: lowered(platform, *case).count(PROGRAMS[platform][1])
            for name, case in CASES.items()
        }
    print(json.dumps(found))


def lowered(platform: Any, preset: str, attention: Any, shape: tuple[int, int] | None) -> str:
    """The program of a step on rows of 2,048 tokens, for a platform."""
    recipe = Recipe(
        name="lowered",
        data=DataRecipe(path="none.csv", task="text", columns={"text": "text"}, max_length=2048),
        model=ModelRecipe(preset=preset),
        train=TrainRecipe(attention=attention, batch_tokens=16384, micro_batch_tokens=16384),
    )
    setting = setting_of(recipe, model_config(recipe.model), platform)
    state, weights, batches = shapes_of(setting)
    mesh = None
    if shape is not None:
        mesh = make_mesh(MeshShape(data=shape[0], model=shape[1]))
        state, weights, batches = _laid(mesh, setting, state, weights, batches)
    key = jax.ShapeDtypeStruct((), jnp.uint32)
    traced = _train_step.trace(
        state, weights, batches, key,
        config=setting.config, recipe=_settings(recipe.train), mesh=mesh,
    )  # fmt: skip
    return traced.lower(lowering_platforms=(PROGRAMS[platform][0],)).as_text()


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


if __name__ == "__main__":
    main(sys.argv[1])

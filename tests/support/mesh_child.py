"""Trains on eight virtual devices, which its process must have from the start; prints JSON.

Called as `python -m tests.support.mesh_child FOLDER '{"gemma3": ["1x1", "4x2"]}'`, with `EIGHT` in
the variable XLA_FLAGS.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from gemma_keras_tune.data.examples import Split
from gemma_keras_tune.events import Event, Step, Validation
from gemma_keras_tune.model.config import GemmaConfig
from gemma_keras_tune.model.load import load_model
from gemma_keras_tune.model.lora import init_adapters
from gemma_keras_tune.model.mesh import MeshShape
from gemma_keras_tune.model.sharding import by_itself, mesh_of, on_mesh
from gemma_keras_tune.model.value import Model
from gemma_keras_tune.recipe import LoraRecipe, ModelRecipe, TrainRecipe
from gemma_keras_tune.text.tokenizer import Tokenizer
from gemma_keras_tune.training import loop
from gemma_keras_tune.training.step import TrainState
from gemma_keras_tune.training.train import train
from tests.support.tiny_models import TINY_FAMILIES
from tests.support.tiny_runs import spam_rows, tiny_model
from tests.support.tiny_tokenizer import tiny_proto

EIGHT = "--xla_force_host_platform_device_count=8"

SHAPES = {"1x1": None, "8x1": (8, 1), "4x2": (4, 2), "2x4": (2, 4)}
RECIPE = TrainRecipe(
    epochs=2, batch_tokens=512, micro_batch_tokens=128, learning_rate=2e-3, evaluate_every_steps=2
)


def main(folder: str, wanted: str) -> None:
    """Prints the curves of families on meshes, and what lies where after loading."""
    curves = {
        family: {name: curve(TINY_FAMILIES[family], SHAPES[name]) for name in names}
        for family, names in json.loads(wanted).items()
    }
    print(json.dumps({"curves": curves, "loaded": loaded(folder)}))


def curve(config: GemmaConfig, shape: tuple[int, int] | None) -> dict[str, Any]:
    """What a short run finds, sums of its last adapters, and how many layouts its steps saw."""
    model = random_model(config)
    if shape is not None:
        model = on_mesh(model, MeshShape(data=shape[0], model=shape[1]))
    events: list[Event] = []
    rows: Split = spam_rows(40)
    layouts: list[Any] = []
    step = loop.train_step

    def seen(state: TrainState, *given: Any, **named: Any) -> Any:
        layouts.append([leaf.sharding for leaf in jax.tree.leaves(state)])
        return step(state, *given, **named)

    with mock.patch.object(loop, "train_step", seen):
        result = train(model, rows, RECIPE, validation=spam_rows(9, seed=1), on_event=events.append)
    trained = by_itself(result.model)
    assert (mesh_of(trained.weights) is None) == (shape is None or shape[1] == 1)
    steps = [event for event in events if isinstance(event, Step)]
    return {
        "layouts": len({str(layout) for layout in layouts}),
        "losses": [step.loss for step in steps],
        "norms": [step.grad_norm for step in steps],
        "answers": [step.answer_tokens for step in steps],
        "validation": [event.loss for event in events if isinstance(event, Validation)],
        "adapters": [
            float(np.abs(np.asarray(leaf)).sum()) for leaf in jax.tree.leaves(trained.adapters)
        ],
    }


def random_model(config: GemmaConfig) -> Model:
    """A random model of these sizes whose adapters change something from the start."""
    lora = LoraRecipe(rank=4, targets=("all-linear",))
    noise = np.random.default_rng(0)
    adapters = jax.tree.map(
        lambda leaf: leaf + jnp.asarray(noise.normal(0, 0.05, leaf.shape), leaf.dtype),
        init_adapters(config, lora),
    )
    return tiny_model(Tokenizer(tiny_proto()), config=config, lora=lora).replace(adapters=adapters)


def loaded(folder: str) -> dict[str, Any]:
    """Bytes of each device, and whether the parts are those of the whole, by mesh."""
    recipe = ModelRecipe(preset=folder)
    whole = load_model(recipe).weights
    found = {}
    for name, shape in SHAPES.items():
        if shape is None:
            continue
        weights = load_model(recipe, mesh=MeshShape(data=shape[0], model=shape[1])).weights
        held = dict.fromkeys(map(str, jax.devices()), 0)
        for leaf in jax.tree.leaves(weights):
            for part in leaf.addressable_shards:
                held[str(part.device)] += part.data.nbytes
        pairs = zip(jax.tree.leaves(whole), jax.tree.leaves(weights), strict=True)
        same = all(np.array_equal(np.asarray(one), np.asarray(other)) for one, other in pairs)
        found[name] = {"held": list(held.values()), "same": same}
    found["whole"] = sum(leaf.nbytes for leaf in jax.tree.leaves(whole))
    return found


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

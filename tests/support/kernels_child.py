"""A training step and a loss by the interpreted kernel on meshes of eight virtual devices; JSON.

Called as `python -m tests.support.kernels_child KERNEL BLOCK`, with `mesh_child.EIGHT` in
XLA_FLAGS.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from unittest import mock

import jax.numpy as jnp
import numpy as np

from gemma_keras_tune.model import forward
from gemma_keras_tune.model.mesh import MODEL, MeshShape
from gemma_keras_tune.model.paths import AttentionPath, deals_out
from gemma_keras_tune.model.sharding import dealt_to, mesh_of, on_mesh
from gemma_keras_tune.model.value import Model
from gemma_keras_tune.recipe import TrainRecipe
from gemma_keras_tune.training.step import Batch, initial_state, loss_sums, train_step
from tests.support.mesh_child import random_model
from tests.support.tiny_models import tiny_gemma3

LENGTH, ROWS = 160, 8
SHAPES = {"one device": None, "8x1": (8, 1), "4x2": (4, 2), "1x8": (1, 8)}
"""Eight query heads: of the two key heads, two devices have one each, eight share them."""


def main(kernel: Any, block: int) -> None:
    """Prints `[loss, length of the gradient, loss after the step]` by mesh and way."""
    found = {}
    for kv_heads in (2, 1):
        config = tiny_gemma3(
            heads=8, kv_heads=kv_heads, layers=2, layer_is_local=(True, False), hidden_dim=64
        )
        model, name = random_model(config), f"kv{kv_heads}"
        found[f"{name} blocks"] = stepped(model, AttentionPath(name="blocks", block=128))
        for mesh, shape in SHAPES.items():
            if kv_heads == 1 and mesh in ("one device", "8x1"):
                continue  # as with two
            laid = (
                model if shape is None else on_mesh(model, MeshShape(data=shape[0], model=shape[1]))
            )
            found[f"{name} {mesh}"] = stepped(laid, AttentionPath(name=kernel, block=block))
    print(json.dumps(found))


def stepped(model: Model, path: AttentionPath) -> list[float]:
    """What one step finds, and the loss after it."""
    mesh, config = mesh_of(model.weights), model.config
    assert mesh is None or deals_out(config, mesh.shape[MODEL])
    recipe = TrainRecipe(loss_chunk=32, remat="dots")
    one = {name: dealt_to(mesh, array, axis=0) for name, array in packed().items()}
    batches = {name: dealt_to(mesh, array[None], axis=1) for name, array in packed().items()}
    with mock.patch.object(forward, "attention_path", lambda *_, **__: path):
        state = initial_state(model.adapters, recipe, mesh)  # type: ignore[arg-type]  # not None
        state, found = train_step(
            state, model.weights, batches, config=config, recipe=recipe, step=1
        )
        loss, count = loss_sums(state.adapters, model.weights, one, config=config, chunk=32)
    return [found.loss, found.grad_norm, loss / count]


def packed() -> Batch:
    """Eight rows of two segments with padding behind them."""
    rng = np.random.default_rng(0)
    sizes = (70, 80)
    rest = LENGTH - sum(sizes)
    positions = np.concatenate([*(np.arange(size) for size in sizes), np.zeros(rest)])
    segments = np.repeat([1, 2, 0], [*sizes, rest])
    ids = rng.integers(3, 500, (ROWS, LENGTH))
    arrays = {
        "token_ids": ids,
        "targets": np.roll(ids, -1, axis=1),
        "loss_mask": (rng.random((ROWS, LENGTH)) < 0.35) & (segments > 0),
        "positions": np.broadcast_to(positions, ids.shape),
        "segment_ids": np.broadcast_to(segments, ids.shape),
    }
    return {name: jnp.asarray(array, jnp.int32) for name, array in arrays.items()}


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

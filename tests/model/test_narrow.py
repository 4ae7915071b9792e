"""bfloat16 on a CPU: the derivatives are those in float32, and no float32 copies are made."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.model.config import GemmaConfig
from gemma_keras_tune.model.forward import hidden_states
from gemma_keras_tune.model.lora import Adapters
from gemma_keras_tune.model.narrow import cut, rows_of, turned
from gemma_keras_tune.model.weights import init_random, output_matrix
from gemma_keras_tune.recipe import LoraRecipe
from gemma_keras_tune.training.loss import fused_cross_entropy
from tests.model.test_forward import random_adapters
from tests.support.tiny_models import TINY_FAMILIES, slow_but, tiny_gemma3

RANK_1 = LoraRecipe(rank=1, targets=("all-linear",))


def loss(
    config: GemmaConfig, weights: Any, adapters: Adapters, ids: jax.Array, *, remat: Any
) -> jax.Array:
    places = jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape)
    hidden = hidden_states(
        config, weights, ids, adapters=adapters, positions=places,
        segment_ids=jnp.ones_like(ids), remat=remat,
    )  # fmt: skip
    head, cap = output_matrix(weights), config.final_softcap
    return fused_cross_entropy(hidden, head, ids, places > 2, chunk=8, softcap=cap)[0]


@pytest.mark.parametrize(
    "which",
    slow_but(
        ("gemma3 dots", "gemma3 none", "gemma3 full", "gemma2 dots", "gemma4-small dots"),
        "gemma3 dots",
    ),
)
def test_derivatives_of_weights_and_adapters_are_those_in_float32(which: str) -> None:
    family, _, remat = which.partition(" ")
    config = TINY_FAMILIES[family]
    adapters = random_adapters(config, RANK_1)
    narrow = init_random(config, seed=0, dtype=jnp.bfloat16)
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), narrow)
    ids = jnp.asarray(np.random.default_rng(0).integers(4, config.vocab_size, (2, 21)))
    of_loss = jax.jit(jax.value_and_grad(partial(loss, config, remat=remat), (0, 1)))
    found, derivatives = of_loss(narrow, adapters, ids)
    expected, exact = of_loss(wide, adapters, ids)
    np.testing.assert_allclose(found, expected, rtol=0.01)
    pairs = zip(jax.tree.leaves(derivatives), jax.tree.leaves(exact), strict=True)
    for one, other in pairs:
        apart = jnp.linalg.norm(one.astype(jnp.float32) - other)
        assert apart < 0.2 * jnp.linalg.norm(other)


def test_what_is_cut_or_looked_up_is_what_was_there() -> None:
    table = jnp.asarray(np.random.default_rng(0).normal(size=(10, 3)), jnp.bfloat16)
    rows = jnp.asarray([[7, 0], [7, 9]])
    np.testing.assert_array_equal(jax.jit(rows_of)(table, rows), table[rows])
    np.testing.assert_array_equal(jax.jit(turned)(table), np.asarray(table).T)
    parts = jax.lax.map(lambda start: cut(table, start, 4), jnp.asarray([0, 4, 8]))
    np.testing.assert_array_equal(parts, [table[:4], table[4:8], table[6:]])
    pull = jax.grad(lambda table: rows_of(table, rows).astype(jnp.float32).sum())(table)
    np.testing.assert_array_equal(pull[:, 0], [1, 0, 0, 0, 0, 0, 0, 2, 0, 1])


@pytest.mark.parametrize("remat", ["dots", "full"])
def test_nothing_as_large_as_the_weights_is_made_beside_them(remat: str) -> None:
    config = tiny_gemma3(width=128, hidden_dim=512, layers=8, vocab_size=40_000)
    weights = init_random(config, seed=0, dtype=jnp.bfloat16)
    step = jax.jit(jax.grad(partial(loss, config, remat=remat), 1))
    ids = jnp.zeros((1, 16), jnp.int32)
    compiled = step.lower(weights, random_adapters(config), ids).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    smallest = min(weights["embedding"].nbytes, sum(v.nbytes for v in weights["layers"].values()))
    assert analysis.temp_size_in_bytes < smallest / 2

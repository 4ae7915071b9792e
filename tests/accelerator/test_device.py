"""What must hold on a GPU or a TPU: the processor of the same machine says what is right.

pytest -m accelerator
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.evaluation.generate import generate
from gemma_keras_tune.event_types import Step
from gemma_keras_tune.load_watch import LoadWatch
from gemma_keras_tune.model.blockwise import BlockSettings
from gemma_keras_tune.model.forward import hidden_states
from gemma_keras_tune.model.fused import fused_attention
from gemma_keras_tune.model.lora import init_adapters
from gemma_keras_tune.model.splash import splash_attention
from gemma_keras_tune.model.weights import init_random
from gemma_keras_tune.recipe import LoraRecipe, TrainRecipe
from gemma_keras_tune.text.tokenizer import Tokenizer
from gemma_keras_tune.training.step import loss_sums
from gemma_keras_tune.training.train import train
from tests.model.test_blockwise import (
    attention_with_mask,
    places,
    random_heads,
    value_and_gradients,
)
from tests.support.tiny_models import tiny_gemma3
from tests.support.tiny_runs import spam_rows, tiny_model

pytestmark = pytest.mark.accelerator

LENGTH, SEGMENTS = 96, (37, 23, 36)  # past the sliding window of 8


@pytest.fixture(scope="module")
def device() -> Any:
    found = jax.devices()[0]
    if found.platform == "cpu":
        pytest.skip("no GPU or TPU: JAX sees only the processor")
    return found


def packed() -> dict[str, jax.Array]:
    """Two rows of three segments each."""
    rng = np.random.default_rng(0)
    positions = np.concatenate([np.arange(size) for size in SEGMENTS])
    segments = np.repeat(np.arange(1, 1 + len(SEGMENTS)), SEGMENTS)
    ids = rng.integers(3, 500, (2, LENGTH))
    arrays = {
        "token_ids": ids,
        "targets": np.roll(ids, -1, axis=1),
        "loss_mask": rng.random((2, LENGTH)) < 0.35,
        "positions": np.broadcast_to(positions, (2, LENGTH)),
        "segment_ids": np.broadcast_to(segments, (2, LENGTH)),
    }
    return {name: jnp.asarray(array, jnp.int32) for name, array in arrays.items()}


def on(device: Any, values: Any) -> Any:
    return jax.device_put(values, device)


def states(where: Any, dtype: Any) -> np.ndarray:
    """Hidden states of the packed rows, computed on `where`."""
    config, batch = tiny_gemma3(layers=7), packed()
    weights = on(where, init_random(config, seed=0, dtype=dtype))
    given = {key: on(where, batch[key]) for key in ("token_ids", "positions", "segment_ids")}
    run = jax.jit(partial(hidden_states, config))
    return np.asarray(run(weights, given.pop("token_ids"), **given), np.float32)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def test_float32_at_full_precision_is_the_processor_s(device: Any) -> None:
    with jax.default_matmul_precision("highest"):
        found = states(device, jnp.float32)
    assert relative(found, states(jax.devices("cpu")[0], jnp.float32)) < 1e-5


def test_bfloat16_is_right_to_its_own_precision(device: Any) -> None:
    expected = states(jax.devices("cpu")[0], jnp.float32)
    assert relative(states(device, jnp.bfloat16), expected) < 0.05


def test_the_fused_loss_is_the_processor_s(device: Any) -> None:
    config, batch = tiny_gemma3(), packed()
    weights = init_random(config, seed=0)
    adapters = init_adapters(config, LoraRecipe(rank=4))
    with jax.default_matmul_precision("highest"):
        (loss, count), (expected, same) = (
            loss_sums(
                on(where, adapters), on(where, weights), on(where, batch), config=config, chunk=16
            )
            for where in (device, jax.devices("cpu")[0])
        )
    assert count == same
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


@pytest.mark.parametrize(("is_local", "softcap"), [(True, None), (False, 50.0)])
@pytest.mark.parametrize("head_dim", [128, 256, 512])
def test_the_device_s_kernel_attends_as_the_processor_does_with_a_mask(
    device: Any, head_dim: int, is_local: bool, softcap: float | None
) -> None:
    attend, dtype, block = {
        "tpu": (splash_attention, jnp.float32, 512 if head_dim <= 256 else 256),
        "gpu": (fused_attention, jnp.bfloat16, 64 if head_dim <= 256 else 32),
    }[device.platform]
    where = places([[2500], [1000, 1200]])
    heads = random_heads(where, heads=4, kv_heads=1, head_dim=head_dim, dtype=dtype)
    heads[0] /= head_dim**0.5  # queries come scaled
    settings = BlockSettings(block=block, window=700, softcap=softcap)
    by_mask, by_kernel = (
        partial(way, is_local=is_local, settings=settings) for way in (attention_with_mask, attend)
    )
    with jax.default_device(jax.devices("cpu")[0]):
        exact = [head.astype(jnp.float32) for head in heads]
        expected = value_and_gradients(partial(by_mask, places=where), exact)
    heads, where = on(device, heads), on(device, where)
    found = value_and_gradients(partial(by_kernel, places=where), heads)
    for one, other in zip(found, expected, strict=True):
        assert relative(one, other) < 0.02  # its products are bfloat16's


def test_a_training_learns(device: Any, tiny_tokenizer: Tokenizer) -> None:
    events: list[Any] = []
    recipe = TrainRecipe(epochs=12, learning_rate=0.02, batch_tokens=256, micro_batch_tokens=128)
    result = train(tiny_model(tiny_tokenizer), spam_rows(48), recipe, on_event=events.append)
    losses = [event.loss for event in events if isinstance(event, Step)]
    assert losses[-1] < 0.7 * losses[0], losses
    leaves = jax.tree.leaves(result.model.adapters)
    assert all(leaf.devices() == {device} for leaf in leaves)


def test_greedy_answers_are_the_processor_s(device: Any, tiny_tokenizer: Tokenizer) -> None:
    prompts = ["win a free prize", "lunch tomorrow at noon with the lazy dog", "call now"]

    def answers(where: Any) -> list[tuple[int, ...]]:
        with jax.default_device(where), jax.default_matmul_precision("highest"):
            model = tiny_model(tiny_tokenizer)
            model = model.replace(weights=on(where, model.weights))
            found = generate(model, prompts, max_tokens=24, stop_ids=(), batch_rows=2)
            return [one.ids for one in found]

    assert answers(device) == answers(jax.devices("cpu")[0])


def test_the_load_tells_the_device_s_memory(device: Any) -> None:
    watch, held = LoadWatch(), on(device, jnp.ones((1024, 1024)))
    watch.devices_ready()
    load = watch.look()
    assert load.device_bytes is not None and load.device_bytes >= held.nbytes
    assert load.device_limit_bytes is not None and load.device_limit_bytes > load.device_bytes

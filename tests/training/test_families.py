"""Training, scoring and answering with every kind of layer, against PyTorch's gradients."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.errors import StoppedWithCheckpoint
from gemma_keras_tune.evaluation.generate import generate
from gemma_keras_tune.evaluation.report import evaluate
from gemma_keras_tune.events import Event, Step
from gemma_keras_tune.model.config import GemmaConfig
from gemma_keras_tune.model.forward import hidden_states
from gemma_keras_tune.model.lora import Adapters, load_adapter, save_adapter
from gemma_keras_tune.recipe import EvaluateRecipe, LoraRecipe, TrainRecipe
from gemma_keras_tune.training.checkpoints import CheckpointStore
from gemma_keras_tune.training.loss import fused_cross_entropy
from gemma_keras_tune.training.train import train
from tests.model.test_families import small_model
from tests.model.test_forward import random_adapters
from tests.support.hf_models import tiny_hf, weights_from_hf
from tests.support.tiny_models import TINY_FAMILIES, slow_but
from tests.support.tiny_runs import spam_rows

ALL = LoraRecipe(rank=3, alpha=5.0)
RECIPE = TrainRecipe(epochs=6, batch_tokens=256, micro_batch_tokens=128, learning_rate=1e-2)


@pytest.mark.parametrize(
    "name", slow_but(["gemma-mha", "gemma2", "gemma4-small", "gemma4-large"], "gemma2")
)
def test_the_gradient_of_every_adapter_is_pytorchs(name: str, tmp_path: Path) -> None:
    peft, torch = pytest.importorskip("peft"), pytest.importorskip("torch")
    config = TINY_FAMILIES[name]
    hf = tiny_hf(config)
    weights = weights_from_hf(hf, config)
    adapters = random_adapters(config, ALL, size=0.05)
    save_adapter(tmp_path, adapters, config, base_name="tiny")
    ids = np.random.default_rng(0).integers(4, 400, (2, 21))
    tuned = peft.PeftModel.from_pretrained(hf, str(tmp_path), is_trainable=True)
    tuned(torch.tensor(ids), labels=torch.tensor(ids)).loss.backward()
    for parameter in tuned.parameters():  # PEFT writes weights; these are their gradients
        if parameter.requires_grad:
            parameter.data.copy_(parameter.grad)
    (tmp_path / "gradients").mkdir()
    tuned.save_pretrained(tmp_path / "gradients")
    expected = load_adapter(tmp_path / "gradients", config)
    found = jax.jit(jax.grad(partial(_loss, config, weights, jnp.asarray(ids))))(adapters)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(expected.tree))
    for key in expected.tree:
        for part in ("a", "b"):
            apart = np.abs(np.asarray(found.tree[key][part]) - expected.tree[key][part]).max()
            assert apart < 2e-4 * largest, (key, part)


def _loss(config: GemmaConfig, weights: Any, ids: jax.Array, adapters: Adapters) -> jax.Array:
    """Mean nats of every token but the first, as `transformers` takes it."""
    hidden = hidden_states(
        config, weights, ids, adapters=adapters,
        positions=jnp.broadcast_to(jnp.arange(ids.shape[1]), ids.shape),
        segment_ids=jnp.ones_like(ids),
    )  # fmt: skip
    targets = jnp.concatenate([ids[:, 1:], ids[:, :1]], axis=1)
    mask = jnp.ones_like(ids, bool).at[:, -1].set(False)
    nats, count = fused_cross_entropy(
        hidden,
        weights["embedding"],
        targets,
        mask,
        chunk=16,
        softcap=config.final_softcap,
    )
    return nats / count


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma2", "gemma4-small"])
def test_a_run_learns_answers_and_goes_on_bit_for_bit(name: str, tmp_path: Path) -> None:
    model = small_model(name).replace(lora=LoraRecipe(rank=4, dropout=0.1))
    rows = spam_rows(30)
    events: list[Event] = []
    result = train(model, rows, RECIPE, on_event=events.append)
    losses = [event.loss for event in events if isinstance(event, Step)]
    assert losses[-1] < 0.7 * losses[0]  # with caps it can't fall to nothing

    told: list[Event] = []
    with pytest.raises(StoppedWithCheckpoint):
        train(
            model, rows, RECIPE, store=CheckpointStore(tmp_path, attempt=1), on_event=told.append,
            should_stop=lambda: sum(isinstance(event, Step) for event in told) >= 2,
        )  # fmt: skip
    resumed = train(model, rows, RECIPE, store=CheckpointStore(tmp_path, attempt=2))
    jax.tree.map(np.testing.assert_array_equal, resumed.model.adapters, result.model.adapters)

    report = evaluate(result.model, spam_rows(12, seed=3), EvaluateRecipe(samples=1), base=model)
    assert report.base is not None and report.tuned.loss < report.base.loss
    (answer,) = generate(result.model, ["win a prize"], max_tokens=6)
    assert 1 <= len(answer.ids) <= 6

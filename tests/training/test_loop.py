"""The loop: accumulation, resuming bit for bit, stopping, the best step, and bad numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.errors import CheckpointError, StoppedWithCheckpoint, TuneError
from gemma_keras_tune.events import CheckpointSaved, Event, Note, Progress, Step, Validation, Warned
from gemma_keras_tune.model.lora import init_adapters
from gemma_keras_tune.model.value import Model
from gemma_keras_tune.recipe import LoraRecipe, TrainRecipe
from gemma_keras_tune.text.tokenizer import Tokenizer
from gemma_keras_tune.training.checkpoints import CheckpointStore
from gemma_keras_tune.training.loop import TrainResult
from gemma_keras_tune.training.step import initial_state, train_step
from gemma_keras_tune.training.train import train
from tests.support.tiny_runs import spam_rows, tiny_model

RECIPE = TrainRecipe(
    epochs=2, batch_tokens=256, micro_batch_tokens=128, learning_rate=1e-2, evaluate_every_steps=3
)
TRAIN, VALIDATION = spam_rows(30), spam_rows(8, seed=1)


@pytest.fixture(scope="module")
def model(tiny_tokenizer: Tokenizer) -> Model:
    return tiny_model(tiny_tokenizer, lora=LoraRecipe(rank=4, dropout=0.1))


@pytest.fixture(scope="module")
def uninterrupted(model: Model) -> tuple[TrainResult, list[Event]]:
    events: list[Event] = []
    result = train(model, TRAIN, RECIPE, validation=VALIDATION, on_event=events.append)
    return result, events


def of_kind(events: list[Event], kind: type) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def bits(result: TrainResult) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(result.model.adapters)]


def stop_after(steps: int, events: list[Event]) -> Callable[[], bool]:
    return lambda: len(of_kind(events, Step)) >= steps


def test_training_lowers_the_loss_and_leaves_the_base_alone(
    model: Model, uninterrupted: tuple[TrainResult, list[Event]]
) -> None:
    result, events = uninterrupted
    losses = [step.loss for step in of_kind(events, Step)]
    assert losses[-1] < losses[0] / 2
    assert result.model.weights is model.weights
    assert model.adapters is None
    assert result.steps == len(losses) == of_kind(events, Step)[-1].total_steps


def test_a_run_says_which_way_its_attention_takes(
    uninterrupted: tuple[TrainResult, list[Event]],
) -> None:
    notes = [note.message for note in of_kind(uninterrupted[1], Note)]
    assert any("rows of 64 tokens): all at once, with a mask." in note for note in notes)


def test_a_run_tells_the_time_left_and_how_far_each_measurement_is(
    uninterrupted: tuple[TrainResult, list[Event]],
) -> None:
    first, *later = of_kind(uninterrupted[1], Step)
    assert first.seconds_left is None and later
    assert all(step.seconds_left > 0 for step in later), "the last step is still to be measured"
    begun, *told = of_kind(uninterrupted[1], Progress)
    assert {(one.stage, one.total) for one in told} == {("validation", 0), ("validation", 8)}
    assert (begun.done, begun.total, told[-1].done) == (0, 0, 8)
    ends = [one for one in told if one.done == one.total == 8]
    assert len(ends) == len(of_kind(uninterrupted[1], Validation))


def test_the_first_loss_is_that_of_the_untrained_model(
    model: Model, uninterrupted: tuple[TrainResult, list[Event]]
) -> None:
    """Worked out from dense logits of each example alone, without packing."""
    from gemma_keras_tune.data.tokenize import tokenize_examples
    from gemma_keras_tune.training.plan import TrainPlan
    from tests.model.test_forward import forward

    tokens = tokenize_examples(TRAIN, model.template, max_length=64)
    plan = TrainPlan(tokens=tokens, length=64, recipe=RECIPE, pad_id=0)
    nats, count = 0.0, 0
    for index in (index for row in plan.examples_of(1) for index in row):
        ids, supervised = tokens.example(index)
        hidden = forward(model.config, model.weights, ids[None])[0].astype(np.float64)
        scores = hidden @ np.asarray(model.weights["embedding"], np.float64).T
        log_probability = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
        places = np.flatnonzero(supervised[1:])
        nats -= log_probability[places, ids[places + 1]].sum()
        count += len(places)
    first = of_kind(uninterrupted[1], Step)[0]
    assert first.answer_tokens == count
    np.testing.assert_allclose(first.loss, nats / count, rtol=1e-5)


def test_a_bfloat16_base_trains_float32_adapters(
    model: Model, uninterrupted: tuple[TrainResult, list[Event]]
) -> None:
    half = model.replace(weights=jax.tree.map(lambda w: w.astype(jnp.bfloat16), model.weights))
    events: list[Event] = []
    result = train(half, TRAIN, RECIPE, on_event=events.append)
    losses = [step.loss for step in of_kind(events, Step)]
    exact = [step.loss for step in of_kind(uninterrupted[1], Step)]
    np.testing.assert_allclose(losses[0], exact[0], rtol=0.02)
    assert losses[-1] < losses[0] / 2
    assert {leaf.dtype.name for leaf in jax.tree.leaves(result.model.adapters)} == {"float32"}
    assert result.model.dtype == jnp.bfloat16


def test_eight_micro_batches_of_one_row_equal_one_of_eight(model: Model) -> None:
    """Rows with unequal numbers of answer tokens: averaging averages would differ."""
    rng = np.random.default_rng(0)
    shape = (8, 32)
    mask = np.arange(32) >= rng.integers(1, 31, 8)[:, None]
    batch: dict[str, np.ndarray] = {
        "token_ids": rng.integers(4, 400, shape),
        "targets": rng.integers(4, 400, shape),
        "loss_mask": mask.astype(np.float32),
        "positions": np.broadcast_to(np.arange(32), shape),
        "segment_ids": np.ones(shape, np.int32),
    }
    adapters = init_adapters(model.config, LoraRecipe(rank=4))
    found = []
    for micro_batches, rows in ((8, 1), (1, 8)):
        arrays = {
            name: jnp.asarray(array.reshape(micro_batches, rows, 32))
            for name, array in batch.items()
        }
        state, metrics = train_step(
            initial_state(adapters, RECIPE),
            model.weights,
            arrays,
            config=model.config,
            recipe=RECIPE,
            step=1,
        )
        found.append((metrics, state.adapters))
    (one, adapters_1), (other, adapters_8) = found
    assert one.answer_tokens == other.answer_tokens == mask.sum()
    np.testing.assert_allclose([one.loss, one.grad_norm], [other.loss, other.grad_norm], rtol=1e-5)
    for a, b in zip(jax.tree.leaves(adapters_1), jax.tree.leaves(adapters_8), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)  # Adam turns the last bits of 0 into signs


@pytest.mark.parametrize("stop", [1, 3, 4])
def test_a_run_that_was_stopped_and_resumed_has_the_same_bits(
    model: Model, uninterrupted: tuple[TrainResult, list[Event]], tmp_path: Path, stop: int
) -> None:
    events: list[Event] = []
    with pytest.raises(StoppedWithCheckpoint) as caught:
        train(
            model,
            TRAIN,
            RECIPE,
            validation=VALIDATION,
            on_event=events.append,
            store=CheckpointStore(tmp_path, attempt=1),
            should_stop=stop_after(stop, events),
        )
    assert caught.value.step == stop
    store = CheckpointStore(tmp_path, attempt=2)
    resumed = train(
        model, TRAIN, RECIPE, validation=VALIDATION, on_event=events.append, store=store
    )
    expected, straight = uninterrupted
    assert bits(resumed) == bits(expected)
    assert [s.loss for s in of_kind(events, Step)] == [s.loss for s in of_kind(straight, Step)]
    assert [(v.step, v.loss, v.best) for v in of_kind(events, Validation)] == [
        (v.step, v.loss, v.best) for v in of_kind(straight, Validation)
    ]


def test_a_finished_run_gives_its_result_again_without_a_step(
    model: Model, uninterrupted: tuple[TrainResult, list[Event]], tmp_path: Path
) -> None:
    for attempt in (1, 2):
        events: list[Event] = []
        store = CheckpointStore(tmp_path, attempt=attempt)
        again = train(
            model, TRAIN, RECIPE, validation=VALIDATION, on_event=events.append, store=store
        )
        assert bits(again) == bits(uninterrupted[0])
    assert not of_kind(events, Step)


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    model: Model, uninterrupted: tuple[TrainResult, list[Event]], tmp_path: Path
) -> None:
    recipe = RECIPE.model_copy(update={"checkpoint_every_steps": 1, "keep_checkpoints": 3})
    events: list[Event] = []
    with pytest.raises(StoppedWithCheckpoint):
        train(
            model, TRAIN, recipe, validation=VALIDATION, on_event=events.append,
            store=CheckpointStore(tmp_path, attempt=1, keep=3), should_stop=stop_after(3, events),
        )  # fmt: skip
    newest = CheckpointStore(tmp_path).latest()
    assert newest is not None
    victim = max((f for f in newest.path.rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(data)
    after: list[Event] = []
    result = train(
        model, TRAIN, recipe, validation=VALIDATION, on_event=after.append,
        store=CheckpointStore(tmp_path, attempt=2, keep=3),
    )  # fmt: skip
    assert [event.code for event in of_kind(after, Warned)] == ["CKPT_DAMAGED"]
    assert of_kind(after, Step)[0].step == newest.step
    assert bits(result) == bits(uninterrupted[0])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"learning_rate": 5e-3}, "train section"),
        ({"seed": 1}, "train section"),
    ],
)
def test_a_checkpoint_of_other_settings_is_refused(
    model: Model, tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    events: list[Event] = []
    with pytest.raises(StoppedWithCheckpoint):
        train(
            model, TRAIN, RECIPE, on_event=events.append,
            store=CheckpointStore(tmp_path, attempt=1), should_stop=stop_after(1, events),
        )  # fmt: skip
    other = RECIPE.model_copy(update=change)
    with pytest.raises(CheckpointError, match=named) as caught:
        train(model, TRAIN, other, store=CheckpointStore(tmp_path, attempt=2))
    assert caught.value.code == "CKPT_OTHER_RUN"
    with pytest.raises(CheckpointError, match="training data"):
        train(model, spam_rows(31), RECIPE, store=CheckpointStore(tmp_path, attempt=3))


def test_patience_ends_the_run_and_the_best_step_is_returned(model: Model) -> None:
    recipe = RECIPE.model_copy(
        update={"epochs": 30, "learning_rate": 0.3, "evaluate_every_steps": 1, "patience": 3}
    )
    events: list[Event] = []
    result = train(model, TRAIN, recipe, validation=VALIDATION, on_event=events.append)
    found = of_kind(events, Validation)
    losses = [validation.loss for validation in found]
    best = min(range(len(losses)), key=losses.__getitem__)
    assert result.stopped_early
    assert result.best_step == found[best].step
    assert result.validation_loss == losses[best]
    assert len(losses) == best + 1 + 3


def test_checkpoints_come_at_the_best_step_at_the_interval_and_at_the_end(
    model: Model, tmp_path: Path
) -> None:
    recipe = RECIPE.model_copy(update={"checkpoint_every_steps": 2})
    events: list[Event] = []
    store = CheckpointStore(tmp_path, attempt=1)
    result = train(model, TRAIN, recipe, validation=VALIDATION, on_event=events.append, store=store)
    saved = {event.step: event.reason for event in of_kind(events, CheckpointSaved)}
    best = {event.step for event in of_kind(events, Validation) if event.best}
    assert {step for step, reason in saved.items() if reason == "best"} == best
    assert {step for step, reason in saved.items() if reason == "steps"} == {
        step for step in range(2, result.steps + 1, 2) if step not in best
    }
    assert max(saved) == result.steps


def test_a_loss_that_is_no_number_names_the_rows_and_keeps_what_was_good(
    model: Model, tmp_path: Path
) -> None:
    embedding = np.array(model.weights["embedding"])
    spoiled = dataclasses.replace(
        model, weights={**model.weights, "embedding": jnp.asarray(embedding * np.nan)}
    )
    with pytest.raises(TuneError, match=r"rows \d+") as caught:
        train(spoiled, TRAIN, RECIPE, store=CheckpointStore(tmp_path, attempt=1))
    assert caught.value.code == "LOSS_NAN"
    assert "learning_rate" in str(caught.value)


def test_without_a_store_a_stop_says_that_nothing_is_kept(model: Model) -> None:
    with pytest.raises(TuneError, match="nothing is kept"):
        train(model, TRAIN, RECIPE, should_stop=lambda: True)


def test_training_goes_on_from_the_adapters_of_a_trained_model(
    model: Model, uninterrupted: tuple[TrainResult, list[Event]]
) -> None:
    events: list[Event] = []
    train(uninterrupted[0].model, TRAIN, RECIPE, on_event=events.append)
    assert of_kind(events, Step)[0].loss < of_kind(uninterrupted[1], Step)[0].loss / 2

"""Memory that runs out: told once, clearly, with the newest checkpoint kept to go on from."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import gemma_keras_tune as gkt
from gemma_keras_tune.errors import CheckpointError, OutOfMemory, StoppedWithCheckpoint, TuneError
from gemma_keras_tune.evaluation.watching import make_answer
from gemma_keras_tune.events import Event, Step
from gemma_keras_tune.model.value import Model
from gemma_keras_tune.out_of_memory import told_of_memory
from gemma_keras_tune.recipe import ModelRecipe, TrainRecipe
from gemma_keras_tune.text.tokenizer import Tokenizer
from gemma_keras_tune.text.turns import Turn
from gemma_keras_tune.training import loop
from gemma_keras_tune.training.checkpoints import CheckpointStore
from gemma_keras_tune.training.train import train
from tests.support.tiny_runs import spam_rows, tiny_model

RECIPE = TrainRecipe(epochs=2, batch_tokens=256, micro_batch_tokens=128, learning_rate=1e-2)
ROWS = spam_rows(30)
LIMITED = """
import resource
import jax, jax.numpy as jnp
from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.out_of_memory import told_of_memory

jnp.zeros(8).block_until_ready()
resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33))
try:
    with told_of_memory("training"):
        jax.jit(lambda: jnp.full((1 << 32,), 1.5, jnp.float32))().block_until_ready()
except TuneError as error:
    print(error.code, error)
"""


@pytest.fixture(scope="module")
def model(tiny_tokenizer: Tokenizer) -> Model:
    return tiny_model(tiny_tokenizer)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to RLIMIT_AS")
def test_what_jax_really_says_is_understood() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.startswith("OUT_OF_MEMORY Memory ran out in a training step"), done.stderr


def test_other_errors_stay_what_they_are() -> None:
    with pytest.raises(jax.errors.JaxRuntimeError), told_of_memory("training"):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")
    with pytest.raises(OSError, match="gone"), told_of_memory("training"):
        raise OSError(errno.ENOENT, "gone")
    for error in (MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory")):
        with pytest.raises(OutOfMemory, match="MemoryError|Cannot allocate"):
            with told_of_memory("training"):
                raise error


def ran_out(*_: object, **__: object) -> object:
    raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")


@pytest.mark.parametrize(
    ("stage", "inner"),
    [
        ("model", "gemma_keras_tune.model.load._open"),
        ("generation", "gemma_keras_tune.evaluation.token_loop.prefill_by_layers"),
        ("samples", "gemma_keras_tune.evaluation.token_loop.prefill_by_layers"),
        ("evaluation", "gemma_keras_tune.evaluation.report.score_pieces"),
        ("export", "gemma_keras_tune.exporters.artifact.need_consumer"),
    ],
)
def test_every_stage_says_that_it_was_the_one(
    model: Model, stage: str, inner: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer = make_answer(model, lambda text: [Turn("user", text)], prompts=["a"], max_tokens=2)
    stages = {
        "model": lambda: gkt.load_model(ModelRecipe()),
        "generation": lambda: gkt.generate(model, ["a"], max_tokens=2),
        "samples": lambda: answer(model, ["a"], lambda: False),
        "evaluation": lambda: gkt.evaluate(model, ROWS[:2]),
        "export": lambda: gkt.export(model, "hf", tmp_path),
    }
    monkeypatch.setattr(inner, ran_out)
    with pytest.raises(OutOfMemory, match="Out of memory allocating 9 bytes") as ended:
        stages[stage]()
    assert (ended.value.stage, ended.value.code) == (stage, "OUT_OF_MEMORY")


def losses(events: list[Event]) -> list[float]:
    return [event.loss for event in events if isinstance(event, Step)]


@pytest.mark.parametrize(
    "changes",
    [
        {"micro_batch_tokens": 64},
        pytest.param({"micro_batch_tokens": 256, "remat": "full"}, marks=pytest.mark.slow),
        pytest.param({"loss_chunk": 8}, marks=pytest.mark.slow),
    ],
)
def test_a_run_that_ran_out_goes_on_with_less_at_once(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    straight: list[Event] = []
    train(model, ROWS, RECIPE, on_event=straight.append)
    step, events = loop.train_step, list[Event]()

    def run_out(*given: object, **named: object) -> object:
        if len(losses(events)) == 3:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")
        return step(*given, **named)  # type: ignore[arg-type]  # passed on as they came

    recipe = RECIPE.model_copy(update={"checkpoint_every_steps": 2})
    with monkeypatch.context() as patched, pytest.raises(TuneError) as ended:
        patched.setattr(loop, "train_step", run_out)
        store = CheckpointStore(tmp_path, attempt=1)
        train(model, ROWS, recipe, on_event=events.append, store=store)
    assert ended.value.code == "OUT_OF_MEMORY"
    assert "Out of memory allocating 9 bytes" in str(ended.value)
    assert CheckpointStore(tmp_path).steps == (2,)
    smaller = recipe.model_copy(update=changes)
    store = CheckpointStore(tmp_path, attempt=2)
    train(model, ROWS, smaller, on_event=events.append, store=store)
    np.testing.assert_allclose(losses(events)[3:], losses(straight)[2:], rtol=1e-5)


def test_a_run_does_not_go_on_with_another_number_of_rows_in_a_step(
    model: Model, tmp_path: Path
) -> None:
    with pytest.raises(StoppedWithCheckpoint):
        store = CheckpointStore(tmp_path, attempt=1)
        train(model, ROWS, RECIPE, store=store, should_stop=lambda: True)
    other = RECIPE.model_copy(update={"micro_batch_tokens": 192})  # three rows instead of four
    with pytest.raises(CheckpointError, match="another train section"):
        train(model, ROWS, other, store=CheckpointStore(tmp_path, attempt=2))

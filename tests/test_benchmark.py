"""The measured speed against the run's own events, numbers counted by hand, and the command."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from gemma_keras_tune.benchmark import MOST_STEPS, measure_training
from gemma_keras_tune.cli import app
from gemma_keras_tune.data.tokenize import tokenize_examples
from gemma_keras_tune.events import Step
from gemma_keras_tune.planning.speed import needed_operations
from gemma_keras_tune.recipe import LoraRecipe, TrainRecipe
from gemma_keras_tune.run_folder import HOME_VARIABLE
from tests.support.command_line import save_tiny_model, write_recipe, write_rows
from tests.support.tiny_models import tiny_gemma3
from tests.support.tiny_runs import spam_rows, tiny_model

RECIPE = TrainRecipe(batch_tokens=128, micro_batch_tokens=64)


def test_operations_are_those_counted_product_by_product() -> None:
    config = tiny_gemma3(
        width=6, heads=2, kv_heads=1, head_dim=4, hidden_dim=10, layers=2, vocab_size=50,
        layer_is_local=(True, False), sliding_window=3,
    )  # fmt: skip
    lora = LoraRecipe(rank=2, targets=("q_proj", "down_proj"))
    matrices = 6 * 8 + 2 * 6 * 4 + 8 * 6 + 3 * 6 * 10  # q, k and v, o, gate and up and down
    adapters = 2 * (6 + 8) + 2 * (10 + 6)
    expected = 0
    for length in (5, 2):
        for position in range(length):
            expected += 2 * (4 * matrices + 6 * adapters)  # both layers
            for seen in (min(position + 1, 3), position + 1):  # the local one, and the other
                forward = 2 * 8 * seen + 2 * 8 * seen  # scores, and the sum of values
                expected += 3 * forward
    expected += 3 * 4 * 50 * 6  # three answers' logits
    assert needed_operations(config, lora, lengths=[5, 2], answers=3) == expected


def test_rates_are_those_of_the_steps_after_the_first(tiny_tokenizer: Any) -> None:
    model, rows = tiny_model(tiny_tokenizer), spam_rows(6)
    events: list[Any] = []
    speed, result = measure_training(model, rows, RECIPE, steps=9, on_event=events.append)
    steps = [event for event in events if isinstance(event, Step)]
    assert [step.step for step in steps] == list(range(1, 11))  # the rows are seen several times
    first, rest = steps[0], steps[1:]
    assert result.steps == 10 and speed.steps == 9
    assert speed.first_step_s == first.seconds > max(step.seconds for step in rest)
    assert speed.seconds == pytest.approx(sum(step.seconds for step in rest))
    assert speed.tokens == sum(step.tokens for step in rest)
    tokens = tokenize_examples(rows, model.template, max_length=rows.max_length)
    whole_epochs = speed.tokens // int(tokens.lengths.sum())
    assert whole_epochs >= 2
    assert speed.answer_tokens == sum(step.answer_tokens for step in rest)
    assert speed.useful_tokens_per_s == pytest.approx(speed.answer_tokens / speed.seconds)
    assert speed.tokens_per_s == pytest.approx(speed.tokens / speed.seconds)
    assert speed.filled_share == pytest.approx(speed.tokens / (9 * 128))
    weighted = sum(step.loss * step.answer_tokens for step in rest) / speed.answer_tokens
    assert speed.loss == pytest.approx(weighted)
    assert 0 < speed.peak_flops_share < 1 and speed.matrix_gflops > 0
    assert speed.peak_device_bytes is None and speed.device.startswith("cpu")
    assert speed.peak_rss_bytes > 50e6 and speed.dtype == "float32"


@pytest.mark.parametrize("steps", [0, MOST_STEPS + 1])
def test_a_number_of_steps_that_can_not_be_measured_is_refused(
    steps: int, tiny_tokenizer: Any
) -> None:
    with pytest.raises(ValueError, match=f"from 1 to {MOST_STEPS}, not {steps}"):
        measure_training(tiny_model(tiny_tokenizer), spam_rows(4), RECIPE, steps=steps)


@pytest.fixture
def recipe(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    preset = save_tiny_model(tmp_path / "model")
    write_rows(tmp_path / "rows.csv")
    return write_recipe(tmp_path / "tiny.toml", data="rows.csv", preset=str(preset))


def test_the_command_ends_with_one_object_and_keeps_nothing(recipe: Any, tmp_path: Any) -> None:
    result = CliRunner().invoke(app, ["bench", str(recipe), "--steps", "2", "--json"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    asked = ("useful_tokens_per_s", "tokens_per_s", "peak_rss_bytes", "first_step_s", "loss")
    assert all(found[name] > 0 for name in (*asked, "peak_flops_share"))
    assert found["steps"] == 2 and found["peak_device_bytes"] is None
    assert not (tmp_path / "home" / "runs").exists()
    shown = CliRunner().invoke(app, ["bench", str(recipe), "--steps", "1"])
    assert shown.exit_code == 0
    for words in ("The speed of tiny", "Answer tokens", "1 step in", "Share of peak"):
        assert words in shown.stdout


def test_what_can_not_fit_is_not_measured(recipe: Any) -> None:
    huge = ["--set", "train.micro_batch_tokens=400000000", "--set", "train.batch_tokens=400000000"]
    result = CliRunner().invoke(app, ["bench", str(recipe), *huge])
    assert result.exit_code == 2
    assert "PLAN_DOES_NOT_FIT" in result.stderr and "train.micro_batch_tokens" in result.stderr

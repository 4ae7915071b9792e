"""Steps are those that training makes, or an estimate that says so."""

import pytest

from gemma_keras_tune.planning import steps as planning_steps
from gemma_keras_tune.planning.steps import count_steps
from gemma_keras_tune.recipe_files import load_recipe
from gemma_keras_tune.run_folder import HOME_VARIABLE
from gemma_keras_tune.text.template import template_for
from tests.support.command_line import write_recipe, write_rows


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    write_rows(tmp_path / "rows.csv", count=300)
    path = write_recipe(tmp_path / "tiny.toml", data="rows.csv", preset="demo", epochs=3)
    return load_recipe(path)


@pytest.mark.parametrize("max_steps", [None, 7])
def test_the_count_is_that_of_the_training_plan(recipe, tiny_tokenizer, max_steps):
    from gemma_keras_tune.data.examples import load_examples
    from gemma_keras_tune.data.tokenize import tokenize_examples
    from gemma_keras_tune.training.plan import TrainPlan

    train = recipe.train.model_copy(update={"max_steps": max_steps, "micro_batch_tokens": 128})
    recipe = recipe.model_copy(update={"train": train})
    template = template_for("plain", tiny_tokenizer)
    rows = load_examples(recipe.data).train
    tokens = tokenize_examples(rows, template, max_length=64)
    real = TrainPlan(tokens=tokens, length=64, recipe=train, pad_id=0)
    found = count_steps(recipe, template, rows_of_step=real.rows * real.micro_batches)
    assert found.total == real.total_steps
    assert (found.rows, found.tokens) == (len(rows), tokens.lengths.sum())
    assert found.answer_share == pytest.approx(tokens.supervised_tokens / tokens.lengths.sum())
    assert found.counted == "all"


def test_a_large_file_is_sampled_and_the_estimate_is_near(recipe, tiny_tokenizer, monkeypatch):
    template = template_for("plain", tiny_tokenizer)
    counted = count_steps(recipe, template, rows_of_step=4)
    monkeypatch.setattr(planning_steps, "COUNTED_BYTES", 100)
    monkeypatch.setattr(planning_steps, "_SAMPLED_ROWS", 100)
    sampled = count_steps(recipe, template, rows_of_step=4)
    assert sampled.counted == "sample"
    assert sampled.total == pytest.approx(counted.total, rel=0.1)
    assert sampled.rows == pytest.approx(counted.rows, rel=0.05)
    assert sampled.tokens == pytest.approx(counted.tokens, rel=0.1)

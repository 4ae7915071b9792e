"""Steps are those that training makes, or an estimate that says so."""

from pathlib import Path

import pytest

from gemma_keras_tune.data.examples import load_examples
from gemma_keras_tune.errors import DataError
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
    from gemma_keras_tune.data.tokenize import tokenize_examples
    from gemma_keras_tune.training.plan import TrainPlan

    train = recipe.train.model_copy(update={"max_steps": max_steps, "micro_batch_tokens": 128})
    recipe = recipe.model_copy(update={"train": train})
    template = template_for("plain", tiny_tokenizer)
    rows = load_examples(recipe.data).train
    tokens = tokenize_examples(rows, template, max_length=64)
    real = TrainPlan(tokens=tokens, length=64, recipe=train, pad_id=0)
    found = count_steps(recipe, template, rows_of_step=real.rows * real.micro_batches).steps
    assert found.total == real.total_steps
    assert (found.rows, found.tokens) == (len(rows), tokens.lengths.sum())
    assert found.answer_share == pytest.approx(tokens.supervised_tokens / tokens.lengths.sum())
    assert found.counted == "all"


def test_a_large_file_is_sampled_and_the_estimate_is_near(recipe, tiny_tokenizer, monkeypatch):
    template = template_for("plain", tiny_tokenizer)
    counted = count_steps(recipe, template, rows_of_step=4).steps
    monkeypatch.setattr(planning_steps, "COUNTED_BYTES", 100)
    monkeypatch.setattr(planning_steps, "_SAMPLED_ROWS", 100)
    sampled = count_steps(recipe, template, rows_of_step=4).steps
    assert sampled.counted == "sample"
    assert sampled.total == pytest.approx(counted.total, rel=0.1)
    assert sampled.rows == pytest.approx(counted.rows, rel=0.05)
    assert sampled.tokens == pytest.approx(counted.tokens, rel=0.1)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_row_that_a_run_would_refuse_is_refused_wherever_the_split_has_put_it(
    recipe, tiny_tokenizer, part
):
    template, path = template_for("plain", tiny_tokenizer), Path(recipe.data.path)
    usual = path.read_text()
    for number in range(100):  # until one falls into the part
        path.write_text(f"{usual}{number} {'n' * 100},ham\n")
        if any(row.row == 302 for row in getattr(load_examples(recipe.data), part)):
            break
    with pytest.raises(DataError, match="1 of 301 rows is longer than 64 tokens") as caught:
        count_steps(recipe, template, rows_of_step=4)
    assert caught.value.code == "TOO_LONG"
    data = recipe.data.model_copy(update={"too_long": "drop"})
    dropped = count_steps(recipe.model_copy(update={"data": data}), template, rows_of_step=4).steps
    assert dropped.rows + dropped.validation_rows + dropped.test_rows == 300


def test_all_that_a_run_would_refuse_is_said_at_once(recipe, tiny_tokenizer):
    path = Path(recipe.data.path)
    path.write_text(f"{path.read_text()},ham\n{'n' * 100},ham\n")
    with pytest.raises(DataError, match="The data has 2 problems") as caught:
        count_steps(recipe, template_for("plain", tiny_tokenizer), rows_of_step=4)
    assert {item.code for item in caught.value.findings} == {"EMPTY_TEXT", "TOO_LONG"}


def test_rows_with_one_label_are_refused_where_the_report_would_have_to_tell_labels_apart(
    recipe, tiny_tokenizer
):
    path = Path(recipe.data.path)
    path.write_text(path.read_text().replace("spam", "ham"))
    template = template_for("plain", tiny_tokenizer)
    with pytest.raises(DataError, match="at least two labels") as caught:
        count_steps(recipe, template, rows_of_step=4)
    assert caught.value.code == "LABELS_ALIKE"
    data = recipe.data.model_copy(update={"test_share": 0.0})
    alone = recipe.model_copy(update={"data": data})
    assert count_steps(alone, template, rows_of_step=4).steps.test_rows == 0


def test_labels_that_look_alike_are_told_with_the_steps(recipe, tiny_tokenizer, monkeypatch):
    path = Path(recipe.data.path)
    path.write_text(path.read_text().replace("ham", "honest") + "one more,honst\n")
    template = template_for("plain", tiny_tokenizer)
    found = count_steps(recipe, template, rows_of_step=4).findings
    assert [item.code for item in found] == ["SIMILAR_LABELS"]
    monkeypatch.setattr(planning_steps, "COUNTED_BYTES", 100)
    assert count_steps(recipe, template, rows_of_step=4).findings == found


def test_one_part_may_have_no_row_that_fits_where_others_have(recipe, tiny_tokenizer):
    data = recipe.data.model_copy(update={"too_long": "drop"})
    recipe = recipe.model_copy(update={"data": data})
    path = Path(recipe.data.path).parent / "long.csv"
    path.write_text(f"text,label\n{'n' * 100},ham\n")
    data = data.model_copy(update={"test_path": str(path)})
    with pytest.raises(DataError, match="The only row is longer"):
        count_steps(
            recipe.model_copy(update={"data": data}),
            template_for("plain", tiny_tokenizer),
            rows_of_step=4,
        )

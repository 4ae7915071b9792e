"""Mistakes in a program that are easily made are told in a line, by the argument's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gemma_keras_tune as gkt
from gemma_keras_tune.recipe import Recipe, TrainRecipe
from gemma_keras_tune.text.tokenizer import Tokenizer
from tests.support.command_line import write_rows
from tests.support.tiny_runs import spam_rows, tiny_model


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    values = {"path": str(write_rows(tmp_path / "rows.csv", count=20)), "task": "classification"}
    return Recipe.model_validate({"name": "r", "data": values})


def test_a_whole_recipe_in_place_of_a_part_is_told(recipe: Any, tiny_tokenizer: Tokenizer) -> None:
    model, rows = tiny_model(tiny_tokenizer), spam_rows(4)
    with pytest.raises(
        TypeError, match=r"must be of type DataRecipe, such as recipe\.data, not Recipe"
    ):
        gkt.load_examples(recipe)
    with pytest.raises(TypeError, match=r"must be of type ModelRecipe, such as recipe\.model"):
        gkt.load_model(recipe)
    with pytest.raises(TypeError, match=r"must be of type TrainRecipe, such as recipe\.train"):
        gkt.train(model, rows, recipe)
    with pytest.raises(
        TypeError, match=r"must be of type EvaluateRecipe, such as recipe\.evaluate"
    ):
        gkt.evaluate(model, rows, recipe)


def test_all_examples_in_place_of_a_split_are_told(
    recipe: Recipe, tiny_tokenizer: Tokenizer
) -> None:
    model = tiny_model(tiny_tokenizer)
    examples: Any = gkt.load_examples(recipe.data)
    with pytest.raises(TypeError, match=r"examples must be of type Split, such as load_examples"):
        gkt.train(model, examples, TrainRecipe())
    with pytest.raises(TypeError, match=r"validation must be of type Split"):
        gkt.train(model, examples.train, TrainRecipe(), validation=examples)
    with pytest.raises(TypeError, match=r"examples must be of type Split"):
        gkt.evaluate(model, examples)
    with pytest.raises(TypeError, match=r"model must be of type Model, such as train"):
        gkt.evaluate(examples, examples.test)

"""A prompt is asked as it was trained, and found again in what a report shows."""

from __future__ import annotations

import pytest

from gemma_keras_tune.evaluation.held_back import _spoken
from gemma_keras_tune.recipe import DataRecipe
from gemma_keras_tune.text.as_trained import asked_rows, bare_prompt, turns_as_trained
from gemma_keras_tune.text.turns import Turn

FORMAT = "\nIs this spam?\n{prompt}\nAnswer: "


@pytest.mark.parametrize("task", ["classification", "instruction", "chat"])
@pytest.mark.parametrize("system", ["", " Be kind. "])
@pytest.mark.parametrize("prompt_format", ["{prompt}", FORMAT])
@pytest.mark.parametrize("prompt", ["Win a prize", "Who said {prompt}?\nAnswer:"])
def test_what_is_asked_is_found_again_in_the_report(task, system, prompt_format, prompt):
    recipe = DataRecipe(path="x", task=task, system=system, prompt_format=prompt_format)
    question = _spoken(turns_as_trained(recipe, prompt))
    assert bare_prompt(recipe, question) == prompt


@pytest.mark.parametrize(
    ("settings", "question"),
    [
        ({"task": "text"}, ""),
        ({"task": "chat"}, "user: Hi\nmodel: Hello\nuser: And you?"),
        ({"task": "chat", "system": "S"}, "system: S\nuser: Hi\nmodel: Hello\nuser: And you?"),
        ({"task": "instruction"}, "system: of its own\nuser: Hi"),
        ({"task": "instruction", "system": "S"}, "system: of its own\nuser: Hi"),
        ({"task": "instruction", "prompt_format": "Q: {prompt} A:"}, "Q: what an old format asked"),
        ({"task": "instruction", "prompt_format": "ab{prompt}ba"}, "aba"),
    ],
)
def test_what_no_single_prompt_asks_is_none(settings, question):
    assert bare_prompt(DataRecipe(path="x", **settings), question) is None


def test_a_run_on_plain_texts_goes_on_with_the_beginning_of_one():
    recipe = DataRecipe(path="x", task="text", system="S", prompt_format="Q: {prompt}")
    assert turns_as_trained(recipe, "Once upon ") == [Turn("text", "Once upon ")]
    assert bare_prompt(recipe, "Once upon ") == "Once upon "


def test_rows_of_a_report_are_asked_where_a_single_prompt_asks_them():
    recipe = DataRecipe(path="x", task="instruction", prompt_format="Q: {prompt}")
    samples = [
        {"prompt": "Q: a", "expected": "1"},
        {"prompt": "old", "expected": "2"},
        {"prompt": "Q:", "expected": "3"},
        {"prompt": "Q: b", "expected": "4"},
    ]
    assert asked_rows(recipe, {"samples": samples}) == [("a", "1"), ("b", "4")]
    assert asked_rows(recipe, None) == asked_rows(recipe, {"samples": None}) == []

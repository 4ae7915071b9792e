from __future__ import annotations

import pytest

from gemma_keras_tune.data.examples import load_examples
from gemma_keras_tune.data.guess import guess_recipe
from gemma_keras_tune.errors import DataError


@pytest.mark.parametrize(
    ("header", "task", "columns"),
    [
        ("text,label", "classification", {"text": "text", "label": "label"}),
        ("id,Message,Category", "classification", {"text": "Message", "label": "Category"}),
        ("instruction,output", "instruction", {"prompt": "instruction", "response": "output"}),
        ("messages", "chat", {"messages": "messages"}),
        ("text,date", "text", {"text": "text"}),
    ],
)
def test_the_task_is_guessed_from_the_usual_names_of_columns(header, task, columns, tmp_path):
    path = tmp_path / "d.csv"
    path.write_text(f"{header}\n{','.join('x' for _ in header.split(','))}\n")
    recipe = guess_recipe(path, max_length=64)
    assert (recipe.task, recipe.columns, recipe.max_length) == (task, columns, 64)


def test_a_named_task_is_kept(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("text,label\na,b\nc,d\n")
    assert guess_recipe(path, task="text").task == "text"
    recipe = guess_recipe(path, task="text", columns={"text": "label"}, test_share=0.0)
    assert load_examples(recipe).train[0].turns[0].text == "b"


def test_columns_that_fit_no_task_are_refused_with_what_each_needs(tmp_path):
    path = tmp_path / "d.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(
        DataError, match=r"'a', 'b' fit no task \(chat: messages; instruction: prompt"
    ):
        guess_recipe(path)
    with pytest.raises(DataError, match=r"fit no task \(text: text\)"):
        guess_recipe(path, task="text")

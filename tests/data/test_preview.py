from __future__ import annotations

import pytest

from gemma_keras_tune.data.examples import Example
from gemma_keras_tune.data.preview import preview_data, preview_rows
from gemma_keras_tune.data.tokenize import tokenize_examples
from gemma_keras_tune.errors import DataError
from gemma_keras_tune.recipe import DataRecipe
from gemma_keras_tune.text.template import template_for
from gemma_keras_tune.text.turns import Turn


@pytest.fixture
def plain(tiny_tokenizer):
    return template_for("plain", tiny_tokenizer)


def test_the_first_rows_of_a_file_token_by_token(tmp_path, plain):
    path = tmp_path / "d.csv"
    path.write_text("text,label\nno a,it\nx,it\nthe,third,row,is,bad\n")
    recipe = DataRecipe(path=str(path), task="classification")
    first, second = preview_data(recipe, plain, rows=2)
    assert [(token.text, token.kind) for token in first.tokens] == [
        ("<bos>", "context"),
        ("n", "context"),
        ("o", "context"),
        (" a", "context"),
        ("\n", "context"),
        ("it", "supervised"),
        ("<eos>", "supervised"),
    ]
    assert (first.file, first.row, first.length, first.cut, first.used) == (
        str(path),
        2,
        7,
        0,
        True,
    )
    assert second.row == 3
    with pytest.raises(DataError, match="CSV_RAGGED_ROW"):
        preview_data(recipe, plain, rows=3)


def example(prompt):
    return Example((Turn("user", prompt), Turn("model", "it")), None, 1, "f")


def test_cut_tokens_are_shown_as_truncated_and_the_rest_is_what_is_trained(plain):
    (row,) = preview_rows([example("nnnnnn")], plain, max_length=7, too_long="truncate")
    kinds = [token.kind for token in row.tokens]
    assert kinds == ["context"] + ["truncated"] * 3 + ["context"] * 4 + ["supervised"] * 2
    assert (row.length, row.cut, row.used) == (10, 3, True)
    trained = tokenize_examples([example("nnnnnn")], plain, max_length=7, too_long="truncate")
    assert [t.id for t in row.tokens if t.kind != "truncated"] == trained.ids.tolist()


@pytest.mark.parametrize("too_long", ["error", "drop"])
def test_a_row_that_training_would_not_use_says_so(plain, too_long):
    (row,) = preview_rows([example("nnnnnn")], plain, max_length=7, too_long=too_long)
    assert (row.used, row.cut, row.length) == (False, 0, 10)


def test_markers_are_told_from_text_that_spells_them(plain):
    (row,) = preview_rows([example("<eos>")], plain, max_length=60)
    special = [(token.text, place) for place, token in enumerate(row.tokens) if token.special]
    assert special == [("<bos>", 0), ("<eos>", len(row.tokens) - 1)]


def test_rows_can_be_asked_for_by_their_lines(tmp_path, plain):
    path = tmp_path / "d.csv"
    path.write_text("text,label\na,it\n,it\nno,it\nthe,last,row,is,bad\n")
    recipe = DataRecipe(path=str(path), task="classification", bad_rows="skip")
    found = preview_data(recipe, plain, lines=[4, 3, 2])
    assert [row.row for row in found] == [2, 4]
    assert [row.row for row in preview_data(recipe, plain, lines=[4])] == [4]

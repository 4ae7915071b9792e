"""Rows as training packs them."""

from __future__ import annotations

import pytest

from gemma_keras_tune.data.examples import Example, Split
from gemma_keras_tune.data.packed import packed_rows
from gemma_keras_tune.data.tokenize import tokenize_examples
from gemma_keras_tune.errors import DataError
from gemma_keras_tune.text.template import template_for
from gemma_keras_tune.text.turns import Turn


@pytest.fixture
def plain(tiny_tokenizer):
    return template_for("plain", tiny_tokenizer)


def split(*prompts, max_length):
    """Rows that have four tokens more than their prompts have letters n."""
    examples = [
        Example((Turn("user", prompt), Turn("model", "it")), None, line, "f.csv")
        for line, prompt in enumerate(prompts, start=2)
    ]
    return Split(examples=tuple(examples), task="instruction", max_length=max_length)


def test_short_rows_share_a_long_one_and_what_is_left_is_padding(plain):
    rows = split("n", "nn", "nnnnn", max_length=12)  # 5, 6 and 9 tokens
    found = packed_rows(rows, plain)
    assert (found.total, found.examples, found.row_length) == (2, 3, 12)
    shown = {frozenset(segment.row for segment in row.segments): row.padding for row in found.rows}
    assert shown == {frozenset({2, 3}): 1, frozenset({4}): 3}
    assert found.waste == round(4 / 24, 6)
    assert [
        segment.length for row in found.rows for segment in row.segments if segment.row == 4
    ] == [9]


def test_a_page_of_packed_rows_has_the_tokens_that_are_trained(plain):
    rows = split("n", "nn", "nnnnn", max_length=12)
    (second,) = packed_rows(rows, plain, rows=1, offset=1).rows
    tokens = tokenize_examples(rows, plain, max_length=12)
    for segment in second.segments:
        ids, _ = tokens.example(segment.row - 2)
        assert [token.id for token in segment.tokens] == ids.tolist()


def test_what_training_refuses_is_refused_here(plain):
    with pytest.raises(DataError, match="TOO_LONG"):
        packed_rows(split("n", "nnnnn", max_length=8), plain)

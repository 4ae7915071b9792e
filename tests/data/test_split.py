from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_keras_tune.data.split import input_key, split_rows
from gemma_keras_tune.text.turns import Turn


@dataclass(frozen=True)
class Row:
    turns: tuple[Turn, ...]
    label: str | None = None


def row(text, label=None, answer="x"):
    return Row((Turn("user", text), Turn("model", label or answer)), label)


def split(rows, *, validation=0.1, test=0.2, seed=0):
    parts = split_rows(rows, validation_share=validation, test_share=test, seed=seed)
    return tuple(tuple(rows[place] for place in part) for part in parts)


@given(
    texts=st.lists(st.text(alphabet="abc ", max_size=4), max_size=60),
    labels=st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")]),
    shares=st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)),
    seed=st.integers(0, 5),
)
def test_every_row_is_on_one_side_and_same_inputs_stay_together(texts, labels, shares, seed):
    rows = [row(text, labels[index % len(labels)]) for index, text in enumerate(texts)]
    parts = split(rows, validation=shares[0], test=shares[1], seed=seed)
    assert Counter(r for part in parts for r in part) == Counter(rows)
    keys = [{input_key(r.turns) for r in part} for part in parts]
    assert not keys[0] & keys[1] and not keys[0] & keys[2] and not keys[1] & keys[2]
    assert split(rows, validation=shares[0], test=shares[1], seed=seed) == parts


def test_the_shares_are_kept_to_the_row():
    train, validation, test = split([row(f"t{i}") for i in range(100)])
    assert (len(train), len(validation), len(test)) == (70, 10, 20)


def test_every_label_is_held_back_in_proportion_and_keeps_training_rows():
    rows = [row(f"t{i}", "common") for i in range(900)] + [row(f"u{i}", "rare") for i in range(100)]
    rows.append(row("alone", "single"))
    train, validation, test = (Counter(r.label for r in part) for part in split(rows))
    assert test == {"common": 180, "rare": 20}
    assert validation == {"common": 90, "rare": 10}
    assert train["single"] == 1


def test_a_label_of_two_rows_keeps_one_to_learn_from():
    rows = [row("t1", "a"), row("t2", "a"), row("t3", "b"), row("t4", "b")]
    train, _, _ = split(rows, validation=0.5, test=0.5)
    assert sorted(r.label for r in train) == ["a", "b"]


def test_another_seed_is_another_split_and_the_order_of_rows_is_none():
    rows = [row(f"t{i}") for i in range(100)]
    assert split(rows, seed=1)[2] != split(rows, seed=0)[2]
    assert set(split(rows[::-1])[2]) == set(split(rows)[2])


# By hand: SHA-256 of "0:" and the hex SHA-256 of "user\\x1ft<i>", sorted; 4 for the test, 2 more.
EXPECTED_TEST = ["t5", "t9", "t11", "t17"]
EXPECTED_VALIDATION = ["t3", "t14"]


def test_the_split_is_the_same_on_every_machine():
    _, validation, test = split([row(f"t{i}") for i in range(20)])
    assert [r.turns[0].text for r in test] == EXPECTED_TEST
    assert [r.turns[0].text for r in validation] == EXPECTED_VALIDATION


def test_a_new_row_moves_few_of_the_old_ones():
    rows = [row(f"t{i}") for i in range(200)]
    before, after = set(split(rows)[2]), set(split([*rows, row("new")])[2])
    assert len(before & after) >= len(before) - 1


def test_a_label_for_each_row_is_split_as_quickly_as_one_for_all():
    rows = [row(f"t{i}", f"label {i}") for i in range(30_000)]
    began = time.process_time()
    train, validation, test = split(rows)
    assert time.process_time() - began < 8  # a look at all rows for each label would take minutes
    assert (len(train), len(validation), len(test)) == (30_000, 0, 0)


@pytest.mark.parametrize("count", [4, 5, 7])
def test_a_small_data_set_still_holds_back_a_row(count):
    parts = split([row(f"t{i}") for i in range(count)], validation=0.1, test=0.1)
    assert [len(part) for part in parts] == [count - 2, 1, 1]


def test_inputs_are_alike_but_for_case_and_white_space():
    def key(text, answer="x"):
        return input_key(row(text, answer=answer).turns)

    assert key("Hello  World\n") == key("hello world", answer="y")
    assert key("hello world") != key("helloworld")
    assert input_key((Turn("text", "a"),)) != input_key((Turn("text", "b"),))

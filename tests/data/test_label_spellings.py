from __future__ import annotations

import json
from collections import Counter

import pytest

from gemma_keras_tune.data.check import check_data
from gemma_keras_tune.data.examples import load_examples
from gemma_keras_tune.data.label_spellings import COMPARED, is_near, look_alike, same_spelling
from gemma_keras_tune.errors import DataError, RecipeError
from gemma_keras_tune.recipe import DataRecipe
from gemma_keras_tune.recipe_files import parse_recipe

LABELS = ["complaint"] * 21 + ["booking"] * 23 + ["complain", "Complaint "]


@pytest.fixture
def recipe_of(tmp_path):
    def write(written, **settings):
        rows = [{"text": f"text {n}", "label": label} for n, label in enumerate(written)]
        path = tmp_path / "d.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return DataRecipe(path=str(path), task="classification", **settings)

    return write


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("complain", "complaint"), ("refund", "refunds"), ("Complant", "complaint"),
        ("compliant", "complaint"), ("billing isue", "billing issue"),
        ("billing-issue", "billing_issue"),
    ],
)  # fmt: skip
def test_a_letter_or_two_apart_is_near(one, other):
    assert is_near(one, other) and is_near(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("positive", "negative"), ("active", "inactive"), ("internal", "external"),
        ("increase", "decrease"), ("1", "2"), ("grade 1", "grade 2"), ("topic10", "topic11"),
        ("level one", "level two"), ("class a", "class b"), ("cat", "car"), ("spam", "ham"),
        ("major", "minor"), ("billing", "billing issue"), ("C", "C++"),
    ],
)  # fmt: skip
def test_labels_of_their_own_are_not_near(one, other):
    assert not is_near(one, other) and not is_near(other, one)


def test_only_a_rare_label_looks_like_a_frequent_one():
    assert look_alike({"refunds": 4, "refund": 20}) == {"refunds": "refund"}
    assert look_alike({"refunds": 4, "refund": 19}) == {}
    several = {f"label{'x' * n}": 1 + 9 * (n == 0) for n in range(3)}
    assert look_alike(several) == {"labelx": "label"}
    many = {f"{n} and more": 1 for n in range(COMPARED)} | {"refunds": 1, "refund": 20}
    assert look_alike(many) == {}, "so many are no spellings, and would take long"


def test_other_spellings_count_as_one_label_and_the_one_with_most_rows_is_the_usual():
    counts = {"Refund": 3, "refund": 2, "RE FUND": 3, "refunds": 1}
    assert same_spelling(counts) == {"RE FUND": "Refund", "refund": "Refund"}
    assert look_alike(counts) == {"refunds": "Refund"}, "8 rows to 1"


def test_both_kinds_are_found_with_their_rows_and_what_would_repair_them(recipe_of):
    found = {item.code: item for item in check_data(recipe_of(LABELS)).findings}
    hardly, alike = found["LABEL_SPELLING"], found["SIMILAR_LABELS"]
    assert hardly.what == "Hardly different: 'Complaint' (1 row), 'complaint' (21 rows)."
    assert hardly.settings == {"same_labels": {"Complaint": "complaint"}}
    assert alike.what == "Labels that look alike: 'complain' (1 row), 'complaint' (21 rows)."
    assert alike.settings == {"same_labels": {"complain": "complaint"}}
    assert (hardly.where, alike.where) == (("d.jsonl:46",), ("d.jsonl:45",))
    assert hardly.severity == alike.severity == "warning"
    assert not {"RARE_LABEL", "LABEL_IMBALANCE"} & set(found), "no rows have to be added to these"
    json.dumps(alike.to_json())


def test_a_label_that_counts_as_another_is_read_as_it_and_nothing_else_changes(recipe_of):
    same = {"complain": "complaint", "Complaint": "complaint"}
    recipe = recipe_of(LABELS, same_labels=same)
    report = check_data(recipe)
    assert report.labels == {"booking": 23, "complaint": 23}
    assert not {"LABEL_SPELLING", "SIMILAR_LABELS"} & {item.code for item in report.findings}
    read = load_examples(recipe)
    corrected = load_examples(recipe_of([same.get(one.strip(), one) for one in LABELS]))
    for part in ("train", "validation", "test"):
        assert [(row.row, row.turns, row.label) for row in getattr(read, part)] == [
            (row.row, row.turns, row.label) for row in getattr(corrected, part)
        ]
    assert read.labels == ("booking", "complaint")


def test_a_run_is_told_of_labels_that_look_alike(recipe_of):
    told = {item.code for item in load_examples(recipe_of(LABELS)).findings}
    assert told == {"LABEL_SPELLING", "SIMILAR_LABELS"}


def test_what_counts_as_an_allowed_label_is_allowed(recipe_of):
    allowed = ("booking", "complaint")
    with pytest.raises(DataError, match="'complain' is none of"):
        load_examples(recipe_of(LABELS, labels=allowed))
    same = {"complain": "complaint", "Complaint": "complaint"}
    read = load_examples(recipe_of(LABELS, labels=allowed, same_labels=same))
    assert Counter(row.label for row in read.every) == {"booking": 23, "complaint": 23}


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"task": "text", "same_labels": {"a": "b"}}, "only the task"),
        ({"same_labels": {"a": "b", "b": "c"}}, "'b' counts as 'c'"),
        ({"same_labels": {"a": "a"}}, "'a' counts as 'a'"),
        ({"same_labels": {"a ": "b"}}, "no blanks around it"),
        ({"same_labels": {"a": ""}}, "not empty"),
        ({"labels": ("b", "c"), "same_labels": {"a": "d"}}, "'d' is none of labels"),
    ],
)
def test_a_table_of_labels_that_says_nothing_clear_is_refused(settings, why):
    data = {"path": "d.csv", "task": "classification"} | settings
    with pytest.raises(RecipeError, match=why):
        parse_recipe({"name": "x", "data": data}, where="recipe")

"""Columns told by what stands in them: tables as people have them, and what must not be guessed."""

from __future__ import annotations

import csv
import json
from datetime import date, timedelta

import pytest

from gemma_keras_tune.data.guess_contents import columns_by_contents
from gemma_keras_tune.data.read import scan_table

SAID = [
    "The parcel came three days late and the box was open",
    "I would like my money back for the broken lamp",
    "Thank you, the lady at the counter was very kind",
    "Where can I see how far my order has come?",
    "The invoice has the wrong address on it again",
    "Great value, I will certainly order here again",
]
KINDS = ["delivery", "refund", "praise"]
CHINESE = ["包裹晚了三天才到而且盒子是打开的", "我想退回那盏坏掉的灯", "谢谢你们的客服非常友好"]
GERMAN_KINDS = ["Beschwerde", "Lob", "Rückfrage"]


def said(number):
    return f"{SAID[number % len(SAID)]}, number {number}"


@pytest.fixture
def guess(tmp_path):
    def read(columns, count=61):
        path = tmp_path / "d.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([make(n) for make in columns.values()] for n in range(count))
        return columns_by_contents(scan_table(path))

    return read


ID = {"nr": lambda n: f"ORD-{10_000 + n}"}
DAY = {"wann": lambda n: (date(2025, 1, 1) + timedelta(n % 9)).isoformat()}
LONG_DAY = {"wann": lambda n: (date(2025, 1, 1) + timedelta(n)).strftime("%A, %d %B %Y %H:%M")}
SCORE = {"x": lambda n: n % 5 + 1}
PRICE = {"y": lambda n: f"{n % 7},50 €"}
TEXT = {"was": said}
KIND = {"art": lambda n: KINDS[n % 3]}


@pytest.mark.parametrize(
    ("columns", "found"),
    [
        (TEXT | KIND, {"text": "was", "label": "art"}),
        (ID | DAY | SCORE | PRICE | TEXT | KIND, {"text": "was", "label": "art"}),
        (LONG_DAY | TEXT | KIND, {"text": "was", "label": "art"}),
        (
            {"a": lambda n: f"{CHINESE[n % 3]}{n}", "b": lambda n: GERMAN_KINDS[n % 3]},
            {"text": "a", "label": "b"},
        ),
        # a few cells are empty, and a label or two is misspelt
        (
            {
                "a": lambda n: said(n) if n % 10 else "",
                "b": lambda n: KINDS[n % 3] if n else "Prase",
            },
            {"text": "a", "label": "b"},
        ),
        (ID | DAY | SCORE | TEXT, {"text": "was"}),
        (TEXT | KIND | {"shop": lambda n: ["Rome", "Oslo"][n // 3 % 2]}, {"text": "was"}),
        (ID | DAY | SCORE | PRICE | KIND, {}),
        (TEXT | KIND | {"reply": lambda n: f"Dear customer, {said(n + 1)}"}, {}),
        (KIND | {"name": lambda n: f"Anna Miller {n}"}, {}),
        (KIND | {"link": lambda n: f"https://example.org/a/long/path/of/words/{n}"}, {}),
        (KIND | {"always": lambda n: SAID[n % 3]}, {}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_a_text_and_a_label_are_told_from_numbers_dates_and_ids(columns, found, guess):
    assert guess(columns) == found


def test_few_rows_tell_nothing(guess):
    assert guess(TEXT | KIND, count=9) == {}
    assert guess(TEXT | KIND, count=12) == {"text": "was", "label": "art"}


def test_a_column_that_is_mostly_empty_plays_no_part(guess):
    remark = {"remark": lambda n: said(n) if n % 2 else ""}
    assert guess(TEXT | KIND | remark) == {"text": "was", "label": "art"}


def test_numbers_and_lists_of_json_are_no_texts(tmp_path):
    path = tmp_path / "d.jsonl"
    rows = [{"a": said(n), "b": KINDS[n % 3], "c": n % 2, "d": [said(n)]} for n in range(30)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert columns_by_contents(scan_table(path)) == {"text": "a", "label": "b"}

"""The rows of a predictions file, by what somebody wants of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from gemma_keras_tune_ui.api.predictions import (
    Asked,
    Doubts,
    doubts,
    predictions_sheet,
    read_predictions,
)

ROWS = [
    {"row": 2, "expected": "ham", "predicted": "ham", "confidence": 0.9, "nats": 0.2, "tokens": 2},
    {"row": 3, "expected": "ham", "predicted": "spam", "confidence": 0.6, "nats": 3.0, "tokens": 2},
    {"row": 4, "expected": "spam", "predicted": "ham", "confidence": 0.8, "nats": 9.0, "tokens": 3},
    {
        "row": 5,
        "expected": "spam",
        "predicted": "spam",
        "confidence": 0.7,
        "nats": 0.5,
        "tokens": 1,
    },
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "predictions.jsonl"
    lines = [json.dumps(row) for row in ROWS]
    path.write_text("\n".join([*lines[:2], '{"row": 99, "torn', *lines[2:]]) + "\n")
    return path


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        (Asked(), [2, 3, 4, 5]),
        (Asked(order="worst"), [4, 3, 5, 2]),  # 3.0, 1.5, 0.5 and 0.1 nats a token
        (Asked(order="best"), [2, 5, 3, 4]),
        (Asked(order="sure_but_wrong"), [4, 3]),
        (Asked(only="wrong"), [3, 4]),
        (Asked(only="right", order="worst"), [5, 2]),
        (Asked(expected="ham", predicted="spam"), [3]),
        (Asked(expected="nothing"), []),
    ],
)
def test_rows_come_in_the_order_that_was_asked_for(
    path: Path, asked: Asked, rows: list[int]
) -> None:
    found, total = read_predictions(path, asked, limit=10)
    assert ([one["row"] for one in found], total) == (rows, len(rows))
    paged = [
        one["row"]
        for offset in range(0, 4, 2)
        for one in read_predictions(path, asked, limit=2, offset=offset)[0]
    ]
    assert paged == rows


def test_a_run_that_was_not_measured_has_none(tmp_path: Path) -> None:
    assert read_predictions(tmp_path / "predictions.jsonl", Asked(), limit=5) == ([], 0)
    head = b"".join(predictions_sheet(tmp_path / "predictions.jsonl", decimal_comma=False))
    assert head == b"\xef\xbb\xbf\r\n"


def test_all_rows_come_as_a_sheet_with_their_losses_a_token(path: Path) -> None:
    text = b"".join(predictions_sheet(path, decimal_comma=False)).decode("utf-8-sig")
    assert list(csv.reader(text.splitlines())) == [
        ["Row", "Right label", "Label", "Right", "Confidence", "Loss"],
        ["2", "ham", "ham", "yes", "0.9", "0.1"],
        ["3", "ham", "spam", "no", "0.6", "1.5"],
        ["4", "spam", "ham", "no", "0.8", "3.0"],
        ["5", "spam", "spam", "yes", "0.7", "0.5"],
    ]


@pytest.mark.parametrize(("order", "rows"), [("worst", [4, 3, 5, 2, 1]), ("best", [2, 5, 3, 4, 1])])
def test_a_row_whose_loss_nobody_knows_comes_last(path: Path, order: Any, rows: list[int]) -> None:
    path.write_text('{"row": 1}\n' + path.read_text())
    found, _ = read_predictions(path, Asked(order=order), limit=10)
    assert [one["row"] for one in found] == rows


def test_a_bound_of_the_confidence_parts_the_rows_and_their_mistakes(path, tmp_path):
    # below 0.8: rows 3 (wrong) and 5 (right); the others: rows 2 (right) and 4 (wrong)
    assert doubts(path, 0.8) == Doubts(rows=4, doubtful=2, wrong_doubtful=1, wrong_others=1)
    assert doubts(path, 0.0) == Doubts(rows=4, doubtful=0, wrong_doubtful=0, wrong_others=2)
    (tmp_path / "answers.jsonl").write_text('{"row": 2, "expected": "yes", "nats": 1.0}\n')
    assert doubts(tmp_path / "answers.jsonl", 0.5) is None
    assert doubts(tmp_path / "none.jsonl", 0.5) is None

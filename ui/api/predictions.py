"""The rows of a run's `predictions.jsonl`: a page, or a sheet of all, without keeping them."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

from gemma_keras_tune.sheets import sheet

from ..words import result as words

Order = Literal["row", "worst", "best", "sure_but_wrong"]
_LONGEST_LINE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which rows somebody wants.

    Attributes:
        order: As in the file; the largest or the smallest loss a token first; or only the wrong
            ones, the most confident first.
        expected, predicted: Only rows with this right or this given label.
        only: All rows, or those that are right or wrong.
    """

    order: Order = "row"
    expected: str | None = None
    predicted: str | None = None
    only: Literal["all", "right", "wrong"] = "all"


def read_predictions(
    path: Path, asked: Asked, *, limit: int, offset: int = 0
) -> tuple[list[dict[str, Any]], int]:
    """The rows of one page, and how many fit in all.

    Never more than `offset + limit` rows are in memory. Lines that are torn are left out.

    Raises:
        OSError: If the file is there and can't be read; one that isn't there is empty.
    """
    count = 0

    def wanted() -> Iterator[dict[str, Any]]:
        nonlocal count
        for row in _rows(path):
            if _fits(row, asked):
                count += 1
                yield row

    if asked.order == "row":
        found = [row for at, row in enumerate(wanted()) if offset <= at < offset + limit]
        return found, count
    keys: dict[str, Callable[[dict[str, Any]], float]] = {
        "worst": lambda row: _or_last(loss_of(row), sign=-1),
        "best": lambda row: _or_last(loss_of(row), sign=1),
        "sure_but_wrong": lambda row: -float(row.get("confidence") or 0.0),
    }
    first = heapq.nsmallest(offset + limit, wanted(), key=keys[asked.order])
    return first[offset:], count


@dataclass(frozen=True, kw_only=True)
class Doubts:
    """What a bound of the confidence does to the measured rows.

    Attributes:
        rows: Rows that have a confidence.
        doubtful: Those whose confidence is below the bound.
        wrong_doubtful: How many of those are wrong.
        wrong_others: How many of the others are.
    """

    rows: int
    doubtful: int
    wrong_doubtful: int
    wrong_others: int


def doubts(path: Path, below: float) -> Doubts | None:
    """How the rows fare by a bound between 0 and 1; None where no row has a confidence."""
    pairs = [
        (float(row["confidence"]) < below, row["predicted"] != row.get("expected"))
        for row in _rows(path)
        if isinstance(row.get("confidence"), int | float) and "predicted" in row
    ]
    if not pairs:
        return None
    wrong = [is_doubtful for is_doubtful, is_wrong in pairs if is_wrong]
    return Doubts(
        rows=len(pairs),
        doubtful=sum(is_doubtful for is_doubtful, _ in pairs),
        wrong_doubtful=sum(wrong),
        wrong_others=len(wrong) - sum(wrong),
    )


def predictions_sheet(path: Path, *, decimal_comma: bool) -> Iterator[bytes]:
    """All rows as a CSV for a spreadsheet, a piece a line; it has the columns that the first has.

    Args:
        path: The file; one that isn't there has no rows.
        decimal_comma: As `sheets.sheet` takes it.

    Raises:
        OSError: If the file is there and can't be read.
    """
    rows = map(_for_sheet, _rows(path))
    first = [*islice(rows, 1)]
    is_labelled = any("predicted" in row for row in first)
    titles = words.SHEET_COLUMNS_LABELS if is_labelled else words.SHEET_COLUMNS
    keys = [key for key in titles if first and first[0].get(key) is not None]
    lines = ([row.get(key) for key in keys] for row in chain(first, rows))
    names = [titles[key] for key in keys]
    return sheet(chain([names], lines), decimal_comma=decimal_comma)


def loss_of(row: Mapping[str, Any], *, base: bool = False) -> float | None:
    """Nats a token of the right answer, or None where the row doesn't say.

    Args:
        row: A line of the file.
        base: Of the model before its training.
    """
    try:
        return float(row["base_nats" if base else "nats"]) / max(1, int(row["tokens"]))
    except (KeyError, TypeError, ValueError):
        return None


def _for_sheet(row: dict[str, Any]) -> dict[str, Any]:
    """The same with its losses a token, and whether it is right."""
    told = {**row, "loss": loss_of(row), "base_loss": loss_of(row, base=True)}
    if "predicted" in row:
        is_right = row["predicted"] == row.get("expected")
        told["is_right"] = words.YES if is_right else words.NO
    return told


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if len(line) <= _LONGEST_LINE:
                try:
                    row = json.loads(line)
                except ValueError:
                    continue
                if isinstance(row, dict):
                    yield row


def _fits(row: dict[str, Any], asked: Asked) -> bool:
    expected, predicted = row.get("expected"), row.get("predicted")
    if asked.order == "sure_but_wrong" and (predicted is None or expected == predicted):
        return False
    if asked.only != "all" and (expected == predicted) != (asked.only == "right"):
        return False
    return (asked.expected is None or expected == asked.expected) and (
        asked.predicted is None or predicted == asked.predicted
    )


def _or_last(loss: float | None, *, sign: int) -> float:
    return math.inf if loss is None else sign * loss

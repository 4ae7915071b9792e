"""The rows of a run's `predictions.jsonl`: filtered and sorted without keeping them all."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

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
        "worst": lambda row: -_loss(row),
        "best": _loss,
        "sure_but_wrong": lambda row: -float(row.get("confidence") or 0.0),
    }
    first = heapq.nsmallest(offset + limit, wanted(), key=keys[asked.order])
    return first[offset:], count


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


def _loss(row: dict[str, Any]) -> float:
    """Nats a token."""
    try:
        return float(row["nats"]) / max(1, int(row["tokens"]))
    except (KeyError, TypeError, ValueError):
        return math.inf

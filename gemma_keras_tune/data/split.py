"""Which rows are held back: decided by what they say, so the same rows always split alike."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

from ..text.turns import Turn


class HasTurns(Protocol):
    """What the split looks at."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What is said."""

    @property
    def label(self) -> str | None:
        """The stratum, if any."""


Row = TypeVar("Row", bound=HasTurns)


def split_rows(
    rows: Sequence[Row], *, validation_share: float, test_share: float, seed: int
) -> tuple[tuple[Row, ...], tuple[Row, ...], tuple[Row, ...]]:
    """`(train, validation, test)`, each in the order of `rows`.

    Rows with the same input are one group and stay together. In each label's groups, sorted by a
    hash of seed and input, the first fill the test rows, the next the validation rows. A label
    keeps at least one training row.

    Args:
        rows: All rows.
        validation_share: Share for validation, 0 to 0.5.
        test_share: Share for the test, 0 to 0.5.
        seed: Another seed, another split.
    """
    groups: dict[bytes, list[int]] = {}
    for index, row in enumerate(rows):
        groups.setdefault(input_key(row.turns), []).append(index)
    strata: dict[str, list[bytes]] = {}
    for key, group in groups.items():
        strata.setdefault(rows[group[0]].label or "", []).append(key)
    sizes = {name: sum(len(groups[key]) for key in keys) for name, keys in strata.items()}
    test = _quotas(sizes, test_share)
    validation = _quotas(sizes, validation_share)
    side = ["train"] * len(rows)
    for name, keys in strata.items():
        ordered = [groups[key] for key in sorted(keys, key=lambda key: _rank(seed, key))]
        room = sizes[name] - 1
        left = _take(ordered, min(test[name], room), "test", side)
        taken = sum(side[index] == "test" for group in ordered for index in group)
        _take(left, min(validation[name], room - taken), "validation", side)
    train, valid, held = (
        tuple(row for row, where in zip(rows, side, strict=True) if where == part)
        for part in ("train", "validation", "test")
    )
    return train, valid, held


def input_key(turns: Sequence[Turn]) -> bytes:
    """Hash of what a row gives the model to read, spelling of case and white space aside.

    That is everything but the last answer, or all of a raw text: two rows with one key teach and
    ask the same thing.
    """
    given = turns[:-1] if len(turns) > 1 else turns
    text = "\x1e".join(f"{turn.role}\x1f{' '.join(turn.text.casefold().split())}" for turn in given)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _take(groups: list[list[int]], quota: int, part: str, side: list[str]) -> list[list[int]]:
    """Give whole groups to `part` while they fit its quota; the groups that are left."""
    left = []
    for group in groups:
        if len(group) <= quota:
            quota -= len(group)
            for index in group:
                side[index] = part
        else:
            left.append(group)
    return left


def _quotas(sizes: dict[str, int], share: float) -> dict[str, int]:
    """Rows of each stratum: its share rounded down, the rest by largest remainder.

    A share above 0 of at least four rows gives at least one row in all.
    """
    total = sum(sizes.values())
    wish = max(round(total * share), 1 if share > 0 and total >= 4 else 0)
    quotas = {name: math.floor(size * share) for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: (quotas[name] - sizes[name] * share, name))
    for name in by_remainder[: max(0, wish - sum(quotas.values()))]:
        quotas[name] += 1
    return quotas


def _rank(seed: int, key: bytes) -> bytes:
    return hashlib.sha256(f"{seed}:{key.hex()}".encode()).digest()

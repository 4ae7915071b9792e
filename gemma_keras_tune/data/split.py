"""Which rows are held back: decided by what they say, so the same rows always split alike."""

from __future__ import annotations

import hashlib
import itertools
import math
from array import array
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..text.turns import Turn

HASH_BYTES = 8
"""Of a hash, enough here: among ten million rows, two are alike by chance once in 400,000 times."""

_TRAIN, _VALIDATION, _TEST = range(3)


class HasTurns(Protocol):
    """What the split looks at."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """What is said."""

    @property
    def label(self) -> str | None:
        """The stratum, if any."""


Places = npt.NDArray[np.int64]


def split_rows(
    rows: Iterable[HasTurns], *, validation_share: float, test_share: float, seed: int
) -> tuple[Places, Places, Places]:
    """Which of the rows are for `(train, validation, test)`, each in the order of `rows`.

    Rows with the same input are one group and stay together. In each label's groups, sorted by a
    hash of seed and input, the first fill the test rows, the next the validation rows. A label
    keeps at least one training row. A row takes some hundred bytes of memory while this runs.

    Args:
        rows: All rows; looked at once.
        validation_share: Share for validation, 0 to 0.5.
        test_share: Share for the test, 0 to 0.5.
        seed: Another seed, another split.

    Returns:
        Three `[k]` int64 arrays of indices.
    """
    ranks, keys, strata = bytearray(), bytearray(), array("q")
    names: dict[str, int] = {}
    for row in rows:
        key = input_key(row.turns)
        keys += key[:HASH_BYTES]
        ranks += _rank(seed, key)[:HASH_BYTES]
        strata.append(names.setdefault(row.label or "", len(names)))
    group, firsts, sizes = _groups(hash_numbers(keys))
    stratum = np.frombuffer(strata, np.int64)[firsts]
    by_rank = np.lexsort((hash_numbers(ranks)[firsts], stratum))
    ends = np.searchsorted(stratum[by_rank], np.arange(len(names) + 1))
    members = [by_rank[start:stop] for start, stop in itertools.pairwise(ends)]
    totals = {name: int(sizes[own].sum()) for name, own in zip(names, members, strict=True)}
    test, validation = _quotas(totals, test_share), _quotas(totals, validation_share)
    side = np.full(len(firsts), _TRAIN, np.int8)
    for name, ordered in zip(names, members, strict=True):
        room = totals[name] - 1
        held = _take(sizes[ordered], min(test[name], room))
        side[ordered[held]] = _TEST
        room -= int(sizes[ordered[held]].sum())
        left = ordered[~held]
        side[left[_take(sizes[left], min(validation[name], room))]] = _VALIDATION
    train, valid, tested = (
        np.flatnonzero(side[group] == part) for part in (_TRAIN, _VALIDATION, _TEST)
    )
    return train, valid, tested


def input_key(turns: Sequence[Turn]) -> bytes:
    """Hash of what a row gives the model to read, spelling of case and white space aside.

    That is everything but the last answer, or all of a raw text: two rows with one key teach and
    ask the same thing.
    """
    given = turns[:-1] if len(turns) > 1 else turns
    text = "\x1e".join(f"{turn.role}\x1f{' '.join(turn.text.casefold().split())}" for turn in given)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def hash_numbers(hashes: bytearray) -> npt.NDArray[np.uint64]:
    """Hashes cut to `HASH_BYTES`, end to end, as numbers that sort as they do: `[n]` uint64."""
    return np.frombuffer(hashes, ">u8").astype(np.uint64)


def _groups(keys: npt.NDArray[np.uint64]) -> tuple[Places, Places, Places]:
    """Equal keys: of each row its group, of each group its first row and how many it has."""
    _, firsts, group, sizes = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    return group, firsts, sizes


def _take(sizes: Places, quota: int) -> npt.NDArray[np.bool_]:
    """Which groups, taken whole and in order while they fit, fill the quota."""
    taken = np.zeros(len(sizes), np.bool_)
    for index, size in enumerate(sizes):
        if not quota:
            break
        if size <= quota:
            taken[index] = True
            quota -= int(size)
    return taken


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

"""Which examples share a row: a pure function, so that a run resumed anywhere goes on alike."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

WINDOW = 16_384  # examples that are packed together; smaller wastes more, larger mixes less


class PackingPlan(Sequence[list[int]]):
    """Rows, each the indices of the examples in it.

    Args:
        members: `[n]` int64 indices of examples, row after row.
        offsets: `[rows + 1]` int64 places where rows begin, and the end.
    """

    def __init__(self, members: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]) -> None:
        self._members, self._offsets = members, offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> list[int]: ...
    @overload
    def __getitem__(self, index: slice) -> list[list[int]]: ...
    def __getitem__(self, index: int | slice) -> list[int] | list[list[int]]:
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self._row(place) for place in places]
        return self._row(places)

    def _row(self, place: int) -> list[int]:
        row: list[int] = self._members[self._offsets[place] : self._offsets[place + 1]].tolist()
        return row


def packing_plan(
    lengths: Sequence[int] | npt.NDArray[np.integer], *, row_length: int, seed: int, epoch: int
) -> PackingPlan:
    """Rows of example indices: every example once, no row above its length, rows in random order.

    The examples are shuffled, cut into windows of `WINDOW`, and each window is packed by
    best-fit decreasing; then all rows are shuffled. The plan depends on nothing but the
    arguments: it uses the raw PCG64 stream, which NumPy keeps the same in every version.

    Args:
        lengths: `[n]` tokens of each example.
        row_length: Tokens of a row.
        seed: The run's seed, at least 0.
        epoch: Which pass over the data, from 0: every pass has its own plan.

    Raises:
        ValueError: If a length is below 1 or above `row_length`.

    Source:
        Johnson et al. 1974, Worst-case performance bounds for simple one-dimensional packing
        algorithms, SIAM J. Comput. 3(4): best fit decreasing.
    """
    sizes = np.asarray(lengths, np.int64)
    if len(sizes) and not (sizes.min() >= 1 and sizes.max() <= row_length):
        raise ValueError(f"lengths must lie in 1..{row_length}, not {sizes.min()}..{sizes.max()}")
    stream = np.random.PCG64(np.random.SeedSequence([seed, epoch]))
    order = _shuffled(len(sizes), stream)
    members, counts = array("q"), array("q")
    for start in range(0, len(order), WINDOW):
        window = order[start : start + WINDOW]
        decreasing = window[np.argsort(-sizes[window], kind="stable")]
        for row in _best_fit(decreasing.tolist(), sizes[decreasing].tolist(), row_length):
            members.extend(row)
            counts.append(len(row))
    return _in_order(
        np.frombuffer(members, np.int64),
        np.frombuffer(counts, np.int64),
        _shuffled(len(counts), stream),
    )


def _in_order(
    members: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], order: npt.NDArray[np.int64]
) -> PackingPlan:
    """The rows of `counts` members each, in another order."""
    starts = np.cumsum(counts) - counts
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[order])])
    moved = np.repeat(starts[order] - offsets[:-1], counts[order])
    return PackingPlan(members[moved + np.arange(len(members))], offsets)


def waste(
    lengths: Sequence[int] | npt.NDArray[np.integer],
    plan: Sequence[Sequence[int]],
    *,
    row_length: int,
) -> float:
    """Share of a plan's tokens that is padding, 0 to 1."""
    if not plan:
        return 0.0
    return 1.0 - float(np.sum(np.asarray(lengths, np.int64))) / (len(plan) * row_length)


def _best_fit(indices: list[int], sizes: list[int], row_length: int) -> list[list[int]]:
    """Each example goes into the fullest row that has room.

    `open_rows[room]` are the rows with so much room left; bit `room` of `present` says that
    there are any, so the fullest fitting row is found by one shift.
    """
    rows: list[list[int]] = []
    open_rows: list[list[int]] = [[] for _ in range(row_length + 1)]
    present = 0
    for index, size in zip(indices, sizes, strict=True):
        fitting = present >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            row = open_rows[room].pop()
            if not open_rows[room]:
                present &= ~(1 << room)
            rows[row].append(index)
        else:
            room, row = row_length, len(rows)
            rows.append([index])
        left = room - size
        if left:
            open_rows[left].append(row)
            present |= 1 << left
    return rows


def _shuffled(count: int, stream: np.random.PCG64) -> npt.NDArray[np.int64]:
    """A random order of `0..count-1`, `[count]` int64."""
    return np.argsort(stream.random_raw(count), kind="stable").astype(np.int64)

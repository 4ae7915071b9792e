"""Packed rows as arrays of one fixed shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .tokenize import TokenSet


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Packed rows, every array `[rows, length]`.

    Args:
        token_ids: int32; the pad id where there is nothing.
        targets: int32; the id that follows within the same example, else the pad id.
        loss_mask: float32; 1 where `targets` is an answer token, else 0.
        positions: int32; 0, 1, 2 ... from the start of each example; 0 on padding.
        segment_ids: int32; 1, 2, 3 ... along each row's examples; 0 on padding.
    """

    token_ids: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    loss_mask: npt.NDArray[np.float32]
    positions: npt.NDArray[np.int32]
    segment_ids: npt.NDArray[np.int32]


def make_batch(
    tokens: TokenSet,
    plan_rows: Sequence[Sequence[int]],
    *,
    rows: int,
    length: int,
    pad_id: int,
) -> Batch:
    """The rows of a plan as arrays; rows that the plan doesn't fill are padding.

    Args:
        tokens: The examples that the plan's indices mean.
        plan_rows: At most `rows` lists of example indices.
        rows: Rows of the batch.
        length: Tokens of a row.
        pad_id: Fills what is empty.

    Raises:
        ValueError: If there are too many rows, or a row's examples are longer than `length`.
    """
    if len(plan_rows) > rows:
        raise ValueError(f"{len(plan_rows)} plan rows don't fit into {rows}")
    token_ids = np.full((rows, length), pad_id, np.int32)
    targets = np.full((rows, length), pad_id, np.int32)
    loss_mask = np.zeros((rows, length), np.float32)
    positions = np.zeros((rows, length), np.int32)
    segment_ids = np.zeros((rows, length), np.int32)
    for row, members in enumerate(plan_rows):
        start = 0
        for segment, index in enumerate(members, start=1):
            ids, supervised = tokens.example(index)
            stop = start + len(ids)
            if stop > length:
                raise ValueError(f"the examples of row {row} are longer than {length}")
            token_ids[row, start:stop] = ids
            targets[row, start : stop - 1] = ids[1:]
            loss_mask[row, start : stop - 1] = supervised[1:]
            positions[row, start:stop] = np.arange(len(ids))
            segment_ids[row, start:stop] = segment
            start = stop
    return Batch(
        token_ids=token_ids,
        targets=targets,
        loss_mask=loss_mask,
        positions=positions,
        segment_ids=segment_ids,
    )

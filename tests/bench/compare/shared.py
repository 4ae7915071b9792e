"""What all who are compared share: the rows, the settings, and how a measurement is told."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gemma_keras_tune.data.tokenize import TokenSet
from gemma_keras_tune.recipe import LoraTarget

LENGTH = 512  # tokens of a row, padded or packed
BATCH = 4  # rows of a step, where they are padded
PACKED_ROWS = 2  # rows of a step, where they are packed
RANK, LEARNING_RATE = 8, 2e-4
TARGETS: tuple[LoraTarget, ...] = ("q_proj", "v_proj")
COMPARED = 8  # rows whose loss is measured before and after
PAD = 0


@dataclass(frozen=True, kw_only=True)
class Found:
    """One pass over the rows; its first step waits for compilers and is not in the rates.

    Attributes:
        members: The rows of the measured steps.
        seconds: What those steps took.
        first_step_s: Seconds of the first step.
        peak_bytes: Most memory that the process had resident.
        matrix_gflops: Billions of operations a second in matrix products of the same process.
        loss_before: Nats per answer token of the first rows.
        loss_after: The same after the pass.
        updates: Steps of the whole pass.
        places: Tokens that the measured steps computed, padding included.
    """

    members: list[int]
    seconds: float
    first_step_s: float
    peak_bytes: int
    matrix_gflops: float
    loss_before: float
    loss_after: float
    updates: int
    places: int

    def to_line(self) -> str:
        """As one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_line(cls, line: str) -> Found:
        """What `to_line` wrote."""
        return cls(**json.loads(line))


def tokens_in(folder: Path) -> TokenSet:
    """The tokens that the parent wrote."""
    with np.load(folder / "tokens.npz") as stored:
        return _token_set(stored["ids"], stored["supervised"], stored["offsets"])


def first_rows(tokens: TokenSet) -> TokenSet:
    """Those whose loss is measured before and after."""
    offsets = tokens.offsets[: COMPARED + 1]
    return _token_set(tokens.ids[: offsets[-1]], tokens.supervised[: offsets[-1]], offsets)


def _token_set(ids: Any, supervised: Any, offsets: Any) -> TokenSet:
    none = np.zeros(0, np.int64)
    return TokenSet(
        ids=ids,
        supervised=supervised,
        offsets=offsets,
        rows=np.arange(len(offsets) - 1),
        cut_rows=none,
        dropped_rows=none,
        cut=0,
    )


def write_tokens(tokens: TokenSet, folder: Path) -> None:
    """Writes what `tokens_in` reads."""
    np.savez(
        folder / "tokens.npz",
        ids=tokens.ids,
        supervised=tokens.supervised,
        offsets=tokens.offsets,
    )


def in_turn(tokens: TokenSet) -> list[list[int]]:
    """The rows in their order, a padded batch at a time; rows that fill none are left out."""
    whole = len(tokens) // BATCH * BATCH
    return [list(range(first, first + BATCH)) for first in range(0, whole, BATCH)]


def padded(
    tokens: TokenSet, members: Sequence[int], *, length: int | None = None
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """`(ids, supervised, is_token)` of some rows, each `[rows, length or that of the longest]`."""
    length = length or int(max(tokens.lengths[index] for index in members))
    ids = np.full((len(members), length), PAD, np.int32)
    supervised, is_token = np.zeros((2, len(members), length), bool)
    for place, index in enumerate(members):
        own, answers = tokens.example(index)
        ids[place, : len(own)], supervised[place, : len(own)] = own, answers
        is_token[place, : len(own)] = True
    return ids, supervised, is_token


class Clock:
    """Seconds of the first step and of the others, each waited for."""

    def __init__(self) -> None:
        self.steps: list[float] = []
        self._began = time.perf_counter()

    def begin(self) -> None:
        """A step begins."""
        self._began = time.perf_counter()

    def end(self) -> None:
        """It has ended."""
        self.steps.append(time.perf_counter() - self._began)

    @property
    def first(self) -> float:
        """The step that compiled."""
        return self.steps[0]

    @property
    def rest(self) -> float:
        """All others."""
        return sum(self.steps[1:])

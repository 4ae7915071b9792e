"""The long rows that training makes of short ones, token by token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..text.template import Template
from .examples import Example, Split
from .pack import packing_plan, waste
from .parts import tokenize_split
from .preview import PreviewRow, preview_rows


@dataclass(frozen=True, kw_only=True)
class PackedRow:
    """One row as training sees it: several examples end to end, then padding.

    Args:
        segments: The examples in it, in order; none sees another.
        padding: Empty places at its end, in tokens.
    """

    segments: tuple[PreviewRow, ...]
    padding: int


@dataclass(frozen=True, kw_only=True)
class Packed:
    """Some rows of the first epoch.

    Args:
        rows: Those asked for.
        total: How many rows the epoch has.
        examples: How many examples are in them.
        row_length: Tokens of each row.
        waste: Share of all tokens that is padding, 0 to 1.
    """

    rows: tuple[PackedRow, ...]
    total: int
    examples: int
    row_length: int
    waste: float


def packed_rows(
    train: Split, template: Template, *, seed: int = 0, rows: int = 3, offset: int = 0
) -> Packed:
    """Rows of the first epoch, as training packs them with this seed.

    Args:
        train: The rows to learn from.
        template: The model's.
        seed: The recipe's `train.seed`.
        rows: How many packed rows to show.
        offset: How many to pass over before them.

    Raises:
        DataError: As `tokenize_examples`: what training would refuse is refused here.
    """
    tokens = tokenize_split(train, template)
    plan = packing_plan(tokens.lengths, row_length=train.max_length, seed=seed, epoch=0)
    shown = []
    for places in plan[offset : offset + rows]:
        examples = [train[int(tokens.rows[place])] for place in places]
        used = sum(int(tokens.lengths[place]) for place in places)
        shown.append(
            PackedRow(
                segments=_segments(examples, train, template), padding=train.max_length - used
            )
        )
    return Packed(
        rows=tuple(shown),
        total=len(plan),
        examples=len(tokens),
        row_length=train.max_length,
        waste=round(waste(tokens.lengths, plan, row_length=train.max_length), 6),
    )


def _segments(
    examples: Sequence[Example], train: Split, template: Template
) -> tuple[PreviewRow, ...]:
    return preview_rows(
        examples,
        template,
        max_length=train.max_length,
        too_long=train.too_long,
        labels=train.labels,
    )

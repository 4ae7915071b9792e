"""Examples to packed rows for scoring: prompts once, and several answers as branches of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int32]

BATCH_TOKENS = 256  # tokens of a batch for each of `batch_rows`, whatever the rows' length
_ROW_LENGTHS = (256, 320, 384, 448, 512)  # attention is still cheap; longer ones are doubled
_LOOKED_AT = 512  # examples whose sizes decide on the rows' length
_LAG = 512  # examples that may overtake one that waits for its row to fill


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """One example's tokens, and which predictions are asked of it.

    Attributes:
        ids: `[n]` int32 token ids.
        positions: `[n]` int32; every branch goes on where the prompt ends.
        branches: `[n]` int32; 0 for the prompt, 1, 2, ... for the answers.
        sources: `[s]` int32 places among the `n` tokens whose hidden states predict.
        targets: `[s]` int32 token ids, what is to be predicted there.
        groups: `[s]` int32 number of the answer that each target belongs to, from 0.
    """

    ids: Ints
    positions: Ints
    branches: Ints
    sources: Ints
    targets: Ints
    groups: Ints

    @property
    def size(self) -> int:
        """Places that the piece takes in a row, so that its second targets fit too."""
        return max(len(self.ids), len(self.sources) - len(np.unique(self.sources)))


def labels_piece(prompt_ids: Sequence[int], answers: Sequence[Sequence[int]]) -> Piece:
    """A prompt with several answers to score; the first token of each is predicted by the prompt.

    Args:
        prompt_ids: At least one id.
        answers: Ids of each answer, at least one, its stop id included.

    Raises:
        ValueError: If the prompt or an answer is empty.
    """
    if not len(prompt_ids) or not all(len(answer) for answer in answers):
        raise ValueError("a prompt and its answers need at least one token each")
    length = len(prompt_ids)
    ids, positions, branches = [*prompt_ids], [*range(length)], [0] * length
    sources: list[int] = []
    targets: list[int] = []
    groups: list[int] = []
    for number, answer in enumerate(answers):
        start, more = len(ids), len(answer) - 1
        sources += [length - 1, *range(start, start + more)]
        targets += answer
        groups += [number] * len(answer)
        ids += answer[:-1]
        positions += range(length, length + more)
        branches += [number + 1] * more
    return _piece(ids, positions, branches, sources, targets, groups)


def answer_piece(ids: Sequence[int] | Ints, supervised: Sequence[bool] | npt.NDArray) -> Piece:
    """An example whose supervised tokens are to be predicted; what follows the last is left out.

    Args:
        ids: `[n]` token ids.
        supervised: `[n]`, True on answer tokens; the first can't be one.
    """
    places = np.flatnonzero(np.asarray(supervised)[1:])
    length = int(places[-1]) + 1 if len(places) else 1
    ids = np.asarray(ids, np.int32)
    zeros = np.zeros(length, np.int32)
    return _piece(
        ids[:length], np.arange(length), zeros, places, ids[places + 1], np.zeros(len(places))
    )


def _piece(*arrays: Sequence[int] | npt.NDArray) -> Piece:
    names = ("ids", "positions", "branches", "sources", "targets", "groups")
    return Piece(**{n: np.asarray(a, np.int32) for n, a in zip(names, arrays, strict=True)})


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedRows:
    """Pieces in rows of one shape; the arrays are `[rows, length]` int32 unless it says otherwise.

    A place's first target stands in `targets`; further ones (the other answers' first tokens,
    which the same hidden state predicts) stand in the two flat arrays.

    Attributes:
        token_ids: 0 where there is nothing.
        positions: From 0 in every piece.
        segment_ids: 1, 2, ... along each row's pieces, 0 on padding.
        branch_ids: 0 for prompts, 1, 2, ... for answers.
        targets: First target of each place, or 0.
        mask: float32, 1 where there is a target.
        more_sources: `[rows * length]` flat places of the further targets.
        more_targets: `[rows * length]` the further targets; unused ones are 0.
        members: `(index of the piece, flat places [s] of its results)`, where results of
            `more_targets` follow those of `targets`.
    """

    token_ids: Ints
    positions: Ints
    segment_ids: Ints
    branch_ids: Ints
    targets: Ints
    mask: npt.NDArray[np.float32]
    more_sources: Ints
    more_targets: Ints
    members: list[tuple[int, npt.NDArray[np.int64]]]


@dataclass(kw_only=True)
class _Row:
    """A row that still has room for `free` tokens."""

    length: int
    free: int
    members: list[tuple[int, Piece]] = field(default_factory=list)

    def add(self, index: int, piece: Piece) -> None:
        self.members.append((index, piece))
        self.free -= piece.size


def pack_stream(pieces: Sequence[Piece], *, batch_rows: int) -> Iterator[PackedRows]:
    """The pieces in packed rows, almost in their order, so that results can be written early.

    Each piece goes where it leaves the least room. All rows have the length that wastes least,
    but for pieces longer than that, which get rows of twice the length, or twice that. Batches
    have about the same number of tokens.

    Args:
        pieces: Any number of them.
        batch_rows: A batch has at most this many times 256 tokens, or one row.
    """
    usual = _best_row_length([piece.size for piece in pieces[:_LOOKED_AT]])
    waiting: list[_Row] = []
    for index, piece in enumerate(pieces):
        fitting = [row for row in waiting if row.free >= piece.size]
        if fitting:
            min(fitting, key=lambda row: row.free).add(index, piece)
        else:
            length = _row_length(piece.size, usual)
            waiting.append(_Row(length=length, free=length))
            waiting[-1].add(index, piece)
            like = [row for row in waiting if row.length == length]
            if len(like) > 2 * _rows_at_once(length, batch_rows):
                yield _take(waiting, like, batch_rows)
        if waiting and index - waiting[0].members[0][0] > _LAG:
            late = [row for row in waiting if row.length == waiting[0].length]
            yield _take(waiting, late, batch_rows)
    while waiting:
        alike = [row for row in waiting if row.length == waiting[0].length]
        yield _take(waiting, alike, batch_rows)


def _take(waiting: list[_Row], candidates: Sequence[_Row], batch_rows: int) -> PackedRows:
    """A batch of the oldest of these rows, which wait no longer."""
    length = candidates[0].length
    count = _rows_at_once(length, batch_rows)
    taken = candidates[:count]
    waiting[:] = [row for row in waiting if not any(row is other for other in taken)]
    return _pack([row.members for row in taken], rows=count, length=length)


def _pack(plan: Sequence[Sequence[tuple[int, Piece]]], *, rows: int, length: int) -> PackedRows:
    shape, flat = (rows, length), rows * length
    names = ("token_ids", "positions", "segment_ids", "branch_ids", "targets")
    grid = {name: np.zeros(shape, np.int32) for name in names}
    mask = np.zeros(shape, np.float32)
    more_sources, more_targets = np.zeros(flat, np.int32), np.zeros(flat, np.int32)
    members, used = [], 0
    for row, pieces in enumerate(plan):
        start = 0
        for segment, (index, piece) in enumerate(pieces, start=1):
            span = slice(start, start + len(piece.ids))
            grid["token_ids"][row, span] = piece.ids
            grid["positions"][row, span] = piece.positions
            grid["segment_ids"][row, span] = segment
            grid["branch_ids"][row, span] = piece.branches
            places = row * length + start + piece.sources.astype(np.int64)
            first = np.zeros(len(places), bool)
            first[np.unique(places, return_index=True)[1]] = True
            grid["targets"].flat[places[first]] = piece.targets[first]
            mask.flat[places[first]] = 1
            more = slice(used, used + int((~first).sum()))
            more_sources[more], more_targets[more] = places[~first], piece.targets[~first]
            places[~first] = flat + np.arange(more.start, more.stop)
            members.append((index, places))
            start, used = span.stop, more.stop
    return PackedRows(
        **grid, mask=mask, more_sources=more_sources, more_targets=more_targets, members=members
    )


def _best_row_length(sizes: Sequence[int]) -> int:
    """The row length that takes the fewest tokens for pieces of these sizes, most of them."""
    costs = {}
    for length in _ROW_LENGTHS:
        free: list[int] = []
        for size in sorted((size for size in sizes if size <= length), reverse=True):
            fitting = [row for row in free if row >= size]
            if fitting:
                free[free.index(min(fitting))] -= size
            else:
                free.append(length - size)
        longer = sum(_row_length(size, length) for size in sizes if size > length)
        costs[length] = len(free) * length + longer
    return min(costs, key=lambda length: (costs[length], length))


def _row_length(size: int, usual: int) -> int:
    while usual < size:
        usual *= 2
    return usual


def _rows_at_once(length: int, batch_rows: int) -> int:
    return max(1, batch_rows * BATCH_TOKENS // length)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_keras_tune.data.batches import make_batch
from gemma_keras_tune.data.pack import packing_plan
from gemma_keras_tune.data.tokenize import TokenSet


def token_set(rows):
    """A token set of `(ids, supervised)` rows."""
    nothing = np.array([], np.int64)
    return TokenSet(
        ids=np.array([token for ids, _ in rows for token in ids], np.int32),
        supervised=np.array([on for _, mask in rows for on in mask], bool),
        offsets=np.cumsum([0, *(len(ids) for ids, _ in rows)]),
        rows=np.arange(len(rows)),
        cut_rows=nothing,
        dropped_rows=nothing,
        cut=0,
    )


TOKENS = token_set([([2, 10, 11, 12], [0, 0, 1, 1]), ([2, 20, 21], [0, 0, 1]), ([2, 30], [0, 1])])


def test_a_packed_batch_worked_out_by_hand():
    batch = make_batch(TOKENS, [[0, 1], [2]], rows=3, length=8, pad_id=0)
    assert batch.token_ids.tolist() == [
        [2, 10, 11, 12, 2, 20, 21, 0],
        [2, 30, 0, 0, 0, 0, 0, 0],
        [0] * 8,
    ]
    assert batch.targets.tolist() == [
        [10, 11, 12, 0, 20, 21, 0, 0],
        [30, 0, 0, 0, 0, 0, 0, 0],
        [0] * 8,
    ]
    assert batch.loss_mask.tolist() == [
        [0, 1, 1, 0, 0, 1, 0, 0],
        [1, 0, 0, 0, 0, 0, 0, 0],
        [0] * 8,
    ]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 0, 1, 2, 0], [0, 1] + [0] * 6, [0] * 8]
    assert batch.segment_ids.tolist() == [[1, 1, 1, 1, 2, 2, 2, 0], [1, 1] + [0] * 6, [0] * 8]


def test_types_are_those_the_model_takes():
    batch = make_batch(TOKENS, [[0]], rows=1, length=4, pad_id=7)
    assert batch.loss_mask.dtype == np.float32
    for name in ("token_ids", "targets", "positions", "segment_ids"):
        assert getattr(batch, name).dtype == np.int32
    assert batch.targets[0, -1] == 7


@given(st.lists(st.integers(1, 12), min_size=1, max_size=30))
def test_every_answer_token_is_a_target_exactly_once(lengths):
    rows = [
        ([2, *range(100 * i, 100 * i + n)], [False] + [True] * n) for i, n in enumerate(lengths)
    ]
    tokens = token_set(rows)
    plan = packing_plan(tokens.lengths, row_length=16, seed=0, epoch=0)
    batch = make_batch(tokens, plan, rows=len(plan), length=16, pad_id=0)
    learned = sorted(batch.targets[batch.loss_mask == 1].tolist())
    assert learned == sorted(token for ids, _ in rows for token in ids[1:])
    assert not batch.loss_mask[batch.segment_ids == 0].any()


def test_what_does_not_fit_is_a_callers_mistake():
    with pytest.raises(ValueError, match="longer than 6"):
        make_batch(TOKENS, [[0, 1]], rows=1, length=6, pad_id=0)
    with pytest.raises(ValueError, match="don't fit"):
        make_batch(TOKENS, [[0], [1]], rows=1, length=6, pad_id=0)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_keras_tune.data import pack
from gemma_keras_tune.data.pack import packing_plan, waste


@given(
    lengths=st.lists(st.integers(1, 32), max_size=200),
    seed=st.integers(0, 2**40),
    epoch=st.integers(0, 9),
)
def test_every_example_is_there_once_and_no_row_is_too_long(lengths, seed, epoch):
    plan = packing_plan(lengths, row_length=32, seed=seed, epoch=epoch)
    assert sorted(index for row in plan for index in row) == list(range(len(lengths)))
    assert all(1 <= sum(lengths[index] for index in row) <= 32 for row in plan)
    again = packing_plan(np.array(lengths, int), row_length=32, seed=seed, epoch=epoch)
    assert list(again) == list(plan)


@given(st.lists(st.integers(1, 32), min_size=1, max_size=200))
def test_no_two_rows_of_a_window_could_be_one(lengths):
    plan = packing_plan(lengths, row_length=32, seed=0, epoch=0)
    sums = sorted(sum(lengths[index] for index in row) for row in plan)
    assert len(sums) == 1 or sums[0] + sums[1] > 32


def test_a_small_case_worked_out_by_hand():
    # Decreasing, rows of 10: 6; 5; 4 joins 6 (fuller than 5); 3 joins 5; 2 joins 5 and 3.
    lengths = [2, 3, 4, 5, 6]
    plan = packing_plan(lengths, row_length=10, seed=0, epoch=0)
    rows = sorted(sorted(lengths[index] for index in row) for row in plan)
    assert rows == [[2, 3, 5], [4, 6]]


def test_seed_and_epoch_change_the_plan():
    lengths = [5, 7, 9, 11] * 50
    plans = {
        str(list(packing_plan(lengths, row_length=32, seed=seed, epoch=epoch)))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(plans) == 4


def test_the_plan_is_the_same_on_every_machine():
    # PCG64's stream for SeedSequence([3, 1]) is fixed by NumPy's policy (NEP 19).
    plan = packing_plan([3, 1, 2, 4, 2], row_length=6, seed=3, epoch=1)
    assert list(plan) == [[0, 4, 1], [3, 2]]


def test_rows_stand_in_random_order_and_not_by_length():
    lengths = list(range(1, 101))
    plan = packing_plan(lengths, row_length=100, seed=0, epoch=0)
    firsts = [max(lengths[index] for index in row) for row in plan]
    assert firsts != sorted(firsts) and firsts != sorted(firsts, reverse=True)


def test_usual_lengths_waste_below_three_tokens_in_a_hundred():
    generator = np.random.default_rng(0)
    lengths = np.clip(generator.lognormal(4.5, 0.8, 5000), 4, 512).astype(int)
    plan = packing_plan(lengths, row_length=512, seed=0, epoch=0)
    assert waste(lengths, plan, row_length=512) < 0.03


def test_many_windows_hold_every_example_once(monkeypatch):
    monkeypatch.setattr(pack, "WINDOW", 64)
    lengths = np.random.default_rng(1).integers(1, 33, 1000)
    plan = packing_plan(lengths, row_length=32, seed=0, epoch=0)
    assert sorted(index for row in plan for index in row) == list(range(1000))


def test_waste_is_the_share_of_padding():
    assert waste([3, 4], [[0], [1]], row_length=7) == 0.5
    assert waste([], [], row_length=7) == 0.0


@pytest.mark.parametrize("lengths", [[0], [33], [5, -1]])
def test_lengths_that_fit_no_row_are_a_callers_mistake(lengths):
    with pytest.raises(ValueError, match=r"1\.\.32"):
        packing_plan(lengths, row_length=32, seed=0, epoch=0)


def test_no_examples_need_no_rows():
    assert list(packing_plan([], row_length=32, seed=0, epoch=0)) == []


def test_rows_of_a_plan_are_read_as_those_of_a_list():
    plan = packing_plan(list(range(1, 33)) * 4, row_length=32, seed=0, epoch=0)
    rows = list(plan)
    assert len(plan) == len(rows) and plan[3] == rows[3] and plan[-1] == rows[-1]
    assert plan[2:5] == rows[2:5] and plan[len(rows) - 1 : len(rows) + 9] == rows[-1:]
    with pytest.raises(IndexError):
        plan[len(rows)]

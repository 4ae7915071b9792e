"""Intervals and tests are those of SciPy, and of numbers worked out by hand."""

from __future__ import annotations

import math

import pytest

from gemma_keras_tune.evaluation.chance import Comparison, share_interval
from gemma_keras_tune.evaluation.metrics import classify


@pytest.mark.parametrize(
    ("part", "whole"), [(0, 6), (5, 6), (6, 6), (1, 1), (37, 400), (999_999, 1_000_000)]
)
def test_a_share_s_bounds_are_those_of_scipy(part, whole):
    from scipy.stats import binomtest

    found = binomtest(part, whole).proportion_ci(0.95, method="wilson")
    assert share_interval(part, whole) == pytest.approx((found.low, found.high), abs=1e-12)


def test_five_of_six_can_be_anything_between_44_and_97_percent():
    # by hand: (5/6 + z^2/12 -+ z * sqrt(5/36/6 + z^2/144)) / (1 + z^2/6), with z = 1.96
    assert share_interval(5, 6) == pytest.approx((0.4365, 0.9699), abs=1e-4)
    found = classify(["a"] * 6, ["a"] * 5 + ["b"], ["a", "b"])
    assert found.accuracy_interval == share_interval(5, 6)


@pytest.mark.parametrize(("part", "whole"), [(0, 0), (-1, 3), (4, 3)])
def test_what_is_no_share_is_refused(part, whole):
    with pytest.raises(ValueError, match="no share"):
        share_interval(part, whole)


@pytest.mark.parametrize(
    ("better", "worse"), [(0, 0), (1, 0), (3, 3), (2, 9), (9, 2), (60, 25), (20_500, 20_000)]
)
def test_the_sign_test_is_scipy_s_exact_one(better, worse):
    from scipy.stats import binomtest

    expected = binomtest(better, better + worse).pvalue if better + worse else 1.0
    assert Comparison(better=better, worse=worse).p_value == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("better", "worse", "rows", "needed"),
    [
        (3, 0, 30, 60),  # six that all agree, one in ten rows: 6 / (3 / 30)
        (1, 0, 12, 72),
        (0, 1, 12, 72),
        (4, 1, 20, 60),  # 3 of 15 is the first with a fifth that comes below: p = 0.035
        (2, 2, 20, None),
        (0, 0, 20, None),
        (6, 0, 20, None),  # is told already
        (5_001, 4_999, 10_000, None),  # a million
    ],
)
def test_rows_that_would_tell_are_counted_by_hand(better, worse, rows, needed):
    assert Comparison(better=better, worse=worse).rows_to_tell(rows) == needed


@pytest.mark.parametrize(("better", "worse"), [(3, 1), (7, 4), (20, 11), (55, 48), (1, 0)])
def test_no_fewer_rows_would_tell_by_scipy_s_test(better, worse):
    from scipy.stats import binomtest

    count = better + worse
    needed = Comparison(better=better, worse=worse).rows_to_tell(count)
    first = next(
        pairs
        for pairs in range(count + 1, 10_000)
        if binomtest(math.ceil(pairs * worse / count), pairs).pvalue < 0.05
    )
    assert needed == first


def test_six_rows_must_all_agree_to_say_anything():
    assert Comparison(better=6, worse=0).p_value == pytest.approx(2 / 2**6)
    assert Comparison(better=5, worse=0).p_value == pytest.approx(2 / 2**5)

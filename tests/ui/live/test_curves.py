"""Curves that grow, lose their end, and are thinned out."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from gemma_keras_tune_ui.live.curves import Curve


def curve_of(*points: tuple[float, float | None]) -> Curve:
    curve = Curve()
    for x, y in points:
        curve.add(x, y)
    return curve


def test_points_are_told_from_any_place_on() -> None:
    curve = curve_of((1, 5.0), (2, 4.0), (3, 3.0))
    assert curve.since(1) == ([2, 3], [4.0, 3.0])
    assert curve.since(3) == ([], []) and curve.last == 3.0 and curve.version == 0


def test_a_step_that_is_done_again_replaces_what_came_after_it() -> None:
    curve = curve_of((1, 5.0), (2, 4.0), (3, 3.0), (2, 9.0))
    assert curve.since(0) == ([1, 2], [5.0, 9.0]) and curve.version == 1
    curve.cut_after(1)
    assert curve.since(0) == ([1], [5.0]) and curve.version == 2
    curve.cut_after(1)
    assert curve.version == 2, "nothing was taken away"


def test_what_is_no_number_is_a_gap() -> None:
    curve = curve_of((1, None), (2, math.nan), (3, 1.0))
    assert curve.since(0)[1] == [None, None, 1.0]
    assert curve.thinned(100)[1] == [None, None, 1.0]


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=3000),
    st.integers(min_value=10, max_value=200),
)
def test_thinned_curves_keep_both_ends_and_the_extremes(values: list[float], most: int) -> None:
    curve = curve_of(*enumerate(values))
    xs, ys = curve.thinned(most)
    assert len(xs) <= most and xs == sorted(set(xs))
    assert (xs[0], xs[-1]) == (0, len(values) - 1)
    assert max(ys) == max(values) and min(ys) == min(values)
    assert all(values[int(x)] == y for x, y in zip(xs, ys, strict=True))

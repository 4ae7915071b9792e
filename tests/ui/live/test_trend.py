"""What the curves of a training say, on curves drawn by hand."""

from __future__ import annotations

import math

import pytest

from gemma_keras_tune_ui.live.curves import Curve
from gemma_keras_tune_ui.live.trend import LEAST_STEPS, trend_of, trend_score

NOISE = (0.3, -0.4, 0.1, 0.4, -0.2, -0.3, 0.2, -0.1, 0.35, -0.35, 0.05, -0.05)


def steps(*losses: float) -> list[tuple[float, float]]:
    return [(float(step), loss) for step, loss in enumerate(losses, start=1)]


FALLING = steps(*(4.0 / step + noise / 10 for step, noise in enumerate(NOISE, start=1)))


@pytest.mark.parametrize(
    ("curve", "measured", "found"),
    [
        (FALLING[: LEAST_STEPS - 1], [], "early"),
        (FALLING, [], "learns"),
        (FALLING, [(4, 1.0), (8, 0.6), (12, 0.4)], "learns"),
        (FALLING, [(4, 0.6), (8, 0.5), (12, 0.53)], "by_heart"),  # 6 % above the lowest
        (FALLING, [(4, 0.6), (8, 0.5), (12, 0.52)], "learns"),  # 4 %
        (FALLING, [(4, 0.02), (8, 0.01), (12, 0.015)], "learns"),  # half as much again, of nothing
        (FALLING, [(12, 0.5)], "learns"),
        (steps(*(2 + noise for noise in NOISE)), [(4, 0.5), (8, 0.9)], "flat"),
        (steps(*(2.0,) * 12), [], "flat"),
        (steps(*(1 + number + noise for number, noise in enumerate(NOISE))), [], "rises"),
        # the training loss went up again since the lowest validation loss: both got worse
        ([*FALLING, (13.0, 2.0), (14.0, 2.0)], [(12, 0.5), (14, 0.9)], "learns"),
    ],
)
def test_a_trend_is_told_by_the_rule(curve, measured, found) -> None:
    assert trend_of(curve, measured, passes=1.5) == found
    in_the_first = "learns" if found == "by_heart" else found
    assert trend_of(curve, measured, passes=1.0) == in_the_first, "no row was seen twice"


@pytest.mark.parametrize(
    ("shares", "found"),
    [
        ([0.67, 0.58, 0.5], "no_righter"),
        ([0.5, 0.67, 0.5], "no_righter"),
        ([0.5, 0.5, 0.51], "learns"),
        ([0.67, 0.5], "learns"),  # two measurements only
        ([1.0, 0.9, 1.0], "learns"),  # there is nothing above
        ([], "learns"),
    ],
)
def test_a_falling_loss_alone_is_not_called_learning_where_labels_say_otherwise(
    shares, found
) -> None:
    measured = [(step, 0.5) for step in (4, 8, 12)]
    assert trend_of(FALLING, measured, list(enumerate(shares)), passes=1.5) == found
    heart = [(4, 0.6), (8, 0.5), (12, 0.7)]
    assert trend_of(FALLING, heart, list(enumerate(shares)), passes=1.5) == "by_heart"


@pytest.mark.parametrize("values", [[y for _, y in FALLING], NOISE, [1.0, 2.0, 3.0, 5.0, 4.0]])
def test_the_score_is_that_of_kendall_s_test_in_scipy(values) -> None:
    from scipy.stats import kendalltau, norm

    found = kendalltau(range(len(values)), values, method="asymptotic")
    score = trend_score(values)
    assert 2 * norm.sf(abs(score)) == pytest.approx(found.pvalue)
    assert (score < 0) == (found.statistic < 0)


def test_points_are_taken_at_even_distances_and_only_numbers() -> None:
    curve = Curve()
    assert curve.spread(4) == []
    for x in range(10):
        curve.add(x, None if x == 3 else x * 2)
    assert curve.spread(4) == [(0, 0), (6, 12), (9, 18)]
    assert curve.spread(100) == [(x, x * 2) for x in range(10) if x != 3]
    assert all(math.isfinite(y) for _, y in curve.spread(100))

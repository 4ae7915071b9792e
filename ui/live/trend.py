"""Whether a training goes well, by its curves, in one word that a page has a sentence for."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal

Trend = Literal["early", "learns", "no_righter", "by_heart", "flat", "rises"]
Point = tuple[float, float]

LEAST_STEPS = 8
"""With fewer steps nothing is said."""

LEAST_MEASURED = 3
"""With fewer measurements nothing is said of the accuracy."""

_Z = 1.96  # two sides, 5 %: chance alone shows so clear a trend in one run of twenty
_RISE, _RISE_NATS = 0.05, 0.02  # of the lowest validation loss, and at least; less is noise


def trend_of(
    steps: Sequence[Point],
    measured: Sequence[Point],
    accuracy: Sequence[Point] = (),
    *,
    passes: float,
) -> Trend:
    """What the curves of a training say.

    `rises`, `flat` or falling is what the Mann-Kendall test finds in the training loss. Where it
    falls, it learns `by_heart` if it has seen rows twice, and the newest validation loss is above
    the lowest one by 5 % and 0.02 nats at least, while the steps since then had a lower training
    loss than as many before. Else it is `no_righter` if, measured three times, it gives no more
    of the validation rows the right label than at first: then it learns how answers look.

    Args:
        steps: `(step, loss)`, loss in nats a token; of many steps, some at even distances will do.
        measured: The same of each measurement on the validation rows.
        accuracy: Of the same measurements, the share of rows with the right label, 0 to 1; without
            labels, nothing.
        passes: How often it has seen all rows.

    Source:
        Mann 1945, Nonparametric tests against trend, doi:10.2307/1907187.
    """
    if len(steps) < LEAST_STEPS:
        return "early"
    score = trend_score([loss for _, loss in steps])
    if score > _Z:
        return "rises"
    if score > -_Z:
        return "flat"
    if passes > 1 and _learns_by_heart(steps, measured):
        return "by_heart"
    return "no_righter" if _is_no_righter([share for _, share in accuracy]) else "learns"


def trend_score(values: Sequence[float]) -> float:
    """The Mann-Kendall score: below 0 for falling values, normal with variance 1 without a trend.

    Args:
        values: Two at least.
    """
    count = len(values)
    signs = sum(
        (later > value) - (later < value)
        for place, value in enumerate(values)
        for later in values[place + 1 :]
    )
    return signs / math.sqrt(count * (count - 1) * (2 * count + 5) / 18)


def _learns_by_heart(steps: Sequence[Point], measured: Sequence[Point]) -> bool:
    if not measured:
        return False
    lowest_at, lowest = min(measured, key=lambda point: point[1])
    if measured[-1][1] <= lowest + max(_RISE_NATS, _RISE * lowest):
        return False
    since = [loss for step, loss in steps if step > lowest_at]
    before = [loss for step, loss in steps if step <= lowest_at][-len(since) :]
    return bool(since and before) and statistics.fmean(since) < statistics.fmean(before)


def _is_no_righter(shares: Sequence[float]) -> bool:
    return len(shares) >= LEAST_MEASURED and shares[-1] <= shares[0] < 1

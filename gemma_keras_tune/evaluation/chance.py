"""What chance alone can do: how exactly a share is known, and whether two models differ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

_Z = 1.959963984540054  # the normal distribution's quantile of 0.975, for 95 % on both sides

_MOST_PAIRS = 10_000

SURE = 0.05
"""Differences that chance makes more rarely than this are told as such."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models on the same rows.

    Attributes:
        better: Rows on which the tuned model does better: with labels, that it alone gets right;
            otherwise, whose right answer costs it fewer nats.
        worse: Rows on which the base model does better.
    """

    better: int
    worse: int

    @property
    def p_value(self) -> float:
        """How likely so uneven a count is, to either side, if the models were equally good.

        The exact sign test on the rows that tell the models apart; with labels it is McNemar's.

        Source:
            McNemar 1947, Note on the sampling error of the difference between correlated
            proportions, doi:10.1007/BF02295996.
        """
        return _sign_test(self.better, self.worse)

    def rows_to_tell(self, rows: int) -> int | None:
        """How many rows would tell the two models apart if all were like those that were measured.

        It is the sign test that the verdict goes by, so the count is the fewest with which it comes
        below 0.05 for the same shares of rows better and worse. Other rows differ by chance, so
        with that many it comes below 0.05 about every other time.

        Args:
            rows: How many were measured.

        Returns:
            None if they tell it already, if as many are better as worse, and if 10,000 rows that
            differ would not be enough.
        """
        count, fewer = self.better + self.worse, min(self.better, self.worse)
        if self.better == self.worse or self.p_value < SURE:
            return None
        # For the normal distribution it is this many; the exact test asks for no fewer.
        likely = int((_Z * count / (count - 2 * fewer)) ** 2)
        for pairs in range(max(count + 1, likely), _MOST_PAIRS):
            less = -(-pairs * fewer // count)
            if _sign_test(less, pairs - less) < SURE:
                return -(-pairs * rows // count)
        return None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"better": self.better, "worse": self.worse, "p_value": self.p_value}


def share_interval(part: int, whole: int) -> tuple[float, float]:
    """The bounds between which the true share lies with a confidence of 95 %.

    Args:
        part: How many of the rows that were drawn are of the kind.
        whole: How many were drawn, at least 1.

    Raises:
        ValueError: If `whole` is below 1, or `part` isn't between 0 and `whole`.

    Source:
        Wilson 1927, Probable inference, the law of succession, and statistical inference,
        doi:10.1080/01621459.1927.10502953; without a correction for continuity.
    """
    if whole < 1 or not 0 <= part <= whole:
        raise ValueError(f"{part} of {whole} is no share")
    share, weight = part / whole, _Z * _Z / whole
    middle = share + weight / 2
    spread = _Z * math.sqrt((share * (1 - share) + weight / 4) / whole)
    low, high = ((middle + side * spread) / (1 + weight) for side in (-1, 1))
    return (low if part else 0.0), (high if part < whole else 1.0)


def _sign_test(one: int, other: int) -> float:
    """Twice the chance that at most `min(one, other)` of so many fair coins show heads."""
    count, fewer = one + other, min(one, other)
    if one == other:
        return 1.0
    logs = (
        math.lgamma(count + 1) - math.lgamma(heads + 1) - math.lgamma(count - heads + 1)
        for heads in range(fewer + 1)
    )
    return min(1.0, 2 * math.fsum(math.exp(log - count * math.log(2)) for log in logs))

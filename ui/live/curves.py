"""Curves that grow at their end, lose their end when steps are done again, and are thinned out."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_right
from collections.abc import Sequence


class Curve:
    """Points with rising x.

    Attributes:
        version: Rises when points that somebody may have seen already are gone.
    """

    def __init__(self) -> None:
        self.version = 0
        self._x, self._y = array("d"), array("d")

    def __len__(self) -> int:
        return len(self._x)

    @property
    def last(self) -> float | None:
        """The newest value, or None."""
        return self._y[-1] if self._y else None

    def add(self, x: float, y: float | None) -> None:
        """Puts a point at the end; what lies at or beyond `x` is replaced by it."""
        if self._x and x <= self._x[-1]:
            self.cut_after(math.nextafter(x, -math.inf))
        self._x.append(x)
        self._y.append(math.nan if y is None else y)

    def cut_after(self, x: float) -> None:
        """Takes away all points beyond `x`."""
        keep = bisect_right(self._x, x)
        if keep < len(self._x):
            del self._x[keep:], self._y[keep:]
            self.version += 1

    def since(self, place: int) -> tuple[list[float], list[float | None]]:
        """The points from that place on, as JSON takes them."""
        return list(self._x[place:]), [_plain(y) for y in self._y[place:]]

    def spread(self, most: int) -> list[tuple[float, float]]:
        """At most `most` points at even distances, without those that are no number."""
        places = range(0, len(self._x), max(1, -(-len(self._x) // most)))
        points = ((self._x[at], self._y[at]) for at in places)
        return [(x, y) for x, y in points if math.isfinite(y)]

    def thinned(self, most: int) -> tuple[list[float], list[float | None]]:
        """At most about `most` points that look like all of them.

        Of each part of the curve the lowest and the highest point are kept, in their order, and
        the first and the last of all; so no peak is lost.
        """
        places = _kept_places(self._y, most)
        return [self._x[at] for at in places], [_plain(self._y[at]) for at in places]


def _kept_places(values: Sequence[float], most: int) -> list[int]:
    count = len(values)
    if count <= most:
        return list(range(count))
    parts = max(1, (most - 2) // 2)
    kept = {0, count - 1}
    for part in range(parts):
        places = range(count * part // parts, count * (part + 1) // parts)
        whole = [at for at in places if math.isfinite(values[at])]
        broken = [at for at in places if not math.isfinite(values[at])]
        kept.update(broken[:1])  # a gap stays a gap
        if whole:
            kept.add(min(whole, key=values.__getitem__))
            kept.add(max(whole, key=values.__getitem__))
    return sorted(kept)


def _plain(value: float) -> float | None:
    """JSON has no NaN; Plotly draws null as a gap."""
    return value if math.isfinite(value) else None

"""How many streams one person may hold open at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from ..identity.refusals import TooManyRequests

MOST = 50


class StreamLimits:
    """Counts the open streams of everybody.

    Args:
        most: How many one person may have.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    def check(self, user_id: str) -> None:
        """Returns if this person may open one more.

        Raises:
            TooManyRequests: `TOO_MANY_STREAMS`.
        """
        if self._open[user_id] >= self._most:
            raise TooManyRequests(
                f"You follow {self._most} streams of events, which is the most. Close one.",
                code="TOO_MANY_STREAMS",
                retry_after_s=5,
            )

    @contextmanager
    def open(self, user_id: str) -> Iterator[None]:
        """Counts one stream until the block ends."""
        self._open[user_id] += 1
        try:
            yield
        finally:
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]

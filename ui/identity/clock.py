"""The clocks that identity reads, so that a test can hand in its own."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""The wall clock: an aware time. Sessions and tokens end by it, also across a reboot."""

Monotonic = Callable[[], float]
"""Seconds that never jump or go back, for what lives in this process only."""


def utc_now() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)

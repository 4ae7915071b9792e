"""The time that leases count in: seconds that never jump, of one boot of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from gemma_keras_tune.locks import boot_id


@dataclass(frozen=True)
class Moment:
    """A point in time that can be compared with others of the same boot only.

    Attributes:
        boot: Which boot of the machine `seconds` count from.
        seconds: Monotonic seconds; setting the clock doesn't move them.
    """

    boot: str
    seconds: float


Clock = Callable[[], Moment]


def machine_clock() -> Clock:
    """The machine's own monotonic clock."""
    boot = boot_id()
    return lambda: Moment(boot, time.monotonic())


def wall_time() -> datetime:
    """Now, for people to read; nothing is decided by it."""
    return datetime.now(UTC)

"""How often something may be tried: a sliding window for each key, and a growing delay.

Counts live in this process, which is the only one that serves a data root. The clock is monotonic:
setting the wall clock back or forth opens no window.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict, deque
from dataclasses import dataclass

from .clock import Monotonic
from .refusals import TooManyRequests

_MOST_KEYS = 50_000  # a flood of made-up names must not fill the memory: the oldest are forgotten
_FORGET_AFTER_S = 900.0
_LONGEST_DELAY_S = 60.0  # no hard lock: whoever fails for somebody else delays them by this much


class Window:
    """At most `count` times in `seconds`, for each key.

    Args:
        count: How often.
        seconds: In how long.
        clock: Monotonic seconds.
    """

    def __init__(self, count: int, seconds: float, *, clock: Monotonic = time.monotonic) -> None:
        self._count, self._seconds, self._clock = count, seconds, clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, key: str) -> float:
        """Seconds until another hit is allowed; 0 if it is now."""
        times = self._current(key)
        if len(times) < self._count:
            return 0.0
        return max(0.0, times[-self._count] + self._seconds - self._clock())

    def hit(self, key: str) -> None:
        """Counts one."""
        self._current(key).append(self._clock())
        while len(self._times) > _MOST_KEYS:
            self._times.popitem(last=False)

    def forget(self, key: str) -> None:
        """Starts anew for one key."""
        self._times.pop(key, None)

    def _current(self, key: str) -> deque[float]:
        times = self._times.setdefault(key, deque(maxlen=self._count))
        self._times.move_to_end(key)
        while times and times[0] <= self._clock() - self._seconds:
            times.popleft()
        return times


@dataclass
class _Failures:
    count: int
    until: float


class SignInLimits:
    """Five tries a minute for an account, twenty for an address, and a delay that doubles.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, *, clock: Monotonic = time.monotonic) -> None:
        self._clock = clock
        self._by_account = Window(5, 60, clock=clock)
        self._by_address = Window(20, 60, clock=clock)
        self._failures: OrderedDict[str, _Failures] = OrderedDict()

    def enter(self, account: str, address: str) -> None:
        """Counts one try, before the password is looked at.

        Raises:
            TooManyRequests: If it is too early; it isn't counted then.
        """
        address = _network(address)
        failed = self._failures.get(account)
        delay = max(0.0, failed.until - self._clock()) if failed else 0.0
        wait = max(self._by_account.wait_s(account), self._by_address.wait_s(address), delay)
        if wait > 0:
            raise too_many(wait, "sign-in attempts", code="TOO_MANY_SIGN_INS")
        self._by_account.hit(account)
        self._by_address.hit(address)

    def failed(self, account: str) -> None:
        """Notes a wrong password: from the third in a row on, the next try must wait longer."""
        known = self._failures.pop(account, _Failures(0, 0.0))
        is_old = known.until + _FORGET_AFTER_S < self._clock()
        count = 1 if is_old else known.count + 1
        delay = min(2.0 ** min(count - 2, 10), _LONGEST_DELAY_S) if count > 2 else 0.0
        self._failures[account] = _Failures(count, self._clock() + delay)
        while len(self._failures) > _MOST_KEYS:
            self._failures.popitem(last=False)

    def succeeded(self, account: str) -> None:
        """Notes a right password: the account starts anew."""
        self._failures.pop(account, None)
        self._by_account.forget(account)


class ApiLimits:
    """How many requests one principal may send.

    Args:
        per_minute: Requests a minute.
        clock: Monotonic seconds.
    """

    def __init__(self, per_minute: int = 600, *, clock: Monotonic = time.monotonic) -> None:
        self._window = Window(per_minute, 60, clock=clock)

    def enter(self, who: str) -> None:
        """Counts one request of `who`: a user's id, or an address.

        Raises:
            TooManyRequests: If it is one too many.
        """
        if wait := self._window.wait_s(who):
            raise too_many(wait, "requests", code="TOO_MANY_REQUESTS")
        self._window.hit(who)


def _network(address: str) -> str:
    """The address, or the part of an IPv6 one that its owner can't change at will."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if known.version == 4:
        return str(known)
    return str(ipaddress.ip_network((known.packed[:8] + bytes(8), 64)))


def too_many(wait_s: float, what: str, *, code: str) -> TooManyRequests:
    """The refusal that says when to try again."""
    seconds = max(1, math.ceil(wait_s))
    return TooManyRequests(
        f"Too many {what}. Try again in {seconds} s.", code=code, retry_after_s=seconds
    )

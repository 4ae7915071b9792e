"""Numbers, times and sizes as the reader of a page writes them.

The browser says in a cookie which locale and time zone it has (see `pages/frame.py`); before it
has, the request's `Accept-Language` and UTC are taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from urllib.parse import unquote
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_datetime
from babel.numbers import format_decimal, format_percent, format_scientific, get_decimal_symbol

COOKIE = "gkt-reader"
"""Holds `LOCALE,ZONE`, such as `de-DE,Europe/Berlin`."""

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_LONGEST = 100


@dataclass(frozen=True)
class Reader:
    """How somebody writes numbers and times.

    Attributes:
        locale: Which signs and names they use.
        zone: Their time zone.
    """

    locale: Locale
    zone: tzinfo

    def number(self, value: float | None, *, digits: int = 0) -> str:
        """A number with at most `digits` decimals; a dash if there is none."""
        if value is None or not math.isfinite(value):
            return "\u2013" if value is None else str(value)
        if value != 0 and abs(value) < 10**-digits:
            return str(format_scientific(value, format="0.##E0", locale=self.locale))
        pattern = "#,##0" + ("." + "#" * digits if digits else "")
        return _decimal(value, pattern, self.locale)

    def plain(self, value: object) -> str:
        """A setting as its field has it, all its digits and no groups; other things as they are."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return str(value)
        digits = f"{value:.12f}".rstrip("0") if 1e-9 < abs(value) < 1 else f"{value:.10g}"
        return digits.replace(".", get_decimal_symbol(self.locale))

    def typed(self, text: str) -> float | int | None:
        """The number that somebody typed, with their own decimal sign or a point; None for nothing.

        Raises:
            ValueError: If it is none.
        """
        sign, plain = get_decimal_symbol(self.locale), text.strip()
        if not plain:
            return None
        if "." not in plain:
            plain = plain.replace(sign, ".", 1)
        return int(plain) if plain.isdecimal() else float(plain)

    def percent(self, share: float | None, *, digits: int = 1) -> str:
        """A share between 0 and 1 in hundredths; a dash if there is none."""
        if share is None or not math.isfinite(share):
            return "\u2013"
        pattern = "#,##0" + ("." + "0" * digits if digits else "") + "%"
        return str(format_percent(share, format=pattern, locale=self.locale))

    def size(self, size_bytes: float | None) -> str:
        """A number of bytes in decimal units, with three digits that count."""
        if size_bytes is None:
            return "\u2013"
        value, unit = float(size_bytes), 0
        while abs(value) >= 999.5 and unit < len(_UNITS) - 1:
            value, unit = value / 1000, unit + 1
        digits = 0 if unit == 0 or abs(value) >= 99.95 else 1 if abs(value) >= 9.995 else 2
        return f"{self.number(value, digits=digits)}\u00a0{_UNITS[unit]}"

    def time(self, when: datetime | None, *, seconds: bool = False) -> str:
        """Day and time in the reader's zone; a dash if there is none."""
        if when is None:
            return "\u2013"
        style = "medium" if seconds else "short"
        return str(format_datetime(when, style, tzinfo=self.zone, locale=self.locale))

    def duration(self, seconds: float | None) -> str:
        """Hours, minutes and seconds, with as many parts as are of use."""
        if seconds is None or not math.isfinite(seconds):
            return "\u2013"
        if seconds < 9.95:
            return f"{self.number(max(0.0, round(seconds, 1)), digits=1)} s"
        whole = round(seconds)
        hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
        if hours:
            return f"{self.number(hours)} h {minutes:02} min"
        return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def reader_of(headers: Mapping[str, str], cookies: Mapping[str, str]) -> Reader:
    """How whoever sent a request with these headers and cookies writes numbers and times."""
    named, _, zone = unquote(cookies.get(COOKIE, ""))[:_LONGEST].partition(",")
    asked = [part.partition(";")[0] for part in headers.get("accept-language", "").split(",")]
    locale = next((found for name in (named, *asked) if (found := _locale(name))), Locale("en"))
    return Reader(locale, _zone(zone))


@lru_cache(maxsize=4096)  # all who watch a run are shown the same numbers
def _decimal(value: float, pattern: str, locale: Locale) -> str:
    return str(format_decimal(value, format=pattern, locale=locale))


def _locale(name: str) -> Locale | None:
    try:
        return Locale.parse(name.strip()[:_LONGEST], sep="-") if name.strip() else None
    except (UnknownLocaleError, ValueError, TypeError):
        return None


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name) if name else UTC
    except (OSError, ValueError):  # no such zone, or no name of one
        return UTC

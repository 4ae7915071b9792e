"""A failed save or restore says what is wrong once, not in a thousand lines."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def one_error_only() -> Iterator[None]:
    """While this is open, Orbax reports a failure by its exception alone.

    Orbax 0.12.8 logs the exception that it is about to raise, with its traceback, and closes its
    event loop while TensorStore still has writes under way. Each of these then prints that the
    loop is closed, some of them later: 42 arrays on a full disk make more than a thousand lines.
    """
    _drop_reports_of_closed_loops()
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _drop_reports_of_closed_loops() -> None:
    """Installs the filters for what is printed later, by threads and by the garbage collector."""
    logging.getLogger("asyncio").addFilter(_is_not_of_orbax)  # adding it again does nothing
    current = sys.unraisablehook
    if getattr(current, "is_ours", False):
        return

    def hook(report: Any) -> None:
        if str(report.exc_value) != "Event loop is closed":
            current(report)

    hook.is_ours = True  # type: ignore[attr-defined]
    sys.unraisablehook = hook


def _is_not_of_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.getMessage()

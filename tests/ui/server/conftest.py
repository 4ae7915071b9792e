"""What a browser test leaves behind when it fails: the page's text, and the server's last lines."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from typing import Any

import pytest

_LINES = 40


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: Any
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.when == "call":
        arguments = getattr(item, "funcargs", {})
        with suppress(Exception):  # the page may be gone
            report.sections.append(("the page's text", arguments["page"].inner_text("body")))
        with suppress(Exception):  # and so may the log
            lines = arguments["server"].log.read_text(encoding="utf-8").splitlines()
            report.sections.append(("the server's log", "\n".join(lines[-_LINES:])))
    return report

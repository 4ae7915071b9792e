"""The server's logging, set up for a while and put back."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

from gemma_keras_tune_ui import logs
from gemma_keras_tune_ui.settings import LogSettings


class Terminal(io.StringIO):
    """A stream that says whether it is one."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@contextmanager
def logging_to(stream: Terminal, settings: LogSettings) -> Iterator[None]:
    root, access = logging.getLogger(), logging.getLogger("uvicorn.access")
    before = root.handlers[:], root.level
    # A test that ran uvicorn in this process has set its level, which would count here too.
    levels = {name: logging.getLogger(name).level for name in ("uvicorn", "uvicorn.error")}
    for name in levels:
        logging.getLogger(name).setLevel(logging.NOTSET)
    try:
        with redirect_stderr(stream):
            logs.set_up(settings)
            ours = root.handlers[0]
        yield
    finally:
        root.removeHandler(ours)
        root.handlers[:] = list(dict.fromkeys([*root.handlers, *before[0]]))
        root.setLevel(before[1])
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        access.disabled = False

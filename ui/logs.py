"""Structured logs on standard error, one line an event, from which secrets are taken out.

What is logged goes through `without_secrets` last of all, tracebacks too. Rotating and keeping
the lines is left to what the server runs under.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from .settings import LogSettings

HIDDEN = "[hidden]"

_SECRET_NAME = re.compile(
    r"(?i)passw|secret|token|cookie|authorization|credential|api_?key|private_?key|csrf|otp\b|setup_code"
)
_SECRET_TEXT = (
    (re.compile(r"\bgkt_[A-Za-z0-9_-]{8,}"), HIDDEN),  # our own tokens
    (re.compile(r"\bhf_[A-Za-z0-9]{8,}"), HIDDEN),
    (re.compile(r"\bya29\.[A-Za-z0-9_.-]+"), HIDDEN),  # Google's
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=_.~-]{6,}"), rf"\1 {HIDDEN}"),
    (re.compile(r"(://[^/\s:@]*):[^/\s@]+@"), rf"\1:{HIDDEN}@"),
    (re.compile(r"(?i)((?:set-)?cookie['\"]?\s*[:=]\s*)[^\r\n]+"), rf"\1{HIDDEN}"),
    (
        re.compile(
            r"(?i)((?:passw\w*|secret|token|api_?-?key)['\"]?\s*[:=]\s*['\"]?)[^&\s\"'#,)}]+"
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)([?&](?:code|key|state)=)[^&\s\"'#]+"), rf"\1{HIDDEN}"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END|$)", re.DOTALL), HIDDEN),
)
_DEEPEST = 6

# Seen in NiceGUI and engine.io when a page is left while its socket connects; nothing is broken.
_NOISE = re.compile(
    r"packet queue is empty, aborting|KeyError: '?REQUEST_METHOD|^post request handler error$"
    r"|^Event loop is running too slow"
    # Sockets, by uvicorn and with their query; `requests.RequestLog` logs them without.
    r'|^\S+ - "WebSocket .*" |^connection (?:open|closed|rejected)\b'
)
# The start was refused for a reason that the command line tells in one line.
_REFUSED_START = re.compile(r"\ATraceback .*\ngemma_keras_tune[\w.]*\.errors\.\w+: ", re.DOTALL)
_QUIET = ("engineio", "socketio", "httpx", "httpcore", "asyncio", "alembic", "watchfiles", "limits")


def set_up(settings: LogSettings) -> None:
    """Sends everything that this process logs to standard error, in one shape."""
    for_people = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    level = getattr(logging, settings.level.upper())
    structlog.configure(
        processors=[*_shared(), structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(for_people=for_people))
    handler.addFilter(_is_no_noise)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.getLogger("uvicorn.access").disabled = True  # `requests.RequestLog` does it


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Where a part of the server logs: `logger("jobs").info("job_started", job=id)`."""
    found: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return found


def without_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The event with everything hidden that is a secret by its name or by its look."""
    return {key: _clean(value, key) for key, value in event.items()}


def clean_text(text: str) -> str:
    """A text with everything hidden that looks like a secret."""
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


def _clean(value: Any, name: str = "", depth: int = 0) -> Any:
    if _SECRET_NAME.search(name):
        return HIDDEN
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int | float) or value is None:
        return value
    if depth >= _DEEPEST:
        return HIDDEN
    if isinstance(value, Mapping):
        return {str(key): _clean(inner, str(key), depth + 1) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(inner, "", depth + 1) for inner in value]
    return clean_text(str(value))


def _shared() -> list[structlog.typing.Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]


def _formatter(*, for_people: bool) -> logging.Formatter:
    last: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if for_people
        else structlog.processors.JSONRenderer(ensure_ascii=True)
    )
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *_shared()],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            without_secrets,
            last,
        ],
    )


def _is_no_noise(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    if record.exc_info and record.exc_info[1] is not None:
        text += f"\n{type(record.exc_info[1]).__name__}: {record.exc_info[1]}"
    return not _NOISE.search(text) and not _REFUSED_START.search(text)

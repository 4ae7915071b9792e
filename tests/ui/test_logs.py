"""Logs: what a line looks like, and what never stands in one."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui import logs
from gemma_keras_tune_ui.settings import LogSettings
from tests.support.log_lines import Terminal, logging_to

CANARY = "c4n4ry7f3ab2"


@pytest.fixture
def lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """A function that gives the JSON lines logged so far."""
    stream = Terminal(is_terminal=False)
    with logging_to(stream, LogSettings(level="debug")):
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_time_level_and_logger(lines):
    logs.logger("jobs").warning("job_died", job="j1", tries=2)
    (line,) = lines()
    assert line["event"] == "job_died" and line["job"] == "j1" and line["tries"] == 2
    assert line["level"] == "warning" and line["logger"] == "jobs"
    assert line["time"].endswith("Z")


def test_a_text_with_line_breaks_and_escapes_cannot_forge_a_second_line(lines):
    logs.logger("x").info("request", path='/a\n{"event": "forged"}\x1b[31m\u2028')
    (line,) = lines()
    assert line["event"] == "request" and "forged" in line["path"]


@pytest.mark.parametrize(
    "text",
    [
        f"Authorization: Bearer {CANARY}",
        f"cookie: __Host-gkt={CANARY}; other=1",
        f"set-cookie: gkt={CANARY}; Path=/",
        f"{{'Cookie': 'gkt={CANARY}'}}",
        f"token gkt_{CANARY}{CANARY}",
        f"hf_{CANARY}",
        f"postgresql+asyncpg://tune:{CANARY}@db/tune",
        f"/setup?code={CANARY}&x=1",
        f"/cb?state={CANARY}",
        f"name=ann&password={CANARY}",
        f"{{'x-api-key': '{CANARY}', 'b': 1}}",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_secret_is_hidden_in_texts_lists_and_tracebacks(lines, text):
    log = logs.logger("x")
    log.info(text, note=text, inside={"list": [text, {"deep": text}]})
    logging.getLogger("other").error("said %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        log.exception("failed")
    found = lines()
    assert len(found) == 3
    assert CANARY not in json.dumps(found)
    assert "ValueError" in found[2]["exception"]


@pytest.mark.parametrize(
    "name", ["password", "new_password", "client_secret", "Cookie", "api_key", "setup_code", "csrf"]
)
def test_what_is_called_a_secret_is_hidden_whatever_it_looks_like(lines, name):
    logs.logger("x").info("event", **{name: CANARY}, inside={name: {"a": CANARY}})
    assert CANARY not in json.dumps(lines())


def test_objects_that_show_themselves_are_cleaned_too(lines):
    class Loud:
        def __repr__(self) -> str:
            return f"Loud(token={CANARY})"

    logs.logger("x").info("event", thing=Loud(), many=(Loud(),))
    assert CANARY not in json.dumps(lines())


def test_known_noise_is_left_out_and_everything_else_is_not(lines):
    engine = logging.getLogger("engineio.server")
    engine.error("packet queue is empty, aborting")
    try:
        raise KeyError("REQUEST_METHOD")
    except KeyError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    try:
        raise KeyError("other")
    except KeyError:
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application")
    assert ["other" in line["exception"] for line in lines()] == [True]


def test_a_refused_start_is_told_by_the_command_line_alone(lines):
    try:
        raise TuneError("the root is taken", code="SERVER_RUNNING")
    except TuneError:
        logging.getLogger("uvicorn.error").error(traceback.format_exc())
    try:
        raise OSError("a fault")
    except OSError:
        logging.getLogger("uvicorn.error").error(traceback.format_exc())
    (line,) = lines()
    assert "a fault" in line["event"]


def test_on_a_terminal_lines_are_for_people():
    stream = Terminal(is_terminal=True)
    with logging_to(stream, LogSettings()):
        logs.logger("x").info("hello", password=CANARY)
    text = stream.getvalue()
    assert "hello" in text and not text.startswith("{") and CANARY not in text

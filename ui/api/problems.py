"""What the API answers when something is wrong: one shape, made in one place, never a traceback."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from gemma_keras_tune.errors import TuneError

from ..gate.answers import Refused
from ..identity.refusals import Refusal, TooManyRequests
from ..logs import logger

PREFIX = "/api/v1"
_LONGEST = 500  # characters of a value that is told back

_CONFLICTS = frozenset(
    {
        "DATASET_IN_USE",
        "JOB_CANT_PAUSE",
        "JOB_EXISTS",
        "JOB_KEY_REUSED",
        "JOB_LOCKED",
        "JOB_NOT_ENDED",
        "JOB_NOT_PAUSED",
        "JOB_NOT_QUEUED",
        "MEMBER_ALREADY",
        "NOT_RUNNING",
        "QUOTA_DISK",
        "QUOTA_QUEUED_JOBS",
        "ADOPT_TWICE",
        "RUN_IN_USE",
        "RUN_LOCKED",
    }
)
_MISSING = frozenset({"JOB_NOT_FOUND", "RUN_NOT_FOUND", "RECIPE_NOT_FOUND"})
_FULL = frozenset({"NEEDS_SPACE"})
_OURS = frozenset(
    {
        "CONTROL_NOT_WRITABLE",
        "JOB_NOT_WRITABLE",
        "JOB_RESULT",
        "ROOT_NOT_WRITABLE",
        "RUN_FILE",
        "RUN_NOT_WRITABLE",
        "VAULT_KEY_LOST",
    }
)
"""What only whoever runs the server can mend; the texts name its files, so they are only logged."""


class Flaw(BaseModel):
    """One thing that is wrong with what was sent."""

    key: str = Field(examples=["train.epochs"])
    """Where, with dots between the parts; empty if it is about the whole."""
    message: str = Field(examples=["Input should be less than or equal to 1000; got 5000."])
    """What is wrong there, and what works."""


class Problem(BaseModel):
    """Why a request was refused. Programs go by `code`, which stays; `message` is for people."""

    code: str = Field(examples=["JOB_KEY_REUSED"])
    """A stable upper-case code."""
    message: str = Field(examples=["The key 'a1' was used before, with other arguments."])
    """What is wrong, and what to do."""
    request_id: str = Field(examples=["6fd2c1a09be3f417"])
    """Under this id the server's log has the request."""
    problems: list[Flaw] = []
    """All that is wrong, where it is several things."""


REFUSALS: Mapping[int | str, dict[str, Any]] = MappingProxyType(
    {
        "4XX": {"model": Problem, "description": "Refused, and why."},
        507: {"model": Problem, "description": "The server's disk is full."},
    }
)
"""What every route can answer beside its own answers."""


def register(app: FastAPI) -> None:
    """Lets the app answer all errors that the routes raise."""
    app.add_exception_handler(TuneError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)


def answer(request: Request, error: TuneError) -> JSONResponse:
    """The answer to a request that met `error`."""
    status, headers = status_of(error), {}
    if isinstance(error, Refused):
        headers = dict(error.headers)
    elif isinstance(error, TooManyRequests):
        headers = {"Retry-After": str(error.retry_after_s)}
    code, message = error.code or "INVALID", str(error)
    if status == 500:
        logger("http").error("server_problem", code=code, error=message)
        message = "Something is wrong on the server. Whoever runs it finds it in the log."
    flaws = flaws_of(error) if status != 500 else []
    return _answer(request, status, code, _first_line(message, flaws), flaws, headers)


def status_of(error: TuneError) -> int:
    """The HTTP status that says what kind of error it is."""
    if isinstance(error, Refusal):
        return error.status
    for status, codes in ((409, _CONFLICTS), (404, _MISSING), (507, _FULL), (500, _OURS)):
        if error.code in codes:
            return status
    return 422


def flaws_of(error: TuneError) -> list[Flaw]:
    """What a message lists line by line, as the checks of recipes and jobs do."""
    lines = str(error).split("\n")[1:]
    if not lines or not all(line.startswith("  ") for line in lines):
        return []
    return [_flaw(line.strip()) for line in lines]


def _flaw(line: str) -> Flaw:
    key, colon, message = line.partition(": ")
    is_key = bool(colon) and " " not in key
    return Flaw(key=key, message=message) if is_key else Flaw(key="", message=line)


def _first_line(message: str, flaws: Sequence[Flaw]) -> str:
    return message.split("\n")[0] if flaws else message


async def _on_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, TuneError):
        raise error
    return answer(request, error)


async def _on_invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    flaws = [_of_entry(entry) for entry in error.errors()]
    number = "1 problem" if len(flaws) == 1 else f"{len(flaws)} problems"
    return _answer(request, 422, "INVALID", f"The request has {number}.", flaws, {})


async def _on_http(request: Request, error: Exception) -> Response:
    """What the framework refuses by itself, such as a body that is no text at all."""
    if not isinstance(error, HTTPException):
        raise error
    if not request.url.path.startswith(f"{PREFIX}/"):
        return await http_exception_handler(request, error)
    refused = Refused(
        error.status_code, "INVALID", f"{error.detail}.", headers=dict(error.headers or {})
    )
    return answer(request, refused)


def _of_entry(entry: Mapping[str, Any]) -> Flaw:
    """One of pydantic's errors in a person's words, without what must not be told back."""
    place, *parts = entry["loc"]
    key = ".".join(str(part) for part in parts) if parts else str(place)
    if entry["type"] == "missing":
        return Flaw(key=key, message="is missing.")
    if entry["type"] == "extra_forbidden":
        return Flaw(key=key, message="There is no such field.")
    if entry["type"] == "json_invalid":
        return Flaw(key="", message="The body is no valid JSON.")
    message = str(entry["msg"]).removeprefix("Value error, ")[:_LONGEST]
    return Flaw(key=key, message=f"{_printable(message)}.")


def _answer(
    request: Request,
    status: int,
    code: str,
    message: str,
    flaws: Sequence[Flaw],
    headers: Mapping[str, str],
) -> JSONResponse:
    problem = Problem(
        code=code,
        message=_printable(message),
        request_id=getattr(request.state, "request_id", ""),
        problems=[
            Flaw(key=_printable(flaw.key)[:_LONGEST], message=_printable(flaw.message))
            for flaw in flaws
        ],
    )
    return JSONResponse(problem.model_dump(exclude_defaults=True), status, headers=dict(headers))


def _printable(text: str) -> str:
    """Text without lone surrogates, which UTF-8 can't hold."""
    return text.encode("utf-8", "replace").decode()

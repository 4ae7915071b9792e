"""What the gate and the uploads say when they refuse: a status, a code, and what works instead."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..identity.refusals import Refusal, TooManyRequests


class Refused(Refusal):
    """A request that isn't let through, or an upload that isn't taken.

    Args:
        status: The HTTP status of the answer.
        code: A stable upper-case code for programs.
        message: What is wrong and what works.
        headers: Headers of the answer, such as `Retry-After`.
    """

    def __init__(
        self, status: int, code: str, message: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, code=code)
        self.status = status
        self.headers = dict(headers or {})


def answer_to(error: Refusal, *, request_id: str = "") -> JSONResponse:
    """The answer to a refused request: `{"code", "message", "request_id"}`."""
    body = {"code": error.code, "message": str(error), "request_id": request_id}
    headers = dict(error.headers) if isinstance(error, Refused) else {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after_s)
    return JSONResponse(body, error.status, headers=headers)


def answer_refusals(app: Starlette) -> None:
    """Lets an app answer every `Refusal` that its routes raise."""

    async def handler(request: Request, error: Exception) -> Response:
        if not isinstance(error, Refusal):
            raise error
        return answer_to(error, request_id=getattr(request.state, "request_id", ""))

    app.add_exception_handler(Refusal, handler)

"""What is kept of every request: a line in the log and a count, under an id that the answer names.

A path is logged without its query, and a route by its template: neither a secret in a URL nor an
endless set of names gets through.
"""

from __future__ import annotations

import secrets
import time
from typing import Any

import structlog
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .logs import logger
from .metrics import Metrics

_LONGEST_PATH = 200
_QUIET = ("/healthz", "/readyz", "/metrics")
_UNKNOWN = "(none)"


class RequestLog:
    """Logs and counts what comes in and how it was answered. It changes nothing but one header.

    Args:
        app: What answers.
        metrics: Where requests are counted.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._log = logger("http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request or socket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        seen: dict[str, Any] = {"status": 0}

        async def sending(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                seen["status"] = message["status"]
                header = (b"x-request-id", request_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), header]}
            elif message["type"] == "websocket.accept":
                seen["status"] = 101
            elif message["type"] == "websocket.close" and not seen["status"]:
                seen["status"] = 403
            await send(message)

        begun = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, sending)
            finally:
                self._keep(scope, seen["status"], time.perf_counter() - begun)

    def _keep(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope.get("method", "WEBSOCKET")
        route = _template(scope)
        self._metrics.request(method, route, status, seconds, is_socket=scope["type"] != "http")
        log = self._log.debug if scope["path"] in _QUIET and status < 400 else self._log.info
        log(
            "request",
            method=method,
            path=scope["path"][:_LONGEST_PATH],
            status=status,
            ms=round(seconds * 1000, 1),
            client=(scope.get("client") or ("",))[0],
        )


class Failures:
    """Turns an error of ours into an answer that says nothing but an id to find it by.

    It stands right in front of the routes, so that what stands further out sees an answer.

    Args:
        app: The routes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log = logger("http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request or socket."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        begun = False

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        state = scope.setdefault("state", {})
        try:
            await self._app(scope, receive, sending)
        except Exception:  # the edge of a request: the log gets it, the asker an id
            self._log.exception("request_failed", path=scope["path"][:_LONGEST_PATH])
            if scope["type"] == "http" and not begun:
                await failure(state.get("request_id", ""))(scope, receive, send)
        finally:
            state["route"] = scope.get("route")


def failure(request_id: str) -> Response:
    """The answer to a request that met a fault of ours."""
    return PlainTextResponse(
        "Something went wrong here. It is a fault of the server, not of what you asked.\n"
        f"Whoever runs it finds it in the log under request_id {request_id}.\n",
        status_code=500,
    )


def _template(scope: Scope) -> str:
    """The route that answered, by its template, such as `/api/v1/jobs/{id}`."""
    path = scope["path"]
    if path.startswith("/_nicegui_ws"):
        return "/_nicegui_ws"
    if path.startswith("/_nicegui"):
        return "/_nicegui"
    template = getattr(scope["state"].get("route"), "path", None)
    return template if isinstance(template, str) and template else _UNKNOWN

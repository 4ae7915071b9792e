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
_NICEGUI = ("/_nicegui_ws", "/_nicegui")


class RequestLog:
    """Logs and counts what comes in and how it was answered. It adds one header.

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
        seen: dict[str, Any] = {"status": 0, "route": None}
        state = {**scope.get("state", {}), "request_id": request_id, "seen": seen}

        async def sending(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                seen["status"] = message["status"]
                name = (b"x-request-id", request_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), name]}
            elif message["type"] == "websocket.accept":
                seen["status"] = 101
            elif message["type"] == "websocket.close" and not seen["status"]:
                seen["status"] = 403
            await send(message)

        begun = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app({**scope, "state": state}, receive, sending)
            finally:
                self._keep(scope, seen, time.perf_counter() - begun)

    def _keep(self, scope: Scope, seen: dict[str, Any], seconds: float) -> None:
        method, status = scope.get("method", "WEBSOCKET"), seen["status"]
        route = _template(scope["path"], seen["route"])
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
        begun = gone = False

        async def receiving() -> Message:
            nonlocal gone
            message = await receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        async def sending(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        state = scope.get("state", {})
        try:
            await self._app(scope, receiving, sending)
        except Exception:  # noqa: BLE001  # the edge of a request: the log gets it, the asker an id
            if gone and not begun:  # a page that was left while it was made: nobody waits for it
                self._log.info("asker_gone", path=scope["path"][:_LONGEST_PATH])
                return
            self._log.exception("request_failed", path=scope["path"][:_LONGEST_PATH])
            if scope["type"] == "http" and not begun:
                await failure(state.get("request_id", ""))(scope, receive, send)
        finally:
            if "seen" in state:
                state["seen"]["route"] = scope.get("route")


def failure(request_id: str) -> Response:
    """The answer to a request that met a fault of ours."""
    return PlainTextResponse(
        "Something went wrong here. It is a fault of the server, not of what you asked.\n"
        f"Whoever runs it finds it in the log under request_id {request_id}.\n",
        status_code=500,
    )


def _template(path: str, route: Any) -> str:
    """The route that answered, by its template, such as `/api/v1/jobs/{id}`."""
    for prefix in _NICEGUI:
        if path.startswith(prefix):
            return prefix
    return getattr(route, "path", None) or _UNKNOWN

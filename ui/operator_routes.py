"""What an operator's tools ask: whether the server lives, whether it is ready, and its figures."""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from .identity.access import Action, authorize
from .metrics import CONTENT_TYPE
from .parts import parts_of


def register(app: FastAPI) -> None:
    """Adds the routes."""
    for path, answer in (("/healthz", _lives), ("/readyz", _is_ready), ("/metrics", _metrics)):
        app.add_api_route(path, answer, methods=["GET"], include_in_schema=False)


async def _lives(request: Request) -> Response:
    """The event loop turns. It says nothing about the database: a restart wouldn't mend that."""
    return JSONResponse({"status": "ok"})


async def _is_ready(request: Request) -> Response:
    checks = await parts_of(request).health.checks()
    is_ready = all(checks.values())
    said = {name: "ok" if good else "failed" for name, good in checks.items()}
    status = "ok" if is_ready else "failed"
    return JSONResponse({"status": status, "checks": said}, 200 if is_ready else 503)


async def _metrics(request: Request) -> Response:
    """Only for administrators of the server: by token for a scraper, or by session.

    Coming from this machine is not enough: behind a proxy that wasn't declared everybody does.
    """
    authorize(request.state.principal, Action.VIEW_SERVER)
    parts = parts_of(request)
    text = await parts.metrics.text(parts.store, children=parts.supervisor.running)
    return Response(text, media_type=CONTENT_TYPE)

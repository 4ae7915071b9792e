"""All routes of the API, put into the app, and what answers where there is none."""

from __future__ import annotations

from fastapi import FastAPI, Request
from starlette.responses import Response
from starlette.routing import Match, Route

from ..gate.answers import Refused
from . import (
    answered,
    artifacts,
    datasets,
    invitations,
    jobs,
    members,
    notices,
    openapi,
    problems,
    recipes,
    records,
    runs,
    session,
)
from .asking import Services
from .uploads import uploads_router

_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"]


def register(app: FastAPI) -> None:
    """Adds the API to the app; before the pages, which take every path that is left."""
    app.state.api = Services()
    problems.register(app)
    for router in (
        session.router,
        notices.router,
        recipes.router,
        uploads_router(app),
        datasets.router,
        jobs.router,
        answered.router,
        runs.router,
        artifacts.router,
        members.router,
        invitations.router,
        records.router,
        openapi.openapi_router(app),
    ):
        app.router.routes.extend(router.routes)  # whole, so that each can be listed and counted
    app.router.routes.append(Route("/api/{rest:path}", _nothing_here, methods=_METHODS))


async def _nothing_here(request: Request) -> Response:
    """Refuses what no route of the API answers, in the API's own words."""
    methods: set[str] = set()
    for route in request.app.routes:
        if openapi.is_of_api(route) and route.matches(request.scope)[0] is Match.PARTIAL:
            methods |= route.methods
    if not methods:
        raise Refused(404, "NOT_FOUND", "There is nothing here. GET /api/v1/docs lists all routes.")
    allowed = ", ".join(sorted(methods))
    raise Refused(405, "METHOD", f"This takes {allowed}.", headers={"Allow": allowed})

"""The gate's routes of uploads under the API, with a line in the audit log for each change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, cast

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.responses import JSONResponse, Response

from ..gate.upload_routes import upload_router
from ..gate.uploads import Uploads
from ..identity.access import Action
from .asking import asking, to
from .problems import PREFIX, REFUSALS

_NOTED = {"create": "upload.created", "finish": "upload.finished", "abort": "upload.aborted"}


def uploads_router(app: FastAPI) -> APIRouter:
    """The routes. The server's uploads are looked up at each request: now they aren't there yet."""
    inner = upload_router(cast(Uploads, _Later(app)))
    router = APIRouter(prefix=PREFIX, tags=["uploads"], responses={**REFUSALS})
    for route in inner.routes:
        if not isinstance(route, APIRoute):
            raise TypeError(f"the uploads have a route of another kind: {route!r}")
        router.add_api_route(
            route.path,
            _noted(route.name, route.endpoint),
            methods=sorted(route.methods or ()),
            status_code=route.status_code,
            name=f"{route.name}_upload",
            response_class=Response if "HEAD" in (route.methods or ()) else JSONResponse,
            dependencies=[Depends(to(Action.UPLOAD_DATA))],
        )
    return router


class _Later:
    """The uploads of a server that will have started by then."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def __getattr__(self, name: str) -> Any:
        return getattr(self._app.state.parts.uploads, name)


def _noted(name: str, endpoint: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """The endpoint, which then writes what it has changed; pieces are too many to be noted."""
    if name not in _NOTED:
        return endpoint

    @wraps(endpoint)
    async def doing(*args: Any, **kwargs: Any) -> Any:
        answer = await endpoint(*args, **kwargs)
        request: Request = kwargs["request"]
        id = kwargs.get("upload_id") or answer.id
        await (await asking(request)).note(_NOTED[name], id)
        return answer

    return doing

"""The API's own description: as OpenAPI for programs, and as a page that needs no script."""

from __future__ import annotations

from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from starlette.responses import HTMLResponse, JSONResponse, Response

from gemma_keras_tune import __version__

from .asking import Ask
from .problems import PREFIX

_ABOUT = (
    "Everything that the web app does, for programs. Send a personal token as `Authorization: "
    "Bearer gkt_…`; make one on the page of your account, or with POST /api/v1/tokens. With a "
    "browser's session instead, what changes something needs the header `X-GKT-Request: 1`. "
    "Refusals are JSON with a `code` that stays and a `message` for people."
)
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;"
    "color:#111827;background:#fff}code{font-family:ui-monospace,monospace}"
    "dt{margin-top:1rem;overflow-wrap:anywhere}dd{margin-left:1.5rem}"
    ".method{display:inline-block;min-width:4.5rem;font-weight:700}"
    "@media(prefers-color-scheme:dark){body{color:#f3f4f6;background:#111827}a{color:#93c5fd}}"
)


def openapi_router(app: FastAPI) -> APIRouter:
    """The two routes, about all routes of the API."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False)

    @router.get("/openapi.json")
    async def description(asked: Ask) -> Response:
        """Gives the API's description as OpenAPI 3.1."""
        return JSONResponse(schema_of(app))

    @router.get("/docs")
    async def page(asked: Ask) -> Response:
        """Shows it as a page."""
        return HTMLResponse(_page(schema_of(app)))

    return router


def schema_of(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document of an app, made once."""
    known: dict[str, Any] | None = getattr(app.state, "api_schema", None)
    if known is None:
        known = app.state.api_schema = _schema(app)
    return known


def _schema(app: FastAPI) -> dict[str, Any]:
    routes = [route for route in app.routes if is_of_api(route)]
    made = get_openapi(
        title="Gemma Keras Tune", version=__version__, description=_ABOUT, routes=routes
    )
    made["components"]["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer"},
        "session": {"type": "apiKey", "in": "cookie", "name": "gkt"},
    }
    made["security"] = [{"token": []}, {"session": []}]
    return made


def is_of_api(route: object) -> bool:
    """Whether a route belongs to the API."""
    return isinstance(route, APIRoute) and route.path.startswith(f"{PREFIX}/")


def _page(schema: dict[str, Any]) -> str:
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width, initial-scale=1'>",
        f"<title>API - Gemma Keras Tune</title><style>{_STYLE}</style></head><body>",
        f"<h1>API of Gemma Keras Tune</h1><p>{escape(_ABOUT)}</p>",
        f"<p>For programs: <a href='{PREFIX}/openapi.json'>{PREFIX}/openapi.json</a>",
        " (OpenAPI 3.1, with every field and its meaning).</p>",
    ]
    by_tag: dict[str, list[str]] = {}
    for path, methods in schema["paths"].items():
        for method, said in methods.items():
            by_tag.setdefault(said["tags"][0], []).append(_line(method, path, said))
    for tag, lines in by_tag.items():
        parts.append(f"<h2>{escape(tag.capitalize())}</h2><dl>{''.join(lines)}</dl>")
    return "".join([*parts, "</body></html>"])


def _line(method: str, path: str, said: dict[str, Any]) -> str:
    asked = ", ".join(f"<code>{escape(one['name'])}</code>" for one in said.get("parameters", []))
    takes = f"<br>Takes {asked}." if asked else ""
    body = said.get("requestBody", {}).get("content", {}).get("application/json", {})
    name = body.get("schema", {}).get("$ref", "").rpartition("/")[2]
    sends = f"<br>The body is a <code>{escape(name)}</code>." if name else ""
    return (
        f"<dt><code><span class=method>{method.upper()}</span> {escape(path)}</code></dt>"
        f"<dd>{escape(said.get('description', ''))}{takes}{sends}</dd>"
    )

"""A small app of NiceGUI and FastAPI behind the gate, served for real in a process of its own.

    python -m tests.ui.gate.app FOLDER

Prints its port. NiceGUI keeps one app a process, so that tests of the real one couldn't run beside
this one. Routes under `/test` are public and let a test look and act from outside.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from nicegui import Client, ui

from gemma_keras_tune_ui.gate.answers import answer_refusals
from gemma_keras_tune_ui.gate.clients import Clients, current_person
from gemma_keras_tune_ui.gate.downloads import download, file_in
from gemma_keras_tune_ui.gate.middleware import Gate
from gemma_keras_tune_ui.gate.rules import PUBLIC_PATHS, GateRules
from gemma_keras_tune_ui.gate.upload_quota import UploadLimits
from gemma_keras_tune_ui.gate.upload_routes import upload_router
from gemma_keras_tune_ui.gate.uploads import Uploads
from tests.support.databases import add_people, quick_sqlite
from tests.ui.gate.people import FakeSessions, FakeTokens

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
ALERT = "window.hacked = 1"
HOSTILE = [
    f"<script>{ALERT}</script>",
    f'<img src=x onerror="{ALERT}">',
    f"<svg><foreignObject><body onload='{ALERT}'></foreignObject></svg>",
    f"`${{{ALERT}}}` </script><script>{ALERT}</script>",
    f"{{{{constructor.constructor('{ALERT}')()}}}}",
    f"[x](javascript:{ALERT})",
]

lags: list[float] = [0.0]

TEST_PATHS = frozenset({"/test/state", "/test/end", "/test/expire", "/test/back", "/test/lag"})

sessions = FakeSessions()
clients = Clients(sessions, every_s=0.3)
state: dict[str, Any] = {"clicks": [], "user_of_click": [], "order": []}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    store = await quick_sqlite(FOLDER)
    await add_people(store)
    uploads = Uploads(store, FOLDER / "root", limits=UploadLimits(user_bytes=20 * 2**30))
    app.include_router(upload_router(uploads), prefix="/api/v1")
    app.router.routes.insert(0, app.router.routes.pop())  # before NiceGUI, which takes the rest
    clients.start()
    watcher = asyncio.create_task(_watch_lag())
    yield
    watcher.cancel()
    await clients.stop()
    await store.close()


async def _watch_lag() -> None:
    while True:
        begun = time.perf_counter()
        await asyncio.sleep(0.01)
        lags.append(time.perf_counter() - begun - 0.01)


api = FastAPI(lifespan=lifespan)
answer_refusals(api)


@api.get("/test/state")
async def look() -> dict[str, Any]:
    ids = {
        client.request.scope["state"]["principal"].name: client.id
        for client in Client.instances.values()
        if client.request.scope.get("state", {}).get("principal") is not None
    }
    slow = sorted(lags or [0.0])
    lag = {"lag_s": slow[-1], "lag_p99_s": slow[int(0.99 * len(slow))]}
    memory = psutil.Process().memory_info().rss
    return {**state, **lag, "clients": ids, "rss": memory, "sockets": len(clients._sockets)}


@api.post("/test/lag")
async def forget_lag() -> None:
    lags.clear()


@api.post("/test/end")
async def end(session: str) -> None:
    """Revokes a session, with the listener that is told."""
    held = sessions.held.pop(session)
    clients.session_revoked(held.session_hash or "")


@api.post("/test/expire")
async def expire(session: str) -> None:
    """Lets a session run out, so that nobody is told."""
    sessions.held.pop(session)


@api.post("/test/back")
async def back() -> None:
    """Everybody is signed in again."""
    sessions.held = FakeSessions().held
    state.update(clicks=[], user_of_click=[], order=[])


@api.get("/sign-in")
async def sign_in() -> HTMLResponse:
    form = "<form method=post><button id=go>Sign in</button></form>"
    return HTMLResponse(f"<!doctype html><title>Sign in</title>{form}")


@api.post("/sign-in")
async def signed_in(request: Request) -> HTMLResponse:
    return HTMLResponse(f"origin: {request.headers.get('origin')}")


@api.get("/api/v1/file/{name}")
async def file(name: str) -> Response:
    return download(file_in(FOLDER / "files", name, allowed=("page.html", "pic.svg")), name=name)


@api.post("/api/v1/echo")
async def echo(request: Request) -> dict[str, Any]:
    return {"got": await request.json()}


@api.post("/api/v1/form")
async def form(request: Request) -> dict[str, int]:
    return {"fields": len(await request.form())}


@ui.page("/")
def home(client: Client) -> None:
    shown = ui.label("0 clicks").mark("clicks")

    def click() -> None:
        state["clicks"].append(client.id)
        state["user_of_click"].append(current_person(client).name)
        shown.text = f"{len(state['clicks'])} clicks"

    ui.button("Click", on_click=click)
    ui.upload()
    ui.timer(0.1, lambda: None)
    ui.element("div").on("order", lambda event: state["order"].append(event.args))
    line = {"type": "line", "data": [[0, 1]]}
    ui.echart({"xAxis": {"type": "value"}, "yAxis": {}, "series": [line]})
    ui.plotly({"data": [{"x": [1], "y": [2]}], "layout": {"height": 100}})
    ui.aggrid({"columnDefs": [{"field": "c0"}], "rowData": [{"c0": 1}]})


@ui.page("/preview")
def preview() -> None:
    names = ["plain", ":x", "__proto__", "constructor", ":onclick"]
    columns = [{"name": f"c{i}", "label": name, "field": f"c{i}"} for i, name in enumerate(names)]
    rows = [
        {"id": i, **{f"c{j}": text for j in range(len(names))}} for i, text in enumerate(HOSTILE)
    ]
    ui.table(columns=columns, rows=rows, row_key="id")
    for text in [*HOSTILE, f":{ALERT}"]:
        ui.label(text)
        ui.markdown(text)
        if "<script" not in text:  # NiceGUI raises on these
            ui.html(text, sanitize=True)
        ui.input("name", value=text)
    ui.label("all shown")


@ui.page("/inline")
def inline() -> None:
    ui.html("<b onclick='window.hacked = 1'>inline</b>", sanitize=False)


@ui.page("/grid")
def grid() -> None:
    ui.aggrid({"columnDefs": [{"field": "a"}], "rowData": [{":x": "window.grid_ran = 1"}]})


clients.install()
ui.run_with(api, title=HOSTILE[0], reconnect_timeout=3.0, show_welcome_message=False)
app = Gate(
    api,
    rules=GateRules(
        hosts=("localhost", "127.0.0.1"), public_paths=PUBLIC_PATHS | TEST_PATHS, body_idle_s=2.0
    ),
    sessions=sessions,
    tokens=FakeTokens(),
)


def main() -> None:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(
        app, ws="websockets-sansio", log_level="warning", server_header=False, date_header=False
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    os.environ.pop("PYTEST_CURRENT_TEST", None)
    main()

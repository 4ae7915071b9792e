"""The whole app in this process, and a person who uses its pages through the gate."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
from fastapi import FastAPI
from nicegui import ui
from nicegui.functions.download import download
from nicegui.functions.navigate import Navigate
from nicegui.functions.notify import notify
from nicegui.testing import User
from nicegui.testing.general import nicegui_reset_globals

from gemma_keras_tune_ui.app import create_app
from gemma_keras_tune_ui.settings import Settings

Element = TypeVar("Element", bound=ui.element)

NAME, PASSWORD = "ann", "violet horses eat 42 pears"
_ORIGIN = {"Origin": "http://localhost"}
HEADERS = {**_ORIGIN, "X-GKT-Request": "1"}
"""With which a browser's own page changes something."""
_PIECE = {**HEADERS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}


@contextmanager
def fresh_nicegui() -> Iterator[None]:
    """NiceGUI as if just imported; what it takes out of `sys.modules` at the end is put back.

    It forgets the modules that made pages, and their packages: tests that patch something by its
    name would find another package than the modules that they have imported.
    """
    ours = {name: one for name, one in sys.modules.items() if name.startswith("gemma_keras_tune")}
    try:
        with nicegui_reset_globals():
            yield
    finally:
        sys.modules.update(ours)


@asynccontextmanager
async def app_at_work(root: Path, **settings: Any) -> AsyncIterator[FastAPI]:
    """The app with its supervisor and database; one at a time in a process."""
    with fresh_nicegui():
        jobs = {"disk_reserve_bytes": 2**20, **settings.pop("jobs", {})}
        app = create_app(Settings(root=root, jobs=jobs, **settings))
        try:
            async with app.router.lifespan_context(app):
                yield app
        finally:
            ui.navigate, ui.notify, ui.download = Navigate(), notify, download
            _end_children(root)


def _end_children(root: Path) -> None:
    """Ends what still works in the data root: a server's children outlive it."""
    for process in psutil.process_iter(["cmdline"]):
        if any(str(root) in word for word in process.info["cmdline"] or ()):
            with suppress(psutil.NoSuchProcess):
                process.kill()


@asynccontextmanager
async def administrator(app: FastAPI) -> AsyncIterator[User]:
    """The first account, signed in, as NiceGUI's simulated user."""
    async with somebody(app) as http:
        link = app.state.setup_path
        fields = {"code": link.partition("=")[2], "name": NAME, "again": PASSWORD}
        answer = await send_form(http, link, password=PASSWORD, **fields)
        assert answer.status_code == 303, answer.text
        yield User(http)


@asynccontextmanager
async def signed_in(app: FastAPI, name: str, password: str) -> AsyncIterator[User]:
    """Another account, signed in."""
    async with somebody(app) as http:
        answer = await send_form(http, "/sign-in", name=name, password=password, next="/")
        assert answer.status_code == 303, answer.text
        yield User(http)


async def until(user: User, text: str, *, within_s: float = 60.0) -> None:
    """Returns when the page shows the text."""
    for _ in range(int(within_s * 10)):
        try:
            await user.should_see(text, retries=1)
        except AssertionError:
            await asyncio.sleep(0.1)
        else:
            return
    await user.should_see(text)


async def wait_for(what: Callable[[], object], *, within_s: float = 15.0) -> None:
    """Waits until something is so.

    Args:
        what: Whether it is.
        within_s: Seconds after which it is taken for a failure.
    """
    for _ in range(int(within_s * 20)):
        if what():
            return
        await asyncio.sleep(0.05)
    assert what()


def somebody(app: FastAPI) -> httpx.AsyncClient:
    """A browser without cookies."""
    transport = httpx.ASGITransport(app=app, client=("127.0.0.1", 40_000))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def send_form(http: httpx.AsyncClient, page: str, **fields: str) -> httpx.Response:
    """What the form of a page answers."""
    form = await http.get(page)
    token = re.search(r'name="csrf" value="([^"]+)"', form.text)
    assert token, form.text
    path = page.partition("?")[0]
    return await http.post(path, data={"csrf": token[1], **fields}, headers=_ORIGIN)


async def upload(user: User, text: str, name: str, *, encoding: str = "utf-8") -> str:
    """The id of a new data set."""
    http, content = user.http_client, text.encode(encoding)
    new = {"purpose": "dataset", "name": name, "size": len(content)}
    made = await http.post("/api/v1/uploads", json=new, headers=HEADERS)
    assert made.status_code == 201, made.text
    id = made.json()["id"]
    sent = await http.patch(f"/api/v1/uploads/{id}", content=content, headers=_PIECE)
    assert sent.status_code == 204, sent.text
    done = await http.post("/api/v1/datasets", json={"upload": id}, headers=HEADERS)
    return str(done.json()["id"])


def only(user: User, kind: type[Element], marker: str) -> Element:
    """The one element of a kind that has a marker."""
    (found,) = user.find(kind=kind, marker=marker).elements
    return found


def field(user: User, key: str) -> Any:
    """The field of a setting on the page New run, by its dotted key."""
    (found,) = user.find(marker=f"field-{key}").elements
    return found

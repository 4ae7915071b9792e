"""NiceGUI's sockets at a real server: whose page, whose socket, and what a session's end does."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import socketio
from nicegui import core

from gemma_keras_tune_ui.gate.clients import Clients, _printable, _Socket
from tests.ui.gate.people import ANN, BOB, FakeSessions

REFUSED = socketio.exceptions.ConnectionError


async def state(address: str) -> dict[str, Any]:
    async with httpx.AsyncClient() as client:
        found: dict[str, Any] = (await client.get(f"{address}/test/state")).json()
        return found


async def act(address: str, what: str, **query: str) -> None:
    async with httpx.AsyncClient() as client:
        (await client.post(f"{address}/test/{what}", params=query)).raise_for_status()


def query_of(client_id: str, tab: str = "tab") -> dict[str, str]:
    return {
        "client_id": client_id,
        "implicit_handshake": "true",
        "tab_id": tab,
        "document_id": "document",
        "next_message_id": "0",
    }


@asynccontextmanager
async def socket_to(
    address: str,
    query: dict[str, str],
    *,
    session: str | None = ANN,
    origin: str | None = "",
    transports: tuple[str, ...] = ("websocket",),
) -> AsyncIterator[socketio.AsyncClient]:
    """A connected socket; everything it is sent is in `seen`."""
    client = socketio.AsyncClient(reconnection=False)
    client.seen = []
    client.on("*", lambda event, *data: client.seen.append((event, *data)))
    headers = {} if origin is None else {"Origin": origin or address}
    if session is not None:
        headers["Cookie"] = f"gkt={session}"
    await client.connect(
        f"{address}?{urlencode(query)}",
        headers=headers,
        transports=list(transports),
        socketio_path="/_nicegui_ws/socket.io",
        wait_timeout=5,
    )
    try:
        yield client
    finally:
        await client.disconnect()


@dataclass(frozen=True)
class Page:
    """A page, and one of its elements with a listener."""

    client_id: str
    element: int
    listener: str


async def open_page(address: str, session: str = ANN, *, event: str = "click") -> Page:
    async with httpx.AsyncClient(cookies={"gkt": session}) as client:
        answer = await client.get(f"{address}/")
    client_id = re.search(r"'client_id': '([^']+)'", answer.text)
    assert client_id is not None
    text = html.unescape(answer.text.partition("String.raw`")[2])
    elements = json.JSONDecoder().raw_decode(text)[0]
    for key, element in elements.items():
        for listener in element.get("events", ()):
            if listener["type"] == event:
                return Page(client_id[1], int(key), listener["listener_id"])
    raise AssertionError(f"nothing listens to {event}")


async def send(client: socketio.AsyncClient, page: Page, *args: object) -> None:
    """What NiceGUI's script sends when something happens to an element."""
    message = {
        "id": page.element,
        "client_id": page.client_id,
        "listener_id": page.listener,
        "args": [json.dumps(arg) for arg in args],
    }
    await client.emit("event", message)


async def press(client: socketio.AsyncClient, page: Page) -> None:
    await send(client, page)
    await asyncio.sleep(0.3)


async def test_the_owner_of_a_page_clicks_and_the_handler_knows_who_it_was(address: str) -> None:
    page = await open_page(address)
    async with socket_to(address, query_of(page.client_id)) as client:
        await press(client, page)
    found = await state(address)
    assert found["clicks"] == [page.client_id]
    assert found["user_of_click"] == ["ann"]


async def test_another_session_cannot_join_a_page_whose_id_it_knows(address: str) -> None:
    page = await open_page(address)
    with pytest.raises(REFUSED):
        async with socket_to(address, query_of(page.client_id), session=BOB):
            pass
    assert (await state(address))["clicks"] == []


async def test_a_late_handshake_for_another_page_is_refused(address: str) -> None:
    victim = await open_page(address)
    async with socket_to(address, {}, session=BOB) as client:
        data = {**query_of(victim.client_id), "tab_id": "tab"}
        assert await client.call("handshake", data, timeout=5) is False
        await press(client, victim)
    assert (await state(address))["clicks"] == []


async def test_an_event_for_another_persons_page_does_nothing(address: str) -> None:
    victim = await open_page(address)
    own = await open_page(address, BOB)
    async with (
        socket_to(address, query_of(victim.client_id)),
        socket_to(address, query_of(own.client_id, "tab-of-bob"), session=BOB) as bob,
    ):
        await press(bob, victim)
        assert (await state(address))["clicks"] == []
        await press(bob, own)
        assert (await state(address))["user_of_click"] == ["bob"]


async def test_an_event_for_another_page_of_the_same_session_does_nothing(address: str) -> None:
    one, other = await open_page(address), await open_page(address)
    async with (
        socket_to(address, query_of(other.client_id, "other")),
        socket_to(address, query_of(one.client_id, "one")) as client,
    ):
        await press(client, other)
    assert (await state(address))["clicks"] == []


async def test_events_of_one_socket_keep_their_order(address: str) -> None:
    page = await open_page(address, event="order")
    async with socket_to(address, query_of(page.client_id)) as client:
        for number in range(50):
            await send(client, page, number)
        await asyncio.sleep(0.5)
    assert (await state(address))["order"] == list(range(50))


async def test_a_flood_of_events_ends_the_socket() -> None:
    clients = Clients(FakeSessions(), sio=socketio.AsyncServer(async_mode="asgi"))
    dropped: list[str] = []

    async def drop(sid: str) -> None:
        dropped.append(sid)

    clients._sio.disconnect = drop
    clients._sio.rooms = lambda sid: ["page"]
    clients._sockets["s"] = _Socket(ANN, "hash-of-ann", waiting=500)
    await clients._on_event("event", lambda *_: pytest.fail("it got through"))(
        "s", {"client_id": "page"}
    )
    assert dropped == ["s"]


async def test_a_revoked_session_drops_its_socket_and_sends_the_page_to_sign_in(
    address: str,
) -> None:
    page = await open_page(address)
    async with socket_to(address, query_of(page.client_id)) as client:
        await act(address, "end", session=ANN)
        await asyncio.sleep(0.3)
        assert any(event == "try_reconnect" for event, *_ in client.seen)
        assert not client.connected
    with pytest.raises(REFUSED):
        async with socket_to(address, query_of(page.client_id, "tab")):
            pass


async def test_an_expired_session_in_an_open_page_is_noticed_without_a_click(address: str) -> None:
    page = await open_page(address)
    async with socket_to(address, query_of(page.client_id)) as client:
        await act(address, "expire", session=ANN)
        await asyncio.sleep(0.8)  # the app looks every 0.3 s
        assert any(event == "try_reconnect" for event, *_ in client.seen)
        assert not client.connected


async def test_an_expired_session_cannot_click_even_before_it_is_noticed(address: str) -> None:
    page = await open_page(address)
    async with socket_to(address, query_of(page.client_id)) as client:
        await act(address, "expire", session=ANN)
        await press(client, page)
    assert (await state(address))["clicks"] == []


async def test_looking_for_expired_sessions_keeps_none_alive() -> None:
    sessions = FakeSessions()
    clients = Clients(sessions, sio=socketio.AsyncServer(async_mode="asgi"))
    clients._sockets["s"] = _Socket(ANN, "hash-of-ann")
    await clients.check_sessions()
    assert sessions.touches == 0


async def test_messages_that_are_no_messages_are_dropped(address: str) -> None:
    page = await open_page(address)
    async with socket_to(address, query_of(page.client_id)) as client:
        nonsense: list[Any] = [None, 7, [], {}, {"client_id": ["x"]}, {"client_id": None}]
        for message in nonsense:
            for event in ("event", "javascript_response", "ack", "log", "handshake"):
                await client.emit(event, message)
        await press(client, page)
    assert len((await state(address))["clicks"]) == 1


def test_a_browser_cannot_forge_a_line_in_the_log() -> None:
    message = _printable({"level": "critical", "message": "x\n2026 ERROR forged" + "y" * 10_000})
    assert message["level"] == "info"
    assert "\n" not in message["message"]
    assert len(message["message"]) < 600


def test_an_event_that_is_not_known_here_stops_the_start() -> None:
    server = socketio.AsyncServer(async_mode="asgi")
    for event in core.sio.handlers["/"]:
        server.on(event, lambda *_: None)
    server.on("brand_new", lambda *_: None)
    with pytest.raises(RuntimeError, match="brand_new"):
        Clients(FakeSessions(), sio=server).install()

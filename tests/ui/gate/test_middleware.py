"""The gate in front of a recording app: who gets in, and what the app is told."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from gemma_keras_tune_ui.gate.middleware import Gate
from gemma_keras_tune_ui.gate.rules import (
    CHUNK_TYPE,
    CSRF_HEADER,
    PUBLIC_FILES,
    GateRules,
    local_path,
)
from tests.ui.gate.people import ANN, TOKEN, FakeSessions, FakeTokens, Recorder

OURS = {"origin": "http://localhost:8080"}
COOKIE = {"cookie": f"gkt={ANN}"}
BEARER = {"authorization": f"Bearer {TOKEN}"}
JSON = {"content-type": "application/json"}
CSRF = {CSRF_HEADER: "1"}


def make(**changes: Any) -> tuple[Gate, Recorder]:
    inside = Recorder()
    rules = GateRules(hosts=("localhost",), **changes)
    return Gate(inside, rules=rules, sessions=FakeSessions(), tokens=FakeTokens()), inside


async def ask(
    gate: Gate,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    *,
    base: str = "http://localhost:8080",
    content: bytes = b"",
) -> httpx.Response:
    transport = httpx.ASGITransport(gate)
    async with httpx.AsyncClient(transport=transport, base_url=base) as client:
        return await client.request(method, path, headers=headers, content=content)


async def handshake(gate: Gate, headers: dict[str, str], path: str = "/_nicegui_ws/socket.io/"):
    """What the gate answers to the handshake of a socket: the types of its messages."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [
        (name.encode(), value.encode()) for name, value in {"host": "localhost", **headers}.items()
    ]
    scope = {"type": "websocket", "path": path, "scheme": "ws", "headers": raw, "query_string": b""}
    await gate(scope, receive, send)
    return [message["type"] for message in sent]


async def test_a_page_without_a_session_leads_to_the_sign_in_page_and_back() -> None:
    gate, inside = make()
    answer = await ask(gate, "GET", "/runs/7?tab=log")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/sign-in?next=%2Fruns%2F7%3Ftab%3Dlog"
    assert (await ask(gate, "GET", "/")).headers["location"] == "/sign-in"
    assert not inside.scopes


async def test_the_api_without_a_session_answers_401_as_json() -> None:
    gate, inside = make()
    answer = await ask(gate, "GET", "/api/v1/runs")
    assert answer.status_code == 401
    assert answer.json()["code"] == "SIGN_IN"
    assert "/sign-in" in answer.json()["message"]
    assert not inside.scopes


async def test_a_session_lets_in_and_tells_the_app_who_it_is() -> None:
    gate, inside = make()
    assert (await ask(gate, "GET", "/runs", COOKIE)).status_code == 200
    assert inside.scopes[0]["state"]["principal"].user_id == "ann"


async def test_an_expired_session_is_no_session() -> None:
    gate, _ = make()
    assert (await ask(gate, "GET", "/runs", {"cookie": "gkt=gone"})).status_code == 303
    assert (await ask(gate, "GET", "/api/v1/runs", {"cookie": "gkt=gone"})).status_code == 401


async def test_two_different_session_cookies_count_as_none() -> None:
    gate, _ = make()
    both = {"cookie": f"gkt={ANN}; gkt=planted"}
    assert (await ask(gate, "GET", "/runs", both)).status_code == 303


async def test_behind_tls_only_the_host_bound_cookie_counts() -> None:
    gate, _ = make(is_https=True)
    base = "https://localhost"
    assert (await ask(gate, "GET", "/runs", COOKIE, base=base)).status_code == 303
    good = {"cookie": f"__Host-gkt={ANN}"}
    assert (await ask(gate, "GET", "/runs", good, base=base)).status_code == 200


async def test_a_token_opens_the_api_and_nothing_else() -> None:
    gate, inside = make()
    assert (await ask(gate, "GET", "/api/v1/runs", BEARER)).status_code == 200
    assert inside.scopes[0]["state"]["principal"].via == "token"
    assert (await ask(gate, "GET", "/runs", BEARER)).status_code == 303


async def test_a_wrong_token_is_refused_even_beside_a_good_cookie() -> None:
    gate, _ = make()
    wrong = {**COOKIE, "authorization": "Bearer gkt_wrong"}
    assert (await ask(gate, "GET", "/api/v1/runs", wrong)).status_code == 401


async def test_a_cookie_request_that_changes_something_needs_our_header() -> None:
    gate, _ = make()
    headers = {**COOKIE, **OURS}
    refused = await ask(gate, "POST", "/api/v1/jobs", headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "CSRF")
    assert (await ask(gate, "POST", "/api/v1/jobs", {**headers, **CSRF})).status_code == 200
    assert (await ask(gate, "POST", "/api/v1/jobs", BEARER)).status_code == 200


async def test_public_paths_are_few_and_named() -> None:
    gate, inside = make()
    for path in ("/sign-in", "/setup", "/healthz", "/favicon.ico", f"{PUBLIC_FILES[0]}nicegui.js"):
        assert (await ask(gate, "GET", path)).status_code == 200, path
    assert len(inside.scopes) == 5
    for path in ("/sign-in/x", "/setupx", "/healthz/x", "/_nicegui/x/static/nicegui.js", "/docs"):
        assert (await ask(gate, "GET", path)).status_code in (303, 401), path


async def test_what_a_proxy_would_say_is_believed_from_nobody() -> None:
    gate, inside = make()
    spoofed = {
        "x-forwarded-prefix": "//evil.example",
        "x-forwarded-for": "10.0.0.1",
        "X-Forwarded-Host": "evil.example",
        "forwarded": "host=evil.example",
    }
    await ask(gate, "GET", "/runs", {**COOKIE, **spoofed})
    names = {name for name, _ in inside.scopes[0]["headers"]}
    assert not {name for name in names if b"forwarded" in name}


async def test_state_that_somebody_put_into_the_scope_is_no_principal() -> None:
    gate, inside = make()
    answer = await ask(gate, "GET", "/healthz")
    assert answer.status_code == 200
    assert inside.scopes[0]["state"]["principal"] is None


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "10.0.0.1"])
async def test_a_host_that_is_not_ours_is_421(host: str) -> None:
    gate, _ = make()
    answer = await ask(gate, "GET", "/runs", {**COOKIE, "host": host})
    assert (answer.status_code, answer.json()["code"]) == (421, "WRONG_HOST")
    assert "localhost" in answer.json()["message"]


@pytest.mark.parametrize(
    "host", ["", "local host", "localhost:99999999", "localhost/x", "a@localhost"]
)
async def test_a_host_that_is_none_is_400(host: str) -> None:
    gate, _ = make()
    assert (await ask(gate, "GET", "/runs", {**COOKIE, "host": host})).status_code == 400


async def test_another_port_of_the_same_host_is_another_origin() -> None:
    gate, _ = make()
    other = {**COOKIE, **CSRF, "origin": "http://localhost:9999"}
    assert (await ask(gate, "POST", "/api/v1/jobs", other)).status_code == 403


async def test_the_default_port_may_be_left_out_of_the_origin() -> None:
    gate, _ = make()
    headers = {**COOKIE, **CSRF, "origin": "http://localhost", "host": "localhost:80"}
    assert (await ask(gate, "POST", "/api/v1/jobs", headers)).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "odd"])
async def test_fetch_metadata_of_another_site_is_refused(site: str) -> None:
    gate, _ = make()
    headers = {**COOKIE, **CSRF, **OURS, "sec-fetch-site": site}
    assert (await ask(gate, "POST", "/api/v1/jobs", headers)).status_code == 403


async def test_a_link_from_another_site_opens_a_page() -> None:
    gate, _ = make()
    headers = {**COOKIE, "sec-fetch-site": "cross-site"}
    assert (await ask(gate, "GET", "/runs", headers)).status_code == 200


async def test_a_body_of_unknown_or_too_great_size_is_not_read() -> None:
    gate, inside = make(body_bytes=10)
    headers = {**BEARER, **JSON}
    large = await ask(gate, "POST", "/api/v1/jobs", headers, content=b"x" * 11)
    assert (large.status_code, large.json()["code"]) == (413, "BODY_TOO_LARGE")
    chunked = {**headers, "transfer-encoding": "chunked"}
    assert (await ask(gate, "POST", "/api/v1/jobs", chunked)).status_code == 411
    bad = {**headers, "content-length": "-1"}
    assert (await ask(gate, "POST", "/api/v1/jobs", bad)).status_code == 400
    assert not inside.scopes


async def test_a_piece_of_an_upload_may_be_larger() -> None:
    gate, _ = make(body_bytes=10, chunk_bytes=20)
    headers = {**BEARER, "content-type": CHUNK_TYPE}
    assert (await ask(gate, "PATCH", "/api/v1/uploads/1", headers, content=b"x" * 20)).is_success
    assert (
        await ask(gate, "PATCH", "/api/v1/uploads/1", headers, content=b"x" * 21)
    ).status_code == 413


async def test_a_sender_that_stalls_counts_as_gone() -> None:
    gate, _ = make(body_idle_s=0.05)
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((await receive())["type"])

    gate.app = app

    async def receive() -> dict[str, Any]:
        import asyncio

        await asyncio.sleep(5)
        return {"type": "http.request", "more_body": True}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    raw = [(b"host", b"localhost"), (b"authorization", f"Bearer {TOKEN}".encode())]
    scope = {"type": "http", "method": "POST", "path": "/api/v1/x", "scheme": "http"}
    await gate({**scope, "headers": raw, "query_string": b""}, receive, send)
    assert seen == ["http.disconnect"]


async def test_the_rate_limit_is_asked_for_the_api_and_says_when_to_come_back() -> None:
    inside, asked = Recorder(), []

    async def limit(user_id: str, scope: Any) -> float | None:
        asked.append(user_id)
        return 1.2 if len(asked) > 1 else None

    gate = Gate(
        inside,
        rules=GateRules(hosts=("localhost",)),
        sessions=FakeSessions(),
        tokens=FakeTokens(),
        rate_limit=limit,
    )
    assert (await ask(gate, "GET", "/api/v1/runs", BEARER)).status_code == 200
    refused = await ask(gate, "GET", "/api/v1/runs", BEARER)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")
    assert (await ask(gate, "GET", "/runs", COOKIE)).status_code == 200
    assert asked == ["ann", "ann"]


async def test_a_socket_with_our_origin_and_a_session_is_let_through() -> None:
    gate, inside = make()
    good = {**COOKIE, "origin": "http://localhost"}
    assert await handshake(gate, good) == ["websocket.accept"]
    assert inside.scopes[0]["state"]["principal"].user_id == "ann"


async def test_only_the_socket_of_nicegui_is_there() -> None:
    gate, inside = make()
    good = {**COOKIE, "origin": "http://localhost"}
    assert await handshake(gate, good, "/elsewhere") == ["websocket.close"]
    assert not inside.scopes


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/runs/7?tab=log#x", "/runs/7?tab=log#x"),
        ("", "/"),
        (None, "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("runs", "/"),
        ("/a\nb", "/"),
        ("/ /x", "/"),
    ],
)
def test_only_a_local_path_is_gone_on_to(text: str | None, path: str) -> None:
    assert local_path(text) == path

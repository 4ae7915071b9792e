"""Rows 38, 41-44, 47, 50, 53-60 of the security table: what comes over HTTP and sockets."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import socketio
from nicegui import core

from gemma_keras_tune import durable
from gemma_keras_tune_ui.gate import rules
from gemma_keras_tune_ui.gate.upload_quota import UploadLimits
from gemma_keras_tune_ui.gate.uploads import Uploads
from gemma_keras_tune_ui.store.engine import Store
from tests.ui.gate.people import ANN, TOKEN, person
from tests.ui.gate.test_clients import open_page, query_of, socket_to, state
from tests.ui.gate.test_middleware import BEARER, COOKIE, CSRF, ask, handshake, make
from tests.ui.gate.test_uploads import CSV, pieces

EVIL = "http://evil.example"


@pytest.mark.parametrize(
    "target", ["');alert(1)//", "//evil.example", "/\\evil", "javascript:alert(1)", "http:evil"]
)
async def test_row_38_the_way_back_after_signing_in_is_a_local_path(target: str) -> None:
    assert rules.local_path(target) == "/"


async def test_row_38_a_path_with_code_in_it_is_quoted_on_the_way_to_sign_in() -> None:
    gate, _ = make()
    answer = await ask(gate, "GET", "/x');alert(1)//y")
    assert answer.status_code in (303, 404)
    assert not set("'\"<>();") & set(answer.headers.get("location", ""))


@pytest.mark.parametrize(
    "headers",
    [
        {**COOKIE, "origin": EVIL},
        {**COOKIE, "origin": "null"},
        {**COOKIE},
        {"origin": "http://localhost"},
        {},
        {**COOKIE, "origin": "http://localhost:9999"},
        {**COOKIE, "origin": "https://localhost"},
        {**COOKIE, "origin": "http://localhost", "host": "evil.example"},
        {"cookie": "gkt=gone", "origin": "http://localhost"},
        {"authorization": f"Bearer {TOKEN}", "origin": "http://localhost"},
        {**COOKIE, "origin": "http://localhost", "sec-fetch-site": "cross-site"},
    ],
)
async def test_row_41_a_socket_of_another_site_or_nobody_is_403(headers: dict[str, str]) -> None:
    gate, inside = make()
    assert await handshake(gate, headers) == ["websocket.close"]
    assert not inside.scopes


async def test_row_41_at_a_real_server_too(address: str) -> None:
    page = await open_page(address)
    for origin, session in ((EVIL, ANN), ("null", ANN), (None, ANN), ("", None)):
        with pytest.raises(socketio.exceptions.ConnectionError):
            async with socket_to(address, query_of(page.client_id), origin=origin, session=session):
                pass


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_row_41_polling_is_off_for_everybody(address: str, method: str) -> None:
    url = f"{address}/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    async with httpx.AsyncClient(cookies={"gkt": ANN}) as client:
        answer = await client.request(method, url, headers={"origin": address})
    assert answer.status_code == 403
    assert answer.json()["code"] == "SOCKETS_ONLY"


@pytest.mark.parametrize("origin", [EVIL, "null", "http://localhost:9999", "file://"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_row_42_a_wrong_origin_is_refused_with_and_without_cookie(
    origin: str, method: str
) -> None:
    gate, inside = make()
    for headers in ({}, COOKIE, BEARER):
        answer = await ask(gate, method, "/api/v1/jobs", {**headers, **CSRF, "origin": origin})
        assert (answer.status_code, answer.json()["code"]) == (403, "WRONG_ORIGIN")
    assert not inside.scopes


async def test_row_42_a_cookie_without_any_origin_is_refused() -> None:
    gate, inside = make()
    answer = await ask(gate, "POST", "/api/v1/jobs", {**COOKIE, **CSRF})
    assert answer.status_code == 403
    assert not inside.scopes


async def test_row_43_a_name_that_points_here_is_refused_on_http_and_sockets() -> None:
    gate, inside = make()
    for path in ("/", "/healthz", "/api/v1/jobs", "/sign-in"):
        answer = await ask(gate, "GET", path, {**COOKIE, "host": "evil.example"})
        assert answer.status_code == 421
    assert await handshake(gate, {**COOKIE, "host": "evil.example", "origin": EVIL}) == [
        "websocket.close"
    ]
    agent = {"user-agent": "curl/8.0", "host": "localhost:8080"}
    assert (await ask(gate, "POST", "/api/v1/jobs", agent)).status_code == 401
    assert not inside.scopes


async def test_row_44_every_route_wants_a_session_but_for_a_short_list(address: str) -> None:
    """Of the small app; the real one's routes are asked by the test of the same name there."""
    import nicegui

    paths = [
        "/",
        "/preview",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/docs/oauth2-redirect",
        "/api/v1/uploads",
        "/api/v1/uploads/x",
        "/api/v1/file/page.html",
        "/api/v1/echo",
        "/_nicegui/client/x/upload/1",
        "/_nicegui/auto/static/x",
        f"/_nicegui/{nicegui.__version__}/dynamic_resources/x",
        "/metrics",
        "/anything/else",
    ]
    async with httpx.AsyncClient() as client:
        for path in paths:
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                answer = await client.request(method, f"{address}{path}")
                assert answer.status_code in (303, 401, 404), (method, path)
                if answer.status_code == 404:
                    assert path.startswith("/_nicegui/client/")


def test_row_44_the_public_list_is_what_the_documentation_says() -> None:
    assert sorted(rules.PUBLIC_PATHS) == [
        "/favicon.ico",
        "/healthz",
        "/join",
        "/setup",
        "/sign-in",
        "/sign-in/oidc",
        "/sign-in/oidc/callback",
    ]
    kinds = [prefix.split("/")[3] for prefix in rules.PUBLIC_FILES]
    assert kinds == ["static", "libraries", "components", "esm", "resources"]


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "", None]
)
async def test_row_47_json_under_another_name_is_415(kind: str | None) -> None:
    gate, inside = make()
    headers = {**BEARER, **({} if kind is None else {"content-type": kind})}
    answer = await ask(gate, "POST", "/api/v1/jobs", headers, content=b'{"a": 1}')
    assert (answer.status_code, answer.json()["code"]) == (415, "WRONG_TYPE")
    assert not inside.scopes


async def test_row_47_a_page_of_another_site_cannot_send_json_either() -> None:
    gate, _ = make()
    headers = {**COOKIE, **CSRF, "origin": EVIL, "content-type": "text/plain"}
    answer = await ask(gate, "POST", "/api/v1/jobs", headers, content=b'{"a": 1}')
    assert answer.status_code == 403


async def test_row_50_no_page_holds_what_the_cookie_holds(address: str) -> None:
    async with httpx.AsyncClient(cookies={"gkt": ANN}) as client:
        for path in ("/", "/preview", "/api/v1/uploads", "/nothing"):
            answer = await client.get(f"{address}{path}")
            assert ANN not in answer.text
            assert ANN not in str(answer.headers)
            assert answer.headers["cache-control"] == "no-store"


def test_row_50_the_cookie_is_out_of_reach_of_scripts_and_other_sites() -> None:
    from starlette.responses import Response

    from gemma_keras_tune_ui.gate.cookies import clear_session, set_session

    answer = Response()
    set_session(answer, "raw", is_https=True)
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-gkt=raw;")
    for part in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"):
        assert part in cookie
    assert "Domain" not in cookie
    answer = Response()
    clear_session(answer, is_https=False)
    assert re.match('gkt=""; .*Max-Age=0', answer.headers["set-cookie"])


async def test_row_55_forms_with_floods_of_parts_or_endless_fields_cost_nothing(
    address: str,
) -> None:
    before = (await state(address))["rss"]
    many = "".join(
        f'--b\r\nContent-Disposition: form-data; name="f{i}"\r\n\r\nx\r\n' for i in range(10**4)
    )
    bodies = [
        (b"--b" + b"x" * 10 * 2**20, 413),  # an endless preamble
        (many.encode() + b"--b--", 415),
        (b'--b\r\nContent-Disposition: form-data; name="' + b"x" * 2**19, 415),
    ]
    async with httpx.AsyncClient(cookies={"gkt": ANN}, timeout=20) as client:
        for path in ("/api/v1/form", "/api/v1/echo"):
            for body, status in bodies:
                headers = {
                    "origin": address,
                    "content-type": "multipart/form-data; boundary=b",
                    rules.CSRF_HEADER: "1",
                }
                answer = await client.post(f"{address}{path}", content=body, headers=headers)
                assert answer.status_code == status
    assert (await state(address))["rss"] - before < 64 * 2**20


async def test_row_55_a_sender_of_slow_headers_or_bodies_keeps_nobody_waiting(
    address: str,
) -> None:
    host, port = httpx.URL(address).host, httpx.URL(address).port
    assert port is not None
    slow = []
    for text in (
        "GET / HT",
        f"POST /sign-in HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\nab",
    ):
        for _ in range(50):
            one = socket.create_connection((host, port))
            one.sendall(text.encode())
            slow.append(one)
    begun = time.perf_counter()
    async with httpx.AsyncClient() as client:
        assert (await client.get(f"{address}/test/state")).status_code == 200
    assert time.perf_counter() - begun < 2
    for one in slow:
        one.close()


async def test_row_56_an_upload_does_not_hold_the_loop_up(address: str) -> None:
    """32 MiB here; `tests/bench/upload.py` sends 5 GiB and measures."""
    data = b"text\n" + b"x" * (32 * 2**20)
    async with httpx.AsyncClient(headers=BEARER, timeout=60, base_url=address) as client:
        new = {"purpose": "dataset", "name": "a.csv", "size": len(data)}
        upload = (await client.post("/api/v1/uploads", json=new)).json()
        await client.post("/test/lag")
        for start in range(0, len(data), 8 * 2**20):
            answer = await client.patch(
                f"/api/v1/uploads/{upload['id']}",
                content=data[start : start + 8 * 2**20],
                headers={"upload-offset": str(start), "content-type": rules.CHUNK_TYPE},
            )
            assert answer.status_code == 204, answer.text
        done = await client.post(f"/api/v1/uploads/{upload['id']}/finish")
    assert done.status_code == 200, done.text
    assert (await state(address))["lag_p99_s"] < 0.5  # the figure is in docs/benchmarks.md


async def test_row_56_the_disk_is_waited_for_in_threads(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    for name in ("write", "fsync", "rename"):
        monkeypatch.setattr(durable, f"_{name}", noting(getattr(os, name), threads))
    monkeypatch.setattr(os, "fsync", noting(os.fsync, threads))
    uploads = Uploads(store, tmp_path / "root", limits=UploadLimits(reserve_bytes=0))
    upload = await uploads.create(person("ann"), purpose="dataset", name="a.csv", size=len(CSV))
    await uploads.receive(person("ann"), upload.id, offset=0, length=len(CSV), body=pieces(CSV))
    await uploads.finish(person("ann"), upload.id)
    assert threads
    assert threading.get_ident() not in threads


def noting(call: Callable[..., Any], threads: set[int]) -> Callable[..., Any]:
    def noted(*args: Any) -> Any:
        threads.add(threading.get_ident())
        return call(*args)

    return noted


async def test_row_57_ten_thousand_ranges_are_refused_at_once(address: str) -> None:
    async with httpx.AsyncClient(headers=BEARER) as client:
        url = f"{address}/api/v1/file/pic.svg"
        assert (await client.get(url, headers={"range": "bytes=0-9"})).status_code == 206
        for ranges in ("bytes=0-1,3-4", "bytes=" + ",".join(["0-"] * 10_000)):
            begun = time.perf_counter()
            answer = await client.get(url, headers={"range": ranges})
            assert answer.status_code in (400, 416, 431)
            assert time.perf_counter() - begun < 1


def test_row_59_sockets_take_at_most_a_megabyte_and_an_event_that_is_whole() -> None:
    from importlib.metadata import version

    assert core.sio.eio.max_http_buffer_size <= 1_000_000
    assert tuple(int(part) for part in version("python-socketio").split(".")[:2]) >= (5, 17)


async def test_row_59_withheld_attachments_end_with_the_socket(address: str) -> None:
    page = await open_page(address)
    async with socket_to(address, query_of(page.client_id)) as client:
        for _ in range(20):
            await client.eio.send('51-["event",{"_placeholder":true,"num":0}]')
        await asyncio.sleep(0.2)
    assert (await state(address))["clicks"] == []


def test_row_60_no_redis_is_used() -> None:
    from nicegui.storage import Storage

    assert Storage.redis_url is None

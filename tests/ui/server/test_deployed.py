"""What the containers run, without containers: PostgreSQL, and nginx with TLS before the app."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psutil
import pytest

from tests.support.app_server import make_administrator, running, sign_in
from tests.support.databases import new_postgres_database
from tests.support.proxy import HOST, Proxy, free_port, proxy_before

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def deployed(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server with PostgreSQL, the proxy before it, and the administrator's browser."""
    folder = tmp_path_factory.mktemp("deployed")
    url = asyncio.run(new_postgres_database(postgres))
    password = re.search(r"://[^:]+:([^@]+)@", url)
    assert password
    (folder / "password").write_text(password[1] + "\n")
    port, app_port = free_port(), free_port()
    environment = {
        "GEMMA_KERAS_TUNE_DATABASE__URL": url.replace(f":{password[1]}@", "@"),
        "GEMMA_KERAS_TUNE_DATABASE__PASSWORD_FILE": str(folder / "password"),
        "GEMMA_KERAS_TUNE_PUBLIC_URL": f"https://{HOST}:{port}",
        "GEMMA_KERAS_TUNE_TRUSTED_PROXIES": "127.0.0.1",
        "GEMMA_KERAS_TUNE_HOST": "0.0.0.0",
    }
    options = ("--port", str(app_port))
    with running(folder / "root", *options, environment=environment) as server:
        server.port = app_port
        with proxy_before(app_port, folder / "nginx", port=port) as proxy, resolving(HOST):
            browser = make_administrator(server, proxy.url, verify=trusting(proxy))
            yield server, proxy, browser


@contextmanager
def resolving(name: str) -> Iterator[None]:
    """Lets a made-up host name stand for this machine."""
    real = socket.getaddrinfo

    def look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        known = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if known == name else host, *args, **kwargs)

    socket.getaddrinfo = look_up
    try:
        yield
    finally:
        socket.getaddrinfo = real


def trusting(proxy: Proxy) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(proxy.certificate))


def test_signing_in_works_through_tls_with_a_cookie_for_this_host_only(deployed):
    server, proxy, browser = deployed
    home = browser.get("/")
    assert home.status_code == 200 and "Newest runs" in home.text
    assert home.headers["strict-transport-security"].startswith("max-age=31536000")
    with httpx.Client(base_url=proxy.url, verify=trusting(proxy)) as http:
        answer = sign_in(http)
        cookie = next(
            value
            for name, value in answer.headers.multi_items()
            if name == "set-cookie" and value.startswith("__Host-gkt=")
        )
    assert "Secure" in cookie and "HttpOnly" in cookie and "Path=/" in cookie


def test_plain_http_leads_to_tls(deployed):
    _, proxy, _ = deployed
    answer = httpx.get(f"http://127.0.0.1:{proxy.plain_port}/sign-in?next=/x")
    assert answer.status_code == 308
    assert answer.headers["location"] == f"{proxy.url}/sign-in?next=/x"


def test_what_a_client_claims_about_itself_ends_at_the_proxy(deployed):
    server, proxy, browser = deployed
    claims = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "for=203.0.113.9;host=evil.example",
    }
    answer = browser.get("/sign-in?next=/x", headers=claims)
    assert answer.headers["location"] == "/x"
    assert "strict-transport-security" in answer.headers
    assert "203.0.113.9" not in server.said and "evil" not in answer.text
    refused = browser.get("/", headers={"Host": "evil.example"})
    assert refused.status_code == 421


def test_past_the_proxy_a_claim_from_elsewhere_is_not_believed(deployed):
    """Loopback is declared here, so only the address of another interface is a stranger's."""
    server, *_ = deployed
    addresses = [
        one.address
        for interface in psutil.net_if_addrs().values()
        for one in interface
        if one.family == socket.AF_INET and not one.address.startswith("127.")
    ]
    if not addresses:
        pytest.skip("this machine has no address but loopback")
    headers = {"Host": HOST, "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "https"}
    answer = httpx.get(f"http://{addresses[0]}:{server.port}/healthz", headers=headers)
    assert answer.status_code == 421


async def test_the_socket_of_a_page_works_through_the_proxy(deployed):
    import socketio

    _, proxy, browser = deployed
    page = (await asyncio.to_thread(browser.get, "/")).text
    client_id = re.search(r"client_id['\"]?\s*:\s*['\"]([0-9a-f-]{36})", page)
    assert client_id, page[:2000]
    cookie = "; ".join(f"{one.name}={one.value}" for one in browser.cookies.jar)
    import aiohttp

    connector = aiohttp.TCPConnector(ssl=trusting(proxy))
    async with aiohttp.ClientSession(connector=connector) as session:
        sio = socketio.AsyncClient(http_session=session)
        query = f"client_id={client_id[1]}&tab_id=t&document_id=d&next_message_id=0"
        await sio.connect(
            f"{proxy.url}?{query}&implicit_handshake=true",
            headers={"Cookie": cookie, "Origin": proxy.url},
            socketio_path="/_nicegui_ws/socket.io",
            transports=["websocket"],
        )
        assert sio.connected
        await sio.disconnect()


def test_an_upload_goes_through_the_proxy_in_pieces_and_too_large_a_piece_does_not(deployed):
    server, proxy, browser = deployed
    content = b"message,label\n" + b"hello there,ham\n" * 200_000
    headers = {"Origin": proxy.url, "X-GKT-Request": "1"}
    made = browser.post(
        "/api/v1/uploads",
        json={"purpose": "dataset", "name": "a.csv", "size": len(content)},
        headers=headers,
    )
    assert made.status_code == 201, made.text
    where = f"/api/v1/uploads/{made.json()['id']}"
    piece = {**headers, "Content-Type": "application/offset+octet-stream"}
    half = len(content) // 2
    for start, end in ((0, half), (half, len(content))):
        sent = browser.patch(
            where, content=content[start:end], headers={**piece, "Upload-Offset": str(start)}
        )
        assert sent.status_code in (200, 204), sent.text
    uploads = [path for path in (server.root / "uploads").rglob("*") if path.is_file()]
    wanted = hashlib.sha256(content).hexdigest()
    assert wanted in {hashlib.sha256(path.read_bytes()).hexdigest() for path in uploads}
    with httpx.Client(base_url=proxy.url, verify=trusting(proxy)) as stranger:
        huge = stranger.patch(where, content=b"x" * (10 * 2**20), headers=piece)
    assert huge.status_code == 413


def test_neither_the_proxy_nor_the_server_logs_a_query(deployed):
    server, proxy, browser = deployed
    browser.get("/sign-in?next=/canary-c4n4ry")
    assert "c4n4ry" not in proxy.access_log.read_text()
    assert "c4n4ry" not in server.said
    assert " GET /sign-in 303 " in proxy.access_log.read_text()


def test_the_app_is_ready_with_postgresql_and_says_that_it_makes_no_backups(deployed):
    server, proxy, browser = deployed
    assert browser.get("/readyz").json()["status"] == "ok"
    assert not (server.root / "server.sqlite3").exists()
    assert "backup_made" not in server.said
    metrics = browser.get("/metrics").text
    assert "gkt_sessions" in metrics

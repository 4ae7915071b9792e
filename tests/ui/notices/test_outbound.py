"""Posting to an address that a user chose: row 51 of the table of attacks, against real servers."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.notices.addresses import checked
from gemma_keras_tune_ui.notices.outbound import Undelivered, is_public, post_json
from tests.support.proxy import HOST, make_certificate

PRIVATE = (
    "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "100.64.0.1",
    "169.254.169.254", "224.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fc00::1",
    "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1",
    "2002:7f00:1::", "ff02::1", "fe80::1%eth0", "not an address",
)  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_row_51_addresses_of_private_networks_are_no_public_ones(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["93.184.215.14", "8.8.8.8", "2606:4700::1111"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


class Hook(ThreadingHTTPServer):
    """A server that keeps what is posted to it."""

    def __init__(self, status: int = 200) -> None:
        self.status, self.heard = status, []  # type: ignore[var-annotated]
        self.wait = threading.Event()
        self.wait.set()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, *_: Any) -> None:
        """A client that goes away is no fault of this server."""


class _Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.heard.append((self.headers["Host"], self.path, json.loads(content)))
        self.server.wait.wait(20)
        self.send_response(self.server.status)
        self.send_header("Location", "http://127.0.0.1:1/secret")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Says nothing on the terminal."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.wait.set()
    server.shutdown()
    thread.join()
    server.server_close()


async def outcome(url: str, **more: Any) -> str:
    with pytest.raises(Undelivered) as caught:
        await post_json(url, {"a": 1}, **more)
    return caught.value.outcome


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::1]", "0"],
)
async def test_row_51_no_way_of_writing_this_machine_leads_to_it(hook: Hook, host: str) -> None:
    assert await outcome(f"http://{host}:{hook.port}/x") in ("never", "again")
    assert await outcome(f"https://{host}:{hook.port}/x") in ("never", "again")
    assert hook.heard == []


async def test_row_51_a_name_that_answers_differently_the_second_time(hook: Hook) -> None:
    """DNS rebinding: what was looked at is what is connected to."""
    answers = [["198.51.100.7", "127.0.0.1"], ["127.0.0.1"]]
    asked = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    assert await outcome(f"http://rebind.test:{hook.port}/x", resolve=resolve) == "never"
    assert asked == ["rebind.test"], "one private address among public ones is enough"

    connected = []
    real = asyncio.get_running_loop().create_connection

    async def public(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["93.184.215.14"] if asked.count("public.test") == 1 else ["127.0.0.1"]

    async def create_connection(*args: Any, **kwargs: Any) -> Any:
        connected.append(kwargs.get("host") or (args[1] if len(args) > 1 else None))
        raise OSError("nobody gets out of a test")

    loop = asyncio.get_running_loop()
    loop.create_connection = create_connection  # type: ignore[method-assign]
    try:
        assert await outcome(f"http://public.test:{hook.port}/x", resolve=public) == "again"
    finally:
        loop.create_connection = real  # type: ignore[method-assign]
    assert asked.count("public.test") == 1
    assert {str(host) for host in connected} == {"93.184.215.14"}
    assert hook.heard == []


async def test_a_host_that_the_administrator_vouches_for_is_posted_to(hook: Hook) -> None:
    await post_json(f"http://127.0.0.1:{hook.port}/a?b=c", {"x": "é"}, known_hosts=("127.0.0.1",))
    assert hook.heard == [(f"127.0.0.1:{hook.port}", "/a?b=c", {"x": "é"})]


async def test_row_51_redirects_are_not_followed(hook: Hook) -> None:
    hook.status = 302
    url = f"http://127.0.0.1:{hook.port}/x"
    assert await outcome(url, known_hosts=("127.0.0.1",)) == "never"
    assert len(hook.heard) == 1


@pytest.mark.parametrize(("status", "expected"), [(500, "again"), (429, "again"), (404, "never")])
async def test_what_a_status_means(hook: Hook, status: int, expected: str) -> None:
    hook.status = status
    url = f"http://127.0.0.1:{hook.port}/x"
    assert await outcome(url, known_hosts=("127.0.0.1",)) == expected


async def test_what_may_have_arrived_is_not_sent_again(
    hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemma_keras_tune_ui.notices.outbound._ANSWER_S", 0.3)
    hook.wait.clear()
    url = f"http://127.0.0.1:{hook.port}/x"
    assert await outcome(url, known_hosts=("127.0.0.1",)) == "unknown"
    assert len(hook.heard) == 1


async def test_nobody_there_may_be_tried_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as made:
        port = made.getsockname()[1]
    url = f"http://127.0.0.1:{port}/x"
    assert await outcome(url, known_hosts=("127.0.0.1",)) == "again"


async def test_the_certificate_is_asked_for_the_name_and_not_for_the_address(
    hook: Hook, tmp_path: Path
) -> None:
    """The connection goes to an address, and the name in the certificate must still be right."""
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, tmp_path / "key.pem")
    hook.socket = context.wrap_socket(hook.socket, server_side=True)
    trusts = ssl.create_default_context(cafile=str(certificate))

    async def here(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def post(host: str) -> None:
        url = f"https://{host}:{hook.port}/x"
        await post_json(url, {}, known_hosts=(host,), resolve=here, verify=trusts)

    await post(HOST)
    assert hook.heard == [(f"{HOST}:{hook.port}", "/x", {})]
    with pytest.raises(Undelivered, match="certificate"):
        await post("other.test")
    assert len(hook.heard) == 1


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("email", "ann"),
        ("email", "ann@example.org\nBcc: eve@example.org"),
        ("slack", "https://hooks.slack.com.evil.org/services/T0000000/B0000000/" + "x" * 24),
        ("slack", "https://evil.org/services/T0000000/B0000000/" + "x" * 24),
        ("webhook", "http://example.org/x"),
        ("webhook", "https://ann:secret@example.org/x"),
        ("webhook", "file:///etc/passwd"),
        ("webhook", "https://"),
        ("webhook", "https://example.org:99999/x"),
        ("webhook", "https://example.org/x y"),
        ("webhook", "https://[::1/x"),
        ("webhook", "https://example.org/" + "x" * 2000),
    ],
)
def test_addresses_that_are_none_are_refused(kind: str, text: str) -> None:
    with pytest.raises(TuneError) as caught:
        checked(kind, text)
    assert caught.value.code == "NOTICE_ADDRESS"


def test_what_is_secret_in_an_address_is_not_shown() -> None:
    secret = "x" * 24
    slack = checked("slack", f" https://hooks.slack.com/services/T0000000/B0000000/{secret} ")
    hook = checked("webhook", f"https://example.org/hooks/{secret}")
    plain = checked("webhook", "http://10.0.0.9/x", known_hosts=("10.0.0.9",))
    assert secret in slack.value and secret in hook.value
    assert (slack.shown, hook.shown) == ("hooks.slack.com/…/T0000000", "example.org/…")
    assert plain.shown == "10.0.0.9/…"

"""Whom the server believes about where a request comes from."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI, Request

from gemma_keras_tune_ui.proxies import Proxies

CLAIMS = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Prefix": "/evil",
    "Forwarded": "for=203.0.113.9",
    "X-Real-IP": "203.0.113.9",
}


def client(peer: str, *, trusted: tuple[str, ...] = (), only: bool = False) -> httpx.AsyncClient:
    app = FastAPI()

    @app.get("/")
    def look(request: Request) -> dict[str, object]:
        assert request.client is not None
        left = [name for name in request.headers if "forwarded" in name or name == "x-real-ip"]
        return {"address": request.client.host, "scheme": request.url.scheme, "left": left}

    transport = httpx.ASGITransport(
        app=Proxies(app, trusted=trusted, only=only), client=(peer, 40_000)
    )
    return httpx.AsyncClient(transport=transport, base_url="http://tune.example.org")


async def test_claims_of_anybody_are_thrown_away():
    async with client("198.51.100.4", trusted=("10.0.0.2/32",)) as http:
        seen = (await http.get("/", headers=CLAIMS)).json()
    assert seen == {"address": "198.51.100.4", "scheme": "http", "left": []}


async def test_claims_from_this_machine_are_thrown_away_unless_it_was_declared():
    async with client("127.0.0.1") as http:
        seen = (await http.get("/", headers=CLAIMS)).json()
    assert seen["address"] == "127.0.0.1" and seen["scheme"] == "http"


async def test_a_declared_proxy_says_who_came_and_how():
    async with client("10.0.0.2", trusted=("10.0.0.0/24",)) as http:
        seen = (await http.get("/", headers=CLAIMS)).json()
    assert seen == {"address": "203.0.113.9", "scheme": "https", "left": []}


async def test_of_several_addresses_the_last_that_no_proxy_added_counts():
    headers = {"X-Forwarded-For": "1.1.1.1, 203.0.113.9, 10.0.0.3"}
    async with client("10.0.0.2", trusted=("10.0.0.0/24",)) as http:
        assert (await http.get("/", headers=headers)).json()["address"] == "203.0.113.9"


@pytest.mark.parametrize(
    ("peer", "status"),
    [("198.51.100.4", 421), ("10.0.0.2", 200), ("127.0.0.1", 200), ("::1", 200)],
)
async def test_past_the_proxy_only_this_machine_gets_in(peer, status):
    async with client(peer, trusted=("10.0.0.2",), only=True) as http:
        assert (await http.get("/", headers=CLAIMS)).status_code == status

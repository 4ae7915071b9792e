"""Whom the server believes about where a request comes from."""

from __future__ import annotations

import ipaddress

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_FORWARDED = (b"forwarded", b"x-real-ip")


class Proxies:
    """Takes the client's address and scheme from declared proxies, and from nobody else.

    Headers about forwarding are removed from every request after that, so that nothing further
    inside can believe them. `X-Forwarded-Prefix` is believed from nobody.

    Args:
        app: What answers.
        trusted: Addresses or networks of the proxies.
        only: Whether a request that comes neither through one of them nor from this machine is
            refused: the server speaks no TLS itself, and what it is sent could be read on its way.
    """

    def __init__(self, app: ASGIApp, *, trusted: tuple[str, ...], only: bool) -> None:
        self._inner = app
        self._believing = ProxyHeadersMiddleware(self._without_headers, list(trusted))  # type: ignore[arg-type]
        self._networks = [ipaddress.ip_network(text, strict=False) for text in trusted]
        self._only = only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request or socket."""
        if scope["type"] not in ("http", "websocket"):
            await self._inner(scope, receive, send)
            return
        peer = (scope.get("client") or ("", 0))[0]
        if self._trusts(peer):
            await self._believing(scope, receive, send)  # type: ignore[arg-type]
        elif self._only and not _is_this_machine(peer):
            await _refuse(scope, receive, send)
        else:
            await self._without_headers(scope, receive, send)

    async def _without_headers(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [pair for pair in scope["headers"] if not _is_about_forwarding(pair[0])]
        await self._inner({**scope, "headers": headers}, receive, send)

    def _trusts(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
        return
    answer = PlainTextResponse("Use this server's public address.\n", status_code=421)
    await answer(scope, receive, send)


def _is_about_forwarding(name: bytes) -> bool:
    lower = name.lower()
    return lower.startswith(b"x-forwarded-") or lower in _FORWARDED


def _is_this_machine(peer: str) -> bool:
    try:
        return ipaddress.ip_address(peer).is_loopback
    except ValueError:
        return not peer  # a test's client, or a local socket, has no address

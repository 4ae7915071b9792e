"""Posting to an address that a user chose, without being led into the server's own network.

The host's name is resolved once, every address that it has must be a public one, and the
connection goes to the address that was looked at: a name that answers differently the second time
(DNS rebinding) gains nothing. Redirects aren't followed, and the environment's proxies aren't used.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2

_CONNECT_S, _ANSWER_S = 10.0, 15.0
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)

Resolve = Callable[[str, int], Awaitable[list[str]]]


class Undelivered(Exception):
    """What was sent didn't arrive, as far as is known.

    Args:
        message: Why, for people.
        outcome: `again`: it may be tried again; `never`: it would fail in the same way;
            `unknown`: it may have arrived, so it must not be sent twice.
    """

    def __init__(self, message: str, *, outcome: str) -> None:
        super().__init__(message)
        self.outcome = outcome


async def addresses_of(host: str, port: int) -> list[str]:
    """The IP addresses of a name, as the system resolves it.

    Raises:
        OSError: If it can't.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


async def post_json(
    url: str,
    content: Mapping[str, Any],
    *,
    known_hosts: Sequence[str] = (),
    resolve: Resolve = addresses_of,
    verify: Any = True,
) -> None:
    """Posts a JSON object.

    Args:
        url: Where to; checked by `addresses.checked` when it was stored.
        content: The object.
        known_hosts: Hosts that may be in a private network.
        resolve: Gives a name's IP addresses.
        verify: An SSL context for the host's certificate, or True for the system's.

    Raises:
        Undelivered: If it wasn't answered with a status of 200 to 299.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    address = await _public_address(host, _port(parts.scheme, parts.port), known_hosts, resolve)
    shown = f"[{address}]" if ":" in address else address
    port = "" if parts.port is None else f":{parts.port}"
    pinned = parts._replace(netloc=f"{shown}{port}").geturl()
    timeout = httpx2.Timeout(_ANSWER_S, connect=_CONNECT_S)
    headers = {"Host": parts.netloc, "User-Agent": "gemma-keras-tune"}
    try:
        async with (
            httpx2.AsyncClient(
                timeout=timeout, follow_redirects=False, trust_env=False, verify=verify
            ) as client,
            asyncio.timeout(_CONNECT_S + _ANSWER_S),
            client.stream(
                "POST", pinned, json=content, headers=headers, extensions={"sni_hostname": host}
            ) as answer,
        ):
            status = answer.status_code
    except _NEVER_SENT as error:
        said = str(error) or type(error).__name__
        raise Undelivered(f"{host} can't be reached: {said}", outcome="again") from error
    except (httpx2.HTTPError, TimeoutError) as error:
        raise Undelivered(
            f"{host} didn't answer: {type(error).__name__}. It may have come through all the same.",
            outcome="unknown",
        ) from error
    _judge(host, status)


def _judge(host: str, status: int) -> None:
    if 200 <= status < 300:
        return
    outcome = "again" if status in (408, 425, 429) or status >= 500 else "never"
    hint = " Redirects aren't followed: give the address that it leads to." if status < 400 else ""
    raise Undelivered(f"{host} answered with status {status}.{hint}", outcome=outcome)


async def _public_address(
    host: str, port: int, known_hosts: Sequence[str], resolve: Resolve
) -> str:
    """One IP address of the host, once all of them are known to be public."""
    try:
        found = await asyncio.wait_for(resolve(host, port), _CONNECT_S)
    except (OSError, UnicodeError, TimeoutError) as error:
        raise Undelivered(f"{host} has no address: {error}", outcome="again") from error
    if not found:
        raise Undelivered(f"{host} has no address", outcome="again")
    if host not in known_hosts and not all(is_public(one) for one in found):
        raise Undelivered(
            f"{host} is in a private network, where web hooks may not go. An administrator may "
            "allow the host with the setting notices.webhook_hosts.",
            outcome="never",
        )
    return found[0]


def is_public(address: str) -> bool:
    """Whether an IP address is reached through the internet, and by nobody's own network."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _port(scheme: str, port: int | None) -> int:
    return port or (443 if scheme == "https" else 80)

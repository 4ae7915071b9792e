"""Where the server listens, and what it refuses to listen on."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
import ssl

from gemma_keras_tune.errors import TuneError

from .settings import Settings

_PORTS_TRIED = 100


def check_exposure(settings: Settings) -> None:
    """Refuses to listen where others can reach the server without TLS.

    Raises:
        TuneError: `UI_EXPOSED`, with what to do; `HOST_UNKNOWN`.
    """
    if _is_loopback(settings.host):
        return
    by_itself = settings.tls.certificate is not None
    by_proxy = bool(settings.trusted_proxies) and (settings.public_url or "").startswith("https://")
    if not by_itself and not by_proxy:
        raise TuneError(
            f"{settings.host} can be reached from other machines, and passwords would cross the "
            "network in the clear. Either leave the host at 127.0.0.1 (and come through an SSH "
            "tunnel), or give the server a certificate (tls.certificate and tls.key), or put a "
            "proxy with TLS before it and name it (trusted_proxies, and public_url with https://).",
            code="UI_EXPOSED",
        )
    if by_itself and not settings.public_url and not settings.allowed_hosts:
        raise TuneError(
            f"Nobody could ask {settings.host} for a page: say under which name people come, with "
            "public_url (such as https://tune.example.org).",
            code="UI_EXPOSED",
        )


def listen(settings: Settings) -> socket.socket:
    """The socket that the server listens on, bound.

    Raises:
        TuneError: `PORT_IN_USE` with the next free one, `PORT_REFUSED`, `HOST_UNKNOWN`.
    """
    try:
        return _bind(settings.host, settings.port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            free = _free_port(settings.host, settings.port + 1)
            way = f" Port {free} is free: --port {free}." if free else " Try --port 0."
            raise TuneError(
                f"Port {settings.port} of {settings.host} is in use by another program.{way}",
                code="PORT_IN_USE",
            ) from error
        if error.errno == errno.EACCES:
            raise TuneError(
                f"This user may not listen on port {settings.port}. Ports from 1024 on are free to "
                "use: --port 8080.",
                code="PORT_REFUSED",
            ) from error
        raise TuneError(
            f"{settings.host} is no address of this machine: {error.strerror or error}.",
            code="HOST_UNKNOWN",
        ) from error


def check_certificate(settings: Settings) -> None:
    """Loads the certificate once before anything is started.

    Raises:
        TuneError: `TLS_UNUSABLE`.
    """
    certificate, key = settings.tls.certificate, settings.tls.key
    if certificate is None or key is None:
        return
    try:
        # A password would be asked for on the terminal: an empty one makes that an error.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")  # noqa: S106
    except (ssl.SSLError, OSError) as error:
        raise TuneError(
            f"The certificate {certificate} and the key {key} can't be used together: {error}.",
            code="TLS_UNUSABLE",
        ) from error


def address_of(settings: Settings, port: int) -> str:
    """Where people go."""
    if settings.public_url:
        return settings.public_url
    scheme = "https" if settings.tls.certificate else "http"
    host = "127.0.0.1" if settings.host == "localhost" else settings.host
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen()  # so that a second server on this port fails now, and not later
    except OSError:
        made.close()
        raise
    os.set_inheritable(made.fileno(), False)
    return made


def _free_port(host: str, first: int) -> int | None:
    for port in range(first, min(first + _PORTS_TRIED, 65_536)):
        with contextlib.suppress(OSError):
            _bind(host, port).close()
            return port
    return None


def _is_loopback(host: str) -> bool:
    """Whether every address that a host name stands for is this machine's alone.

    Raises:
        TuneError: `HOST_UNKNOWN`.
    """
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise TuneError(
            f"{host!r} is no address of this machine: {error.strerror or error}.",
            code="HOST_UNKNOWN",
        ) from error
    return all(ipaddress.ip_address(entry[4][0]).is_loopback for entry in found)

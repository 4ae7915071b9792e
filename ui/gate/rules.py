"""What the gate goes by, as plain functions of a request's scope: hosts, origins, paths, types."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import nicegui
from starlette.types import Scope

from .answers import Refused

PUBLIC_PATHS = frozenset(
    {
        "/sign-in",
        "/sign-in/oidc",
        "/sign-in/oidc/callback",
        "/setup",
        "/join",
        "/healthz",
        "/favicon.ico",
    }
)
"""Everything that answers without a session or a token, beside the files of `PUBLIC_FILES`."""

PUBLIC_FILES = tuple(
    f"/_nicegui/{nicegui.__version__}/{kind}/"
    for kind in ("static", "libraries", "components", "esm", "resources")
)
"""NiceGUI's own scripts, styles and fonts: the same for everybody."""

API = "/api/"
TOKEN_PATHS = (API, "/metrics")
SOCKETS = "/_nicegui_ws/"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER = "x-gkt-request"
CHUNK_TYPE = "application/offset+octet-stream"

_CLOSED = ("/_nicegui/client/",)  # NiceGUI's uploads: neither sizes nor sessions are checked there
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?", re.ASCII)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True)
class GateRules:
    """What the gate goes by.

    Attributes:
        hosts: Host names under which the app may be asked for, lower case, without port.
        is_https: Whether browsers come by TLS.
        public_paths: Paths that need neither session nor token.
        body_bytes: The largest body of a request.
        chunk_bytes: The largest body of a piece of an upload.
        body_idle_s: How long a body may pause, in seconds.
    """

    hosts: Sequence[str]
    is_https: bool = False
    public_paths: frozenset[str] = PUBLIC_PATHS
    body_bytes: int = 2**20
    chunk_bytes: int = 8 * 2**20
    body_idle_s: float = 30.0


def header(scope: Scope, name: str) -> str | None:
    """A header's value; of one that is there several times, all of them with commas between."""
    wanted = name.encode()
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == wanted]
    return ", ".join(values) if values else None


def check_host(scope: Scope, hosts: Sequence[str]) -> str:
    """The request's host with its port, if the app may be asked for under this name.

    Raises:
        Refused: `BAD_HOST` (400) if there is not one well-formed host, `WRONG_HOST` (421) if it is
            not one of `hosts`: a page of another site that let its name point here (DNS rebinding).
    """
    host = (header(scope, "host") or "").lower()
    match = _HOST.fullmatch(host)
    if match is None:
        raise Refused(400, "BAD_HOST", "The request must name one host.")
    if match[1] not in hosts:
        raise Refused(
            421,
            "WRONG_HOST",
            f"This server isn't asked for as {match[1]}. Its names are: {', '.join(hosts)}. "
            "An administrator adds a name with the setting allowed_hosts.",
        )
    return host


def check_path(path: str) -> None:
    """Lets only plain paths through, so that no route sees `..`, a backslash or an empty name.

    Raises:
        Refused: `NOT_FOUND` (404).
    """
    names = path.split("/")[1:]
    odd = not path.startswith("/") or "\\" in path or any(ord(letter) < 32 for letter in path)
    if odd or any(name in ("..", ".") for name in names) or "" in names[:-1]:
        raise not_found()
    if path.startswith(_CLOSED):
        raise not_found()


def not_found() -> Refused:
    """The answer to whatever isn't there, or isn't to be seen."""
    return Refused(404, "NOT_FOUND", "There is nothing here.")


def check_origin(scope: Scope, host: str, *, has_cookie: bool) -> None:
    """Lets a request that may change something through only from our own pages, or from a program.

    Args:
        scope: The request, or the handshake of a socket.
        host: Its host, as `check_host` found it.
        has_cookie: Whether it carries a session: then it must say where it comes from.

    Raises:
        Refused: `WRONG_ORIGIN` (403).
    """
    is_socket = scope["type"] == "websocket"
    if not is_socket and scope["method"] in SAFE_METHODS:
        return
    origin, site = header(scope, "origin"), header(scope, "sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise _wrong_origin()
    if origin is None:
        if is_socket or (has_cookie and site is None):
            raise _wrong_origin()
        return
    scheme = "https" if scope["scheme"] in ("https", "wss") else "http"
    default = _DEFAULT_PORTS[scheme]
    if origin.lower().removesuffix(default) != f"{scheme}://{host.removesuffix(default)}":
        raise _wrong_origin()


def check_transport(scope: Scope) -> None:
    """Refuses socket.io over plain requests: it would be a second way in, open to floods.

    Raises:
        Refused: `SOCKETS_ONLY` (403).
    """
    if scope["type"] == "http" and scope["path"].startswith(SOCKETS):
        raise Refused(403, "SOCKETS_ONLY", "Connect with a WebSocket; polling is off.")


def is_public(path: str, rules: GateRules) -> bool:
    """Whether a path answers without a session or a token."""
    return path in rules.public_paths or path.startswith(PUBLIC_FILES)


def check_body(scope: Scope, rules: GateRules) -> None:
    """Refuses a body that is too large before it is read.

    Raises:
        Refused: `LENGTH_REQUIRED` (411) for a body of unknown size, `BODY_TOO_LARGE` (413).
    """
    if header(scope, "transfer-encoding") is not None:
        raise Refused(411, "LENGTH_REQUIRED", "Send a Content-Length with the body.")
    size = _body_size(scope)
    limit = rules.chunk_bytes if header(scope, "content-type") == CHUNK_TYPE else rules.body_bytes
    if size > limit:
        raise Refused(
            413,
            "BODY_TOO_LARGE",
            f"The body has {size:,} bytes; at most {limit:,} are taken. Files go through "
            "/api/v1/uploads, in pieces.",
        )


def check_api_type(scope: Scope) -> None:
    """Lets only JSON (and pieces of uploads) into the API: a page of another site can't send these.

    Raises:
        Refused: `WRONG_TYPE` (415).
    """
    if scope["method"] in SAFE_METHODS or not _body_size(scope):
        return
    kind = (header(scope, "content-type") or "").partition(";")[0].strip().lower()
    if kind not in ("application/json", CHUNK_TYPE):
        raise Refused(
            415,
            "WRONG_TYPE",
            f"The body is sent as {kind or 'nothing'}; send it as application/json.",
        )


def check_csrf(scope: Scope) -> None:
    """Wants the header that only a script of our own pages can set.

    Raises:
        Refused: `CSRF` (403).
    """
    if scope["method"] not in SAFE_METHODS and header(scope, CSRF_HEADER) is None:
        raise Refused(
            403,
            "CSRF",
            f"Requests with a session cookie need the header {CSRF_HEADER}. Programs use a "
            "personal token instead: Authorization: Bearer gkt_…",
        )


def local_path(text: str | None, default: str = "/") -> str:
    """A path on this server to go on to after signing in; anything else becomes `default`."""
    if not text or not text.startswith("/") or text.startswith("//") or "\\" in text:
        return default
    if any(ord(letter) < 33 or ord(letter) == 127 for letter in text):
        return default
    parts = urlsplit(text)
    return default if parts.scheme or parts.netloc else text


def _body_size(scope: Scope) -> int:
    text = header(scope, "content-length") or "0"
    if not text.isascii() or not text.isdigit():
        raise Refused(400, "BAD_LENGTH", "The Content-Length must be one whole number.")
    return int(text)


def _wrong_origin() -> Refused:
    return Refused(
        403,
        "WRONG_ORIGIN",
        "This came from another site, or doesn't say where it comes from. Open the app by its own "
        "address; programs use a personal token.",
    )

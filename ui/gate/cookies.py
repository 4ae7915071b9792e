"""The one cookie: an opaque session id that no script can read and no other site can send."""

from __future__ import annotations

from typing import Literal

from starlette.responses import Response
from starlette.types import Scope


def cookie_name(*, is_https: bool) -> str:
    """The cookie's name; with `__Host-` browsers keep it to TLS and to exactly this host."""
    return "__Host-gkt" if is_https else "gkt"


def set_session(
    response: Response,
    raw_id: str,
    *,
    is_https: bool,
    same_site: Literal["lax", "strict"] = "strict",
    seconds: int = 24 * 3600,
) -> None:
    """Gives the browser its session.

    Args:
        response: The answer to a sign-in.
        raw_id: The session's id, as `Sessions.open` made it.
        is_https: Whether browsers come by TLS.
        same_site: `lax` where another site leads back here: after single sign-on.
        seconds: How long the browser keeps it; the server decides by itself.
    """
    response.set_cookie(
        cookie_name(is_https=is_https),
        raw_id,
        max_age=seconds,
        path="/",
        secure=is_https,
        httponly=True,
        samesite=same_site,
    )


def clear_session(response: Response, *, is_https: bool) -> None:
    """Takes the session out of the browser."""
    response.delete_cookie(
        cookie_name(is_https=is_https), path="/", secure=is_https, httponly=True, samesite="strict"
    )


def session_id(scope: Scope, *, is_https: bool) -> str | None:
    """What the request's session cookie holds, or none.

    Two cookies of that name with different values count as none: on plain HTTP another server on
    the same host can add one, and there is no telling which of them is ours.
    """
    name = cookie_name(is_https=is_https)
    found = set()
    for key, value in scope["headers"]:
        if key == b"cookie":
            for part in value.decode("latin-1").split(";"):
                left, _, right = part.strip().partition("=")
                if left == name and right:
                    found.add(right)
    return found.pop() if len(found) == 1 else None

"""Tokens for forms, so that another site can't send one in a signed-in person's name.

A token is bound to the session's hash, or before anybody has signed in to a random cookie
(double submit). REST calls with a cookie need a header of ours instead, which a foreign page can't
send without asking first; see `gate.rules.check_csrf`.
"""

from __future__ import annotations

import secrets

from .refusals import Forbidden
from .signing import digest, sign, unsign

FIELD = "csrf"
"""The form field that holds the token."""


class Csrf:
    """Makes and checks tokens.

    Args:
        key: The server's cookie key.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def visitor(self) -> str:
        """A fresh cookie for a browser that nobody has signed in with."""
        return sign(self._key, "visitor", secrets.token_urlsafe(16))

    def is_visitor(self, cookie: str) -> bool:
        """Whether a cookie is one that `visitor` gave."""
        return unsign(self._key, "visitor", cookie) is not None

    def token(self, bound_to: str) -> str:
        """A token for one form; each is different, so that compression tells nothing about it.

        Args:
            bound_to: The session's hash, or the visitor's cookie.
        """
        return sign(self._key, _purpose(bound_to), secrets.token_urlsafe(16))

    def check(self, token: str, bound_to: str) -> None:
        """Returns if `token` was made for this session or visitor.

        Raises:
            Forbidden: `CSRF_FAILED` if it wasn't, or is missing.
        """
        if not bound_to or unsign(self._key, _purpose(bound_to), token) is None:
            raise Forbidden(
                "The form is too old, or wasn't ours. Go back, reload the page and send it again.",
                code="CSRF_FAILED",
            )


def _purpose(bound_to: str) -> str:
    return f"csrf:{digest(bound_to)}"

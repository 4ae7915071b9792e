"""The gate: every request and every socket goes through `Gate` before anything else sees it.

It is plain ASGI, because Starlette's `BaseHTTPMiddleware` sees no sockets. In order: host, path,
transport, origin, size, who it is, CSRF and type, rate. What comes out the other side has
`scope["state"]["principal"]` (none only on the public paths of `rules.PUBLIC_PATHS`).
"""

from __future__ import annotations

import asyncio
import math
import secrets
from typing import Any
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..identity.refusals import Refusal
from . import rules
from .answers import Refused, answer_to
from .cookies import session_id
from .headers import Answer, new_nonce
from .ports import Person, RateLimit, SessionReader, TokenReader
from .rules import GateRules

SIGN_IN = "/sign-in"
_POLICY_VIOLATION = 1008  # before a socket is accepted, servers turn it into a 403


class Gate:
    """Lets through who may come in, and tells the app who it is.

    Args:
        app: Everything behind the gate.
        rules: What it goes by.
        sessions: Knows who holds a session.
        tokens: Knows who holds a personal token.
        rate_limit: Asked before every request to the API; none: no limit.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        rules: GateRules,
        sessions: SessionReader,
        tokens: TokenReader,
        rate_limit: RateLimit | None = None,
    ) -> None:
        self.app = app
        self._rules = rules
        self._sessions = sessions
        self._tokens = tokens
        self._rate_limit = rate_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request or socket, or lets it through."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        scope = _own(scope)
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        else:
            raise ValueError(f"the gate knows no connection of type {scope['type']!r}")

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["state"]
        answer = Answer(scope, send, nonce=state["csp_nonce"])
        try:
            refused = await self._check_request(scope)
        except Refusal as error:
            refused = answer_to(error, request_id=state["request_id"])
        if refused is not None:
            await refused(scope, receive, answer.send)
            return
        if not scope["path"].startswith(rules.PUBLIC_FILES):
            _drop(scope, b"accept-encoding")  # a page must reach us uncompressed
        await self.app(scope, _Body(receive, self._rules.body_idle_s), answer.send)

    async def _check_request(self, scope: Scope) -> Response | None:
        """None to let it through, else the answer; other refusals are raised.

        Raises:
            Refusal: Why it isn't let through.
        """
        path, rules_ = scope["path"], self._rules
        host = rules.check_host(scope, rules_.hosts)
        rules.check_path(path)
        rules.check_transport(scope)
        cookie = session_id(scope, is_https=rules_.is_https)
        bearer = _bearer(scope) if path.startswith(rules.TOKEN_PATHS) else None
        rules.check_origin(scope, host, has_cookie=cookie is not None and bearer is None)
        rules.check_body(scope, rules_)
        if path.startswith(rules.PUBLIC_FILES):
            return None
        person = await self._who(cookie, bearer)
        scope["state"]["principal"] = person
        if person is None and not rules.is_public(path, rules_):
            return _sign_in_first(scope)
        if path.startswith(rules.API):
            if bearer is None:
                rules.check_csrf(scope)
            rules.check_api_type(scope)
            await self._check_rate(person, scope)
        return None

    async def _who(self, cookie: str | None, bearer: str | None) -> Person | None:
        if bearer is not None:
            return await self._tokens.principal_of(bearer)
        return None if cookie is None else await self._sessions.principal_of(cookie)

    async def _check_rate(self, person: Person | None, scope: Scope) -> None:
        if self._rate_limit is None or person is None:
            return
        wait = await self._rate_limit(person.user_id, scope)
        if wait is not None:
            seconds = max(1, math.ceil(wait))
            raise Refused(
                429,
                "RATE_LIMIT",
                f"Too many requests. Try again in {seconds} s.",
                headers={"Retry-After": str(seconds)},
            )

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            host = rules.check_host(scope, self._rules.hosts)
            if not scope["path"].startswith(rules.SOCKETS):
                raise rules.not_found()
            rules.check_path(scope["path"])
            rules.check_origin(scope, host, has_cookie=True)
            cookie = session_id(scope, is_https=self._rules.is_https)
            person = None if cookie is None else await self._sessions.principal_of(cookie)
            if person is None:
                raise _no_session()
        except Refusal:
            await receive()
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        scope["state"]["principal"] = person
        await self.app(scope, receive, send)


class _Body:
    """Hands the body on, and takes a sender that pauses for too long as one that has gone."""

    def __init__(self, receive: Receive, idle_s: float) -> None:
        self._receive = receive
        self._idle_s = idle_s
        self._is_whole = False

    async def __call__(self) -> Message:
        if self._is_whole:
            return await self._receive()
        try:
            async with asyncio.timeout(self._idle_s):
                message = await self._receive()
        except TimeoutError:
            message = {"type": "http.disconnect"}
        self._is_whole = not message.get("more_body", False)
        return message


def _own(scope: Scope) -> Scope:
    """A copy of the scope that nothing from outside has put words into."""
    headers = [
        (name.lower(), value)
        for name, value in scope["headers"]
        if not name.lower().startswith(b"x-forwarded-") and name.lower() != b"forwarded"
    ]
    state: dict[str, Any] = {"request_id": secrets.token_hex(8), **scope.get("state", {})}
    state.update(principal=None, csp_nonce=new_nonce())
    return {**scope, "headers": headers, "state": state}


def _drop(scope: Scope, name: bytes) -> None:
    scope["headers"] = [pair for pair in scope["headers"] if pair[0] != name]


def _bearer(scope: Scope) -> str | None:
    kind, _, token = (rules.header(scope, "authorization") or "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else None


def _sign_in_first(scope: Scope) -> Response:
    is_page = not scope["path"].startswith(("/_nicegui", rules.API))
    wants_page = is_page and scope["method"] in ("GET", "HEAD")
    if not wants_page:
        raise _no_session()
    query = scope["query_string"].decode("latin-1")
    target = scope["path"] + (f"?{query}" if query else "")
    if scope["path"] == "/" and not query:
        return RedirectResponse(SIGN_IN, 303)
    return RedirectResponse(f"{SIGN_IN}?next={quote(target, safe='')}", 303)


def _no_session() -> Refused:
    return Refused(
        401,
        "SIGN_IN",
        f"This needs a session that is still open, or a valid token. Sign in again at {SIGN_IN}.",
        headers={"WWW-Authenticate": "Bearer"},
    )

"""Security headers on every answer, and the nonce that lets NiceGUI's own scripts run."""

from __future__ import annotations

import re
import secrets

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Scope, Send

from .rules import PUBLIC_FILES

_SCRIPT = re.compile(rb"<script(?=[\s>])", re.IGNORECASE)
_LONGEST_PART = len(b"<script")
_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: with that a browser sends `Origin: null` with the form of the sign-in page.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": (
        "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()"
    ),
}
_HSTS = "max-age=31536000; includeSubDomains"
_NO_PAGE = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def new_nonce() -> str:
    """128 random bits, in letters that need no quotes in HTML."""
    return secrets.token_hex(16)


def page_policy(nonce: str) -> str:
    """The Content-Security-Policy of a page.

    `unsafe-eval` stays: Vue compiles NiceGUI's templates in the browser, and without it every page
    is blank. Inline styles stay for the same reason. Inline scripts run only with the nonce, and
    inline handlers (`onclick=…`) never.
    """
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'self' 'nonce-{nonce}' 'unsafe-eval'",
            "script-src-attr 'none'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            "connect-src 'self'",
            "worker-src 'self' blob:",
            "manifest-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


class Answer:
    """Sends an answer with our headers, and with the nonce in NiceGUI's script tags.

    Only pages that NiceGUI has built are changed: whatever people wrote stands escaped in them, so
    that every script tag is NiceGUI's or ours.

    Args:
        scope: The request.
        send: Where the answer goes.
        nonce: The nonce of this answer.
    """

    def __init__(self, scope: Scope, send: Send, *, nonce: str) -> None:
        self._scope = scope
        self._send = send
        self._nonce = nonce
        self._is_page = False
        self._held = b""

    async def send(self, message: Message) -> None:
        """Passes one message of the answer on."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            self._is_page = headers.get("x-nicegui-content") == "page" and _is_html(headers)
            self._set(headers)
            message = {**message, "headers": headers.raw}
        elif message["type"] == "http.response.body" and self._is_page:
            more = message.get("more_body", False)
            message = {**message, "body": self._marked(message.get("body", b""), more)}
        await self._send(message)

    def _set(self, headers: MutableHeaders) -> None:
        for name, value in _ALWAYS.items():
            headers[name] = value
        if self._scope["scheme"] == "https":
            headers["Strict-Transport-Security"] = _HSTS
        if "content-security-policy" not in headers:
            html = _is_html(headers)
            headers["Content-Security-Policy"] = page_policy(self._nonce) if html else _NO_PAGE
        path = self._scope["path"]
        if not path.startswith(PUBLIC_FILES) and path != "/favicon.ico":
            headers["Cache-Control"] = "no-store"
        if self._is_page:
            if "content-encoding" in headers:
                raise RuntimeError("a page was compressed before its scripts got their nonce")
            del headers["content-length"]  # the nonces make it longer

    def _marked(self, body: bytes, more: bool) -> bytes:
        """The next bytes with nonces; the start of a tag that is cut is kept for the next call."""
        text = self._held + body
        self._held = b""
        if more:
            cut = text.rfind(b"<", max(0, len(text) - _LONGEST_PART))
            if cut >= 0:
                text, self._held = text[:cut], text[cut:]
        return _SCRIPT.sub(b"<script nonce=" + self._nonce.encode(), text)


def _is_html(headers: MutableHeaders) -> bool:
    return headers.get("content-type", "").lower().startswith("text/html")

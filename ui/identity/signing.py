"""Values that leave the server and come back: signed, so that made-up ones are thrown away."""

from __future__ import annotations

import base64
import hashlib
import hmac


def sign(key: bytes, purpose: str, text: str) -> str:
    """`text` with its signature, for `unsign` with the same key and purpose.

    Args:
        key: The server's key; 32 bytes.
        purpose: What the value is for, so that one can't be used as another.
        text: ASCII without dots.
    """
    return f"{text}.{_signature(key, purpose, text)}"


def unsign(key: bytes, purpose: str, signed: str) -> str | None:
    """The text that was signed, or None if the signature isn't right. Takes constant time."""
    text, dot, signature = signed.rpartition(".")
    if not dot or not signed.isascii():
        return None
    expected = _signature(key, purpose, text)
    return text if hmac.compare_digest(expected, signature) else None


def digest(text: str) -> str:
    """SHA-256 as hex, for what is kept in the database of a secret that has 256 random bits."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def derive(key: bytes, purpose: str) -> bytes:
    """A key of 32 bytes for one purpose, from which neither `key` nor another can be found."""
    return hmac.digest(key, purpose.encode("ascii"), "sha256")


def _signature(key: bytes, purpose: str, text: str) -> str:
    mac = hmac.digest(derive(key, purpose), text.encode("ascii"), "sha256")
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode("ascii")

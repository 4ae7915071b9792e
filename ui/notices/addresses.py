"""Where a person may be told: an address of each kind, checked, and what may be shown of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from gemma_keras_tune.errors import TuneError

from ..identity.people import is_email

_SLACK = re.compile(r"https://hooks\.slack\.com/services/(T\w{6,20})/(B\w{6,20})/(\w{16,40})", re.A)
_LONGEST = 2000
_LONGEST_SHOWN = 80


@dataclass(frozen=True)
class Address:
    """One place to tell somebody at.

    Attributes:
        kind: browser, email, slack or webhook.
        value: The whole address; it may hold a secret.
        shown: What may be shown of it.
    """

    kind: str
    value: str
    shown: str


def checked(kind: str, text: str, *, known_hosts: Sequence[str] = ()) -> Address:
    """The address that somebody typed.

    Args:
        kind: browser, email, slack or webhook.
        text: What they typed; nothing for the browser.
        known_hosts: Hosts of web hooks that the server's administrator vouches for: these may
            speak plain HTTP.

    Raises:
        TuneError: `NOTICE_ADDRESS`, with how such an address looks.
    """
    text = text.strip()
    if kind == "browser":
        return Address(kind, "", "")
    if kind == "email":
        if not is_email(text):
            raise TuneError(
                "That is no e-mail address, such as ann@example.org.", code="NOTICE_ADDRESS"
            )
        return Address(kind, text, text[:_LONGEST_SHOWN])
    if kind == "slack":
        parts = slack_parts(text)
        return Address(kind, text, f"hooks.slack.com/…/{parts[0]}")
    return Address(kind, text, _checked_url(text, known_hosts))


def slack_parts(url: str) -> tuple[str, str, str]:
    """The three parts of the address of an incoming web hook of Slack.

    Raises:
        TuneError: `NOTICE_ADDRESS`.
    """
    match = _SLACK.fullmatch(url)
    if match is None:
        raise TuneError(
            "That is no address of an incoming web hook of Slack. It looks like "
            "https://hooks.slack.com/services/T…/B…/… and Slack shows it under Incoming Webhooks.",
            code="NOTICE_ADDRESS",
        )
    return match[1], match[2], match[3]


def _checked_url(url: str, known_hosts: Sequence[str]) -> str:
    """The host of a web hook's address, for people."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    is_plain = len(url) <= _LONGEST and url.isascii() and url.isprintable() and " " not in url
    if not host or not is_plain or parts.username is not None or parts.fragment:
        raise TuneError(
            "That is no address of a web hook, such as https://example.org/hook: a host and a "
            "path, without a name or password before the host.",
            code="NOTICE_ADDRESS",
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and host in known_hosts):
        raise TuneError(
            "A web hook's address begins with https://. Plain HTTP is only for hosts in the "
            "server's setting notices.webhook_hosts.",
            code="NOTICE_ADDRESS",
        )
    return f"{host}/…"[:_LONGEST_SHOWN]

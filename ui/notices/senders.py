"""How each kind of notice goes out: through apprise, to a web hook, or to an open page."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..words import notices as words
from .addresses import Address, slack_parts
from .outbound import Undelivered, post_json


@dataclass(frozen=True, kw_only=True)
class Message:
    """What to tell.

    Attributes:
        title: One line.
        text: More of it.
        event: ended, failed, stalled or trial.
        tag: The same for the same occasion, so that a browser shows it once.
        link: Where to look; "" if the server doesn't know its own address.
        path: Where to look, on this server.
        run_id: The run, or None.
        job_id: The job, or None.
    """

    title: str
    text: str
    event: str
    tag: str
    link: str = ""
    path: str = "/"
    run_id: str | None = None
    job_id: str | None = None

    @property
    def body(self) -> str:
        """The text with the link below it."""
        return f"{self.text}\n\n{words.LOOK.format(link=self.link)}" if self.link else self.text


class Send(Protocol):
    """A way to send messages of one kind."""

    async def __call__(self, address: Address, message: Message, *, user_id: str) -> None:
        """Sends one message to one address.

        Raises:
            Undelivered: If it didn't arrive.
        """


@dataclass(frozen=True, kw_only=True)
class MailServer:
    """The server's mail account.

    Attributes:
        host: Its name.
        port: Its port.
        security: starttls, ssl or none.
        sender: Whom the mail is from.
        user: To sign in with; None: without signing in.
        password: Likewise.
    """

    host: str
    port: int
    security: str
    sender: str
    user: str | None = None
    password: str | None = None

    async def __call__(self, address: Address, message: Message, *, user_id: str) -> None:
        """Sends an e-mail.

        Raises:
            Undelivered: If the mail server didn't take it.
        """
        modes = {"starttls": "starttls", "ssl": "ssl", "none": "insecure"}
        plugin = {
            "schema": "mailtos" if self.security != "none" else "mailto",
            "host": self.host,
            "smtp_host": self.host,
            "port": self.port,
            "secure_mode": modes[self.security],
            "from_addr": self.sender,
            "targets": [address.value],
            "format": "text",
        }
        if self.user is not None:
            plugin |= {"user": self.user, "password": self.password or ""}
        await _by_apprise(plugin, message, why="The mail server")


async def to_slack(address: Address, message: Message, *, user_id: str) -> None:
    """Sends a message to a channel of Slack.

    Raises:
        Undelivered: If Slack didn't take it.
    """
    first, second, third = slack_parts(address.value)
    plugin = {
        "schema": "slack", "token_a": first, "token_b": second, "token_c": third,
        "include_image": False, "include_footer": False, "format": "text",
    }  # fmt: skip
    await _by_apprise(plugin, message, why="Slack")


def to_webhook(known_hosts: Sequence[str]) -> Send:
    """Posts a JSON object.

    Args:
        known_hosts: Hosts that may be in a private network.
    """

    async def send(address: Address, message: Message, *, user_id: str) -> None:
        content = {
            "title": message.title,
            "text": message.text,
            "event": message.event,
            "run": message.run_id,
            "job": message.job_id,
            "link": message.link or None,
        }
        await post_json(address.value, content, known_hosts=known_hosts)

    return send


def to_pages(show: Callable[[str, Message], Awaitable[bool]]) -> Send:
    """Shows it on an open page of that person.

    Args:
        show: Whether one of the account's pages showed it.
    """

    async def send(address: Address, message: Message, *, user_id: str) -> None:
        if not await show(user_id, message):
            raise Undelivered(words.NO_PAGE, outcome="wait")

    return send


async def _by_apprise(plugin: dict[str, Any], message: Message, *, why: str) -> None:
    """Sends through one plugin of apprise, made by us: nobody's text is read as a URL.

    Raises:
        Undelivered: If it says no.
    """
    apprise = await asyncio.to_thread(_apprise)
    made = apprise.Apprise.instantiate(plugin, suppress_exceptions=True)
    if made is None:
        raise Undelivered(f"{why} can't be used with these settings", outcome="never")
    sender = apprise.Apprise()
    sender.add(made)
    result = await sender.async_notify(title=message.title, body=message.body)
    if not result:
        said = "; ".join(str(entry.message) for entry in result.logs())
        raise Undelivered(f"{why} didn't take it: {said or 'no reason given'}", outcome="again")


def _apprise() -> Any:
    """The library, loaded when it is first needed: it takes a second."""
    import apprise

    return apprise

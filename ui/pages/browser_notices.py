"""Notices on an open page: as the browser's own notification, or else as a line on the page."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from nicegui import ui

from ..gate.clients import current_person
from ..identity.access import Principal
from ..notices.senders import Message
from ..words import common
from .visit import Visit

_PATIENCE_S = 5.0
_Kind = Literal["positive", "negative", "warning"]
_KINDS: Mapping[str, _Kind] = MappingProxyType({"failed": "negative", "stalled": "warning"})


class BrowserNotices(ui.element, component="notices.js"):
    """Shows notices of whoever looks at this page; part of every page.

    Args:
        visit: The open page.
    """

    def __init__(self, visit: Visit) -> None:
        super().__init__()
        self._visit = visit
        pages, client = visit.parts.notices.pages, visit.client
        pages.enter(client.id, self)
        client.on_delete(lambda: pages.leave(client.id))

    @property
    def user_id(self) -> str:
        """Whose session the page belongs to."""
        person = current_person(self._visit.client)
        return person.user_id if isinstance(person, Principal) else ""

    async def show(self, message: Message) -> bool:
        """Whether the message was shown: by the browser if it may, else on the page."""
        if not self._visit.client.has_socket_connection:
            return False
        told = {
            "title": message.title,
            "text": message.text,
            "tag": message.tag,
            "path": message.path,
        }
        try:
            with self._visit.client:
                if not await self.run_method("show", told, timeout=_PATIENCE_S):
                    self._show_on_page(message)
        except TimeoutError:  # a page that sleeps, or is gone without a word
            return False
        return True

    async def ask(self) -> str:
        """What the browser's owner says to notifications: granted, denied, default, unsupported."""
        return str(await self.run_method("ask", timeout=60))

    def _show_on_page(self, message: Message) -> None:
        kind = _KINDS.get(message.event, "positive")
        ui.notify(
            f"{message.title}\n{message.text}",
            type=kind,
            multi_line=True,
            timeout=0,
            close_button=common.CLOSE,
            classes="gkt-multiline",
        )

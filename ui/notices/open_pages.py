"""The pages that people have open, to show them something wherever they look."""

from __future__ import annotations

from typing import Protocol

from .senders import Message


class Page(Protocol):
    """A page that is open."""

    @property
    def user_id(self) -> str:
        """Whose session it belongs to."""

    async def show(self, message: Message) -> bool:
        """Whether it could show the message."""


class OpenPages:
    """All pages that are open now."""

    def __init__(self) -> None:
        self._pages: dict[str, Page] = {}

    def enter(self, client_id: str, page: Page) -> None:
        """A page was opened."""
        self._pages[client_id] = page

    def leave(self, client_id: str) -> None:
        """A page was closed."""
        self._pages.pop(client_id, None)

    async def show(self, user_id: str, message: Message) -> bool:
        """Whether one of the account's pages showed the message; the newest is asked first."""
        for page in [*self._pages.values()][::-1]:
            if page.user_id == user_id and await page.show(message):
                return True
        return False

"""What the gate asks of the parts behind it: who holds a session, who holds a token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from starlette.types import Scope


class Person(Protocol):
    """Whoever a request comes from; `identity.access.Principal` is one."""

    @property
    def user_id(self) -> str:
        """The account."""
        ...

    @property
    def name(self) -> str:
        """What the account signs in with."""
        ...

    @property
    def workspace_id(self) -> str:
        """The workspace that is open."""
        ...

    @property
    def session_hash(self) -> str | None:
        """Names the session without being able to open it; none for a token."""
        ...


class SessionReader(Protocol):
    """Knows the sessions."""

    async def principal_of(self, raw_id: str, *, touch: bool = True) -> Person | None:
        """Who holds this session, or none if it is unknown, has expired or was ended.

        Args:
            raw_id: What the cookie holds.
            touch: Whether this counts as a sign of life of the person.
        """
        ...


class TokenReader(Protocol):
    """Knows the personal tokens."""

    async def principal_of(self, raw: str) -> Person | None:
        """Who holds this token, or none if it is unknown, has expired or was ended."""
        ...


RateLimit = Callable[[str, Scope], Awaitable[float | None]]
"""From a user's id and a request to the seconds to wait, or none if it may go on."""

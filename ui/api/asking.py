"""Who asks, what of the server answers, and whether they may: what every route begins with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request

from ..gate.cookies import session_id
from ..identity.access import Action, Principal, authorize
from ..identity.service import Identity
from ..jobs.event_feed import EventFeed
from ..parts import Parts, parts_of
from ..store.workspace import WorkspaceStore
from .stream_limits import StreamLimits


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the API has of its own, beside the server's parts.

    Attributes:
        events: Followed files of events.
        streams: How many streams each person has open.
        submitting: Held while a job is put into the queue.
    """

    events: EventFeed = field(default_factory=EventFeed)
    streams: StreamLimits = field(default_factory=StreamLimits)
    submitting: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, kw_only=True)
class Asking:
    """One request.

    Attributes:
        principal: Who asks.
        parts: The server's parts.
        services: What the API has of its own.
        request: The request itself.
    """

    principal: Principal
    parts: Parts
    services: Services
    request: Request

    @property
    def rows(self) -> WorkspaceStore:
        """The rows of the open workspace."""
        return WorkspaceStore(self.parts.store, self.principal)

    @property
    def identity(self) -> Identity:
        """Accounts, sessions, tokens, members and the audit log."""
        return self.parts.identity

    @property
    def root(self) -> Path:
        """The data root."""
        return self.parts.settings.root

    @property
    def address(self) -> str:
        """Where the request comes from."""
        return self.request.client.host if self.request.client else ""

    def authorize(self, action: Action) -> None:
        """Returns if the asker may do it in the open workspace.

        Raises:
            Forbidden: If not.
        """
        authorize(self.principal, action, self.principal.workspace_id)

    async def note(self, action: str, object: str, **detail: Any) -> None:
        """Adds a line to the audit log."""
        await self.identity.audit.write(
            self.principal.workspace_id,
            self.principal.user_id,
            action,
            object,
            detail,
            address=self.address,
        )

    async def principal_now(self) -> Principal | None:
        """Who asks, looked up again: None once the session or token is over."""
        kind, _, token = self.request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return await self.identity.tokens.principal_of(token.strip())
        is_https = self.parts.settings.is_https
        raw_id = session_id(self.request.scope, is_https=is_https)
        if raw_id is None:
            return None
        return await self.identity.sessions.principal_of(raw_id, touch=False)


async def asking(request: Request) -> Asking:
    """The request, as routes want it. Which action it is, they say themselves."""
    return Asking(
        principal=request.state.principal,
        parts=parts_of(request),
        services=request.app.state.api,
        request=request,
    )


def to(action: Action) -> Callable[..., Any]:
    """A dependency: the request, once it is known that the asker may do `action` here.

    It is asked before the body is looked at, and routes say by it which action they are.
    """

    async def allowed(found: Annotated[Asking, Depends(asking)]) -> Asking:
        found.authorize(action)
        return found

    allowed.action = action  # type: ignore[attr-defined]
    return allowed


Ask = Annotated[Asking, Depends(asking)]
"""Any signed-in person; the route asks `authorize` itself."""

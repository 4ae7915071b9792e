"""Sessions: a random id in a signed cookie, its SHA-256 in the database, looked up at each request.

So a session ends at once when it is revoked, when the account is disabled, and when the
membership is removed. Whoever reads the database finds no id that a browser could send.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, bindparam, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ..store.engine import Store
from ..store.tables import memberships, sessions, users
from .access import Action, Principal, Role, authorize
from .audit import Audit
from .clock import Clock, utc_now
from .refusals import check_id, not_found
from .signing import digest, sign, unsign

IDLE = timedelta(hours=8)
LONGEST = timedelta(hours=24)
TOUCH_EVERY = timedelta(minutes=1)
KEEP_ENDED = timedelta(days=30)

_PURPOSE = "session"

Listener = Callable[[str], None]
"""Told the hash of each session that was revoked, after it was."""


@dataclass(frozen=True)
class SessionInfo:
    """One session, as its owner sees it.

    Attributes:
        public_id: What to end it by.
        address: Where it was opened from.
        agent: The browser, as it called itself.
        created_at: When it was opened.
        seen_at: When it was last used, to the minute.
        expires_at: When it ends whatever happens.
        is_current: Whether it is the one that asks.
    """

    public_id: str
    address: str
    agent: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    is_current: bool


class Sessions:
    """All sessions of a server.

    Args:
        store: The open database.
        audit: Where opening and ending is noted.
        key: The server's cookie key.
        idle: A session ends when it wasn't used for so long.
        longest: A session ends so long after signing in, whatever was done.
        clock: The wall clock: sessions outlive a restart, so no other would do.
    """

    def __init__(
        self,
        store: Store,
        audit: Audit,
        key: bytes,
        *,
        idle: timedelta = IDLE,
        longest: timedelta = LONGEST,
        clock: Clock = utc_now,
    ) -> None:
        self._store, self._audit, self._key, self._clock = store, audit, key, clock
        self._idle, self._longest = idle, longest
        self._listeners: list[Listener] = []

    def on_revoked(self, listener: Listener) -> None:
        """Registers a function that is told which sessions were revoked in this process.

        A session that ends by time, or by a command on a terminal, is not told: sockets must ask
        `principal_of` now and then too.
        """
        self._listeners.append(listener)

    async def open(
        self,
        user_id: str,
        workspace_id: str,
        *,
        address: str,
        agent: str,
        replaces: str | None = None,
    ) -> str:
        """What the cookie of a fresh session holds: 256 random bits, signed. Given out once.

        The signature keeps made-up ids from the database; that no session can be guessed, or
        found in the database, is the work of the random bits and of their hash.

        Args:
            user_id: Who has just shown who they are.
            workspace_id: The workspace that is active first.
            address: Where from.
            agent: The browser's `User-Agent`.
            replaces: What the browser's cookie held until now: that session ends here.
        """
        raw, now = secrets.token_urlsafe(32), self._clock()
        old = unsign(self._key, _PURPOSE, replaces or "")
        async with self._audit.begin() as entries:
            ended = []
            if old is not None:
                same = sessions.c.id_hash == digest(old)
                ended = await self.end_in(entries.connection, same)
            row: dict[str, Any] = {
                "id_hash": digest(raw),
                "public_id": secrets.token_hex(16),
                "workspace_id": workspace_id,
                "user_id": user_id,
                "created_at": now,
                "seen_at": now,
                "expires_at": now + self._longest,
                "address": _plain(address, 64),
                "agent": _plain(agent, 200),
            }
            await entries.connection.execute(insert(sessions).values(row))
            await entries.write(
                workspace_id, user_id, "session.opened", row["public_id"], address=address
            )
        self.tell(ended)
        return sign(self._key, _PURPOSE, raw)

    async def principal_of(self, raw_id: str, *, touch: bool = True) -> Principal | None:
        """Who sends this cookie, as of now; None if the session is over or its owner is shut out.

        Args:
            raw_id: What the cookie holds.
            touch: Whether it counts as a sign of life of the person.
        """
        raw = unsign(self._key, _PURPOSE, raw_id)
        if raw is None:
            return None
        now, id_hash = self._clock(), digest(raw)
        async with self._store.begin() as connection:
            row = (await connection.execute(_LOOK_UP, {"id_hash": id_hash, "now": now})).first()
            if row is None or row.seen_at + self._idle <= now:
                return None
            if touch and not row.seen_at <= now < row.seen_at + TOUCH_EVERY:
                seen = update(sessions).where(sessions.c.id_hash == id_hash)
                await connection.execute(seen.values(seen_at=now))
        return Principal(
            user_id=row.user_id,
            name=row.name,
            workspace_id=row.workspace_id,
            role=Role(row.role),
            is_server_admin=row.is_server_admin,
            session_hash=id_hash,
        )

    async def switch_workspace(self, principal: Principal, workspace_id: str) -> None:
        """Makes another workspace the active one of this session.

        Raises:
            NotFound: If there is no such workspace, or the user isn't a member.
        """
        authorize(principal, Action.OWN_ACCOUNT, principal.workspace_id)
        is_member = select(memberships.c.role).where(
            memberships.c.user_id == principal.user_id,
            memberships.c.workspace_id == check_id(workspace_id),
        )
        async with self._store.begin() as connection:
            if await connection.scalar(is_member) is None:
                raise not_found("The workspace")
            here = update(sessions).where(sessions.c.id_hash == principal.session_hash)
            await connection.execute(here.values(workspace_id=workspace_id))

    async def list_of(self, principal: Principal) -> list[SessionInfo]:
        """The user's own sessions that are not over, the last used first."""
        authorize(principal, Action.OWN_ACCOUNT, principal.workspace_id)
        now = self._clock()
        query = select(sessions).where(
            sessions.c.user_id == principal.user_id,
            sessions.c.revoked_at.is_(None),
            sessions.c.expires_at > now,
            sessions.c.seen_at > now - self._idle,
        )
        async with self._store.begin() as connection:
            rows = await connection.execute(query.order_by(sessions.c.seen_at.desc()))
            return [
                SessionInfo(
                    public_id=row.public_id,
                    address=row.address,
                    agent=row.agent,
                    created_at=row.created_at,
                    seen_at=row.seen_at,
                    expires_at=row.expires_at,
                    is_current=row.id_hash == principal.session_hash,
                )
                for row in rows
            ]

    async def sign_out(self, principal: Principal) -> None:
        """Ends the session that asks."""
        await self._revoke(principal, sessions.c.id_hash == principal.session_hash)

    async def revoke(self, principal: Principal, public_id: str) -> None:
        """Ends one of the user's own sessions.

        Raises:
            NotFound: If the user has no such session, or it is over.
        """
        if not await self._revoke(principal, sessions.c.public_id == check_id(public_id)):
            raise not_found("The session")

    async def revoke_others(self, principal: Principal) -> int:
        """Ends all of the user's sessions but the one that asks; says how many."""
        return await self._revoke(principal, sessions.c.id_hash != principal.session_hash)

    async def revoke_all_of(self, user_id: str, *, actor: str) -> int:
        """Ends all sessions of a user, and says how many. Whoever calls it has authorized it."""
        async with self._audit.begin() as entries:
            ended = await self.end_in(entries.connection, sessions.c.user_id == user_id)
            home = select(users.c.workspace_id).where(users.c.id == user_id)
            workspace_id = (await entries.connection.execute(home)).scalar_one()
            detail = {"sessions": len(ended)}
            await entries.write(workspace_id, actor, "session.all_ended", user_id, detail)
        self.tell(ended)
        return len(ended)

    async def end_in(self, connection: AsyncConnection, *which: ColumnElement[bool]) -> list[str]:
        """Ends sessions within another's transaction; `tell` their hashes when it is committed."""
        open_ones = sessions.c.revoked_at.is_(None)
        query = update(sessions).where(open_ones, *which).values(revoked_at=self._clock())
        return list(await connection.scalars(query.returning(sessions.c.id_hash)))

    def tell(self, hashes: Iterable[str]) -> None:
        """Tells the listeners which sessions are over."""
        for one in hashes:
            for listener in self._listeners:
                listener(one)

    async def _revoke(self, principal: Principal, which: ColumnElement[bool]) -> int:
        authorize(principal, Action.OWN_ACCOUNT, principal.workspace_id)
        own = sessions.c.user_id == principal.user_id
        async with self._audit.begin() as entries:
            ended = await self.end_in(entries.connection, own, which)
            if ended:
                await entries.write(
                    principal.workspace_id,
                    principal.user_id,
                    "session.ended",
                    principal.user_id,
                    {"sessions": len(ended)},
                )
        self.tell(ended)
        return len(ended)

    async def sweep(self) -> int:
        """Deletes sessions that have been over for a month; says how many."""
        limit = self._clock() - KEEP_ENDED
        old = or_(sessions.c.expires_at < limit, sessions.c.revoked_at < limit)
        async with self._store.begin() as connection:
            return (await connection.execute(delete(sessions).where(old))).rowcount


_LOOK_UP = (
    select(
        sessions.c.user_id,
        sessions.c.workspace_id,
        sessions.c.seen_at,
        users.c.name,
        users.c.is_server_admin,
        memberships.c.role,
    )
    .join(users, users.c.id == sessions.c.user_id)
    .join(
        memberships,
        (memberships.c.user_id == sessions.c.user_id)
        & (memberships.c.workspace_id == sessions.c.workspace_id),
    )
    .where(
        sessions.c.id_hash == bindparam("id_hash"),
        sessions.c.revoked_at.is_(None),
        sessions.c.expires_at > bindparam("now", type_=sessions.c.expires_at.type),
        users.c.is_disabled.is_(False),
    )
)


def _plain(text: str, limit: int) -> str:
    """What a browser said, fit for every database and for one line."""
    return "".join(letter for letter in text if letter.isprintable())[:limit]

"""Personal tokens for the API: shown once, limited by scopes, over after a year at the latest."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gemma_keras_tune.errors import TuneError

from ..store.engine import Store
from ..store.tables import memberships, tokens, users
from .access import SCOPES, Action, Principal, Role, authorize
from .audit import Audit
from .clock import Clock, utc_now
from .refusals import check_id, not_found
from .signing import digest

PREFIX = "gkt_"
LONGEST = timedelta(days=366)
TOUCH_EVERY = timedelta(minutes=1)

_RAW = re.compile(r"gkt_[A-Za-z0-9_-]{43}")
_MOST = 50  # of one user at a time


@dataclass(frozen=True)
class TokenInfo:
    """One token, as its owner sees it. The token itself is nowhere.

    Attributes:
        id: What to revoke it by.
        name: What its owner calls it.
        workspace_id: The one workspace it works in.
        scopes: What it may be used for.
        created_at: When it was made.
        expires_at: When it stops working.
        used_at: When it was last used, to the minute; None if never.
        revoked_at: When it was revoked; None if it wasn't.
    """

    id: str
    name: str
    workspace_id: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None


class Tokens:
    """All tokens of a server.

    Args:
        store: The open database.
        audit: Where making and revoking is noted.
        clock: The wall clock.
    """

    def __init__(self, store: Store, audit: Audit, *, clock: Clock = utc_now) -> None:
        self._store, self._audit, self._clock = store, audit, clock

    async def create(
        self, principal: Principal, *, name: str, scopes: Iterable[str], expires_at: datetime
    ) -> tuple[TokenInfo, str]:
        """A new token of whoever asks, for their active workspace, and its text: `gkt_…`.

        Args:
            principal: Somebody who is signed in; a token can't make tokens.
            name: What to call it.
            scopes: Some of `SCOPES`.
            expires_at: At most a year from now.

        Raises:
            TuneError: `TOKEN_INVALID`, with all that is wrong.
            Forbidden: If it is asked with a token.
        """
        authorize(principal, Action.OWN_ACCOUNT, principal.workspace_id)
        now, scopes = self._clock(), sorted(set(scopes))
        name = name.strip()
        _check(name, scopes, expires_at - now)
        raw = PREFIX + secrets.token_urlsafe(32)
        row: dict[str, Any] = {
            "id": secrets.token_hex(16),
            "workspace_id": principal.workspace_id,
            "user_id": principal.user_id,
            "name": name,
            "token_hash": digest(raw),
            "scopes": scopes,
            "created_at": now,
            "expires_at": expires_at,
        }
        async with self._audit.begin() as entries:
            await self._check_room(principal, entries.connection, now)
            await entries.connection.execute(insert(tokens).values(row))
            detail = {"name": name, "scopes": scopes, "until": expires_at.isoformat()}
            actor = principal.user_id
            if principal.via == "operator":
                actor, detail = "operator", {**detail, "for": principal.user_id}
            await entries.write(principal.workspace_id, actor, "token.created", row["id"], detail)
        shown: dict[str, Any] = {name: row.get(name) for name in TokenInfo.__dataclass_fields__}
        return TokenInfo(**{**shown, "scopes": tuple(scopes)}), raw

    async def principal_of(self, raw: str) -> Principal | None:
        """Who sends this token, as of now; None if it is over or its owner may not enter."""
        if not _RAW.fullmatch(raw):
            return None
        now = self._clock()
        async with self._store.begin() as connection:
            values = {"token_hash": digest(raw), "now": now}
            row = (await connection.execute(_LOOK_UP, values)).first()
            if row is None:
                return None
            if row.used_at is None or not row.used_at <= now < row.used_at + TOUCH_EVERY:
                used = update(tokens).where(tokens.c.id == row.id)
                await connection.execute(used.values(used_at=now))
        return Principal(
            user_id=row.user_id,
            name=row.name,
            workspace_id=row.workspace_id,
            role=Role(row.role),
            is_server_admin=row.is_server_admin,
            scopes=frozenset(row.scopes) & frozenset(SCOPES),
            via="token",
        )

    async def list_of(self, principal: Principal) -> list[TokenInfo]:
        """The user's own tokens in the active workspace, the newest first."""
        authorize(principal, Action.OWN_ACCOUNT, principal.workspace_id)
        query = (
            select(*(tokens.c[name] for name in TokenInfo.__dataclass_fields__))
            .where(
                tokens.c.user_id == principal.user_id,
                tokens.c.workspace_id == principal.workspace_id,
            )
            .order_by(tokens.c.created_at.desc(), tokens.c.id)
        )
        async with self._store.begin() as connection:
            rows = (await connection.execute(query)).mappings()
            return [TokenInfo(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]

    async def revoke(self, principal: Principal, token_id: str) -> None:
        """Ends one of the user's own tokens.

        Raises:
            NotFound: If the user has no such token, or it is revoked already.
        """
        authorize(principal, Action.OWN_ACCOUNT, principal.workspace_id)
        own = update(tokens).where(
            tokens.c.id == check_id(token_id),
            tokens.c.user_id == principal.user_id,
            tokens.c.revoked_at.is_(None),
        )
        async with self._audit.begin() as entries:
            ended = own.values(revoked_at=self._clock()).returning(tokens.c.workspace_id)
            workspace_id = await entries.connection.scalar(ended)
            if workspace_id is None:
                raise not_found("The token")
            await entries.write(workspace_id, principal.user_id, "token.revoked", token_id)

    async def _check_room(
        self, principal: Principal, connection: AsyncConnection, now: datetime
    ) -> None:
        living = select(func.count()).where(
            tokens.c.user_id == principal.user_id,
            tokens.c.revoked_at.is_(None),
            tokens.c.expires_at > now,
        )
        if (await connection.scalar(living) or 0) >= _MOST:
            raise TuneError(
                f"You have {_MOST} tokens that still work. Revoke one that you don't need.",
                code="TOKEN_INVALID",
            )


_LOOK_UP = (
    select(
        tokens.c.id,
        tokens.c.user_id,
        tokens.c.workspace_id,
        tokens.c.scopes,
        tokens.c.used_at,
        users.c.name,
        users.c.is_server_admin,
        memberships.c.role,
    )
    .join(users, users.c.id == tokens.c.user_id)
    .join(
        memberships,
        (memberships.c.user_id == tokens.c.user_id)
        & (memberships.c.workspace_id == tokens.c.workspace_id),
    )
    .where(
        tokens.c.token_hash == bindparam("token_hash"),
        tokens.c.revoked_at.is_(None),
        tokens.c.expires_at > bindparam("now", type_=tokens.c.expires_at.type),
        users.c.is_disabled.is_(False),
    )
)


def _check(name: str, scopes: list[str], lasts: timedelta) -> None:
    problems = []
    if not name or len(name) > 80 or not name.isprintable():
        problems.append("the name needs 1 to 80 characters on one line")
    if not scopes or set(scopes) - set(SCOPES):
        problems.append(f"scopes are one or more of {', '.join(SCOPES)}")
    if not timedelta(0) < lasts <= LONGEST:
        problems.append(f"it must end in the future, after at most {LONGEST.days} days")
    if problems:
        raise TuneError(f"The token can't be made: {'; '.join(problems)}.", code="TOKEN_INVALID")

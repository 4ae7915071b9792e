"""Invitations: a link that makes whoever opens it first a member, with an account of their own.

Only the hash of the code is kept. A link works once, for a week, and only as long as whoever made
it still administers the server.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import func, insert, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from gemma_keras_tune.errors import TuneError

from ..store.engine import Store
from ..store.tables import invitations, memberships, users, workspaces
from .access import Action, Principal, Role, authorize
from .account_rows import check_not_above, insert_user, lock_accounts
from .audit import Audit
from .clock import Clock, Monotonic, utc_now
from .passwords import Passwords, check_password
from .people import User, account_name, check_names
from .rate_limits import Window, too_many
from .refusals import SignInFailed, check_id, not_found
from .signing import digest

LASTS = timedelta(days=7)
MOST = 100
_TRIES_A_MINUTE = 30


@dataclass(frozen=True)
class Invitation:
    """A link that waits for somebody.

    Attributes:
        id: Names it; it isn't the code.
        role: What they become in the workspace.
        meant_for: Whom it was made for, as a remark.
        created_at: Since when.
        expires_at: Until when it works.
    """

    id: str
    role: Role
    meant_for: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class Offer:
    """What a link says to whoever opens it.

    Attributes:
        workspace: The workspace's name.
        role: What they become in it.
    """

    workspace: str
    role: Role


class Invitations:
    """All invitations of a server.

    Args:
        store: The open database.
        audit: Where every change is noted.
        passwords: Hashes the password that somebody chooses.
        clock: The wall clock.
        monotonic: Seconds that never jump, for the limit of tries.
    """

    def __init__(
        self,
        store: Store,
        audit: Audit,
        passwords: Passwords,
        *,
        clock: Clock = utc_now,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        self._store, self._audit, self._passwords = store, audit, passwords
        self._clock = clock
        self._tries = Window(_TRIES_A_MINUTE, 60, clock=monotonic)

    async def create(
        self, actor: Principal, role: Role, *, meant_for: str = ""
    ) -> tuple[Invitation, str]:
        """A new invitation into the open workspace, and its code, which is shown this once.

        Args:
            actor: An administrator of the server.
            role: Not above the actor's own.
            meant_for: A remark, at most 80 characters on one line.

        Raises:
            Forbidden: If the actor may not, or the role is above theirs.
            TuneError: `INVITATION_INVALID`: the remark, or one too many.
        """
        authorize(actor, Action.MANAGE_USERS)
        check_not_above(actor, role)
        meant_for = meant_for.strip()
        if len(meant_for) > 80 or not meant_for.isprintable():
            raise _invalid("Whom it is for has at most 80 characters on one line.")
        code, now = secrets.token_urlsafe(32), self._clock()
        row = {
            "id": secrets.token_hex(16),
            "workspace_id": actor.workspace_id,
            "user_id": actor.user_id,
            "code_hash": digest(code),
            "role": role.label,
            "meant_for": meant_for,
            "created_at": now,
            "expires_at": now + LASTS,
        }
        waiting = select(func.count()).where(*self._waiting(actor.workspace_id))
        async with self._audit.begin() as entries:
            if (await entries.connection.scalar(waiting) or 0) >= MOST:
                raise _invalid(f"{MOST} invitations wait already, which is the most. Revoke one.")
            await entries.connection.execute(insert(invitations).values(row))
            detail = {"role": role.label, "for": meant_for}
            await entries.write(
                actor.workspace_id, actor.user_id, "invitation.made", str(row["id"]), detail
            )
        return _invitation(row), code

    async def waiting(self, actor: Principal) -> list[Invitation]:
        """The invitations into the open workspace that still work, the oldest first."""
        authorize(actor, Action.MANAGE_USERS)
        query = select(invitations).where(*self._waiting(actor.workspace_id))
        async with self._store.begin() as connection:
            rows = await connection.execute(query.order_by(invitations.c.created_at))
            return [_invitation(row._mapping) for row in rows]

    async def revoke(self, actor: Principal, invitation_id: str) -> None:
        """Makes a link worthless.

        Raises:
            NotFound: If there is no such invitation that still works in the open workspace.
        """
        authorize(actor, Action.MANAGE_USERS)
        known = invitations.c.id == check_id(invitation_id)
        own = update(invitations).where(known, *self._waiting(actor.workspace_id))
        async with self._audit.begin() as entries:
            changed = await entries.connection.execute(own.values(revoked_at=self._clock()))
            if not changed.rowcount:
                raise not_found("The invitation")
            await entries.write(
                actor.workspace_id, actor.user_id, "invitation.revoked", invitation_id
            )

    async def offer(self, code: str, *, address: str = "") -> Offer:
        """What a link offers, for the page that asks for a name and a password.

        Raises:
            SignInFailed: `INVITATION_WRONG` if it is wrong, used, revoked or too old.
            TooManyRequests: After too many tries from one address in a minute.
        """
        self._count_try(address)
        async with self._store.begin() as connection:
            row = await self._row(connection, code)
        return Offer(workspace=row.workspace, role=Role(row.role))

    async def accept(
        self, code: str, *, name: str, display_name: str, password: str, address: str = ""
    ) -> User:
        """The new account of whoever has the link, a member of its workspace.

        Raises:
            SignInFailed: `INVITATION_WRONG`.
            TooManyRequests: As for `offer`.
            TuneError: `ACCOUNT_INVALID`, `ACCOUNT_EXISTS` or a code of `check_password`; the link
                still works then.
        """
        self._count_try(address)
        async with self._store.begin() as connection:
            await self._row(connection, code)  # before the slow hash
        name = account_name(name)
        check_names(name, display_name, None)
        check_password(password, about=(name, display_name))
        password_hash = await self._passwords.hash(password)
        async with self._audit.begin() as entries:
            found = await self._taken(entries.connection, code)
            row = {
                "name": name,
                "display_name": display_name,
                "password_hash": password_hash,
                "password_changed_at": self._clock(),
                "workspace_id": found.workspace_id,
            }
            user = await insert_user(entries, row, Role(found.role), found.user_id, self._clock)
            await self._note_use(entries.connection, found.id, user.id)
            await entries.write(
                found.workspace_id, user.id, "invitation.used", found.id, address=address
            )
        return user

    async def join(self, principal: Principal, code: str, *, address: str = "") -> str:
        """Makes somebody who has an account already a member; the id of the workspace.

        Raises:
            SignInFailed: `INVITATION_WRONG`.
            TooManyRequests: As for `offer`.
            TuneError: `MEMBER_ALREADY`; the link still works then.
        """
        authorize(principal, Action.OWN_ACCOUNT, principal.workspace_id)
        self._count_try(address)
        async with self._audit.begin() as entries:
            connection = entries.connection
            found = await self._taken(connection, code)
            here, me = found.workspace_id, principal.user_id
            known = select(memberships.c.role).where(
                memberships.c.workspace_id == here, memberships.c.user_id == me
            )
            if await connection.scalar(known) is not None:
                raise TuneError("You are a member already.", code="MEMBER_ALREADY")
            member = {"workspace_id": here, "user_id": me, "role": found.role}
            await connection.execute(insert(memberships).values(**member, created_at=self._clock()))
            await self._note_use(connection, found.id, me)
            await entries.write(here, me, "invitation.used", found.id, address=address)
        return str(here)

    def _count_try(self, address: str) -> None:
        if wait := self._tries.wait_s(address):
            raise too_many(wait, "tries", code="TOO_MANY_SIGN_INS")
        self._tries.hit(address)

    async def _taken(self, connection: AsyncConnection, code: str) -> Row[Any]:
        """The invitation, for whoever uses it now: nobody else can at the same time."""
        await lock_accounts(connection)
        return await self._row(connection, code)

    async def _row(self, connection: AsyncConnection, code: str) -> Row[Any]:
        query = (
            select(
                invitations.c.id,
                invitations.c.workspace_id,
                invitations.c.user_id,
                invitations.c.role,
                workspaces.c.name.label("workspace"),
            )
            .join_from(
                invitations, workspaces, invitations.c.workspace_id == workspaces.c.workspace_id
            )
            .join(users, invitations.c.user_id == users.c.id)
            .where(
                invitations.c.code_hash == digest(code),
                *self._waiting(None),
                users.c.is_server_admin,
                users.c.is_disabled.is_(False),
            )
        )
        row = (await connection.execute(query)).first()
        if row is None:
            raise SignInFailed(
                "This invitation is wrong, used, revoked or more than a week old. Ask whoever "
                "sent it for a new one.",
                code="INVITATION_WRONG",
            )
        return cast("Row[Any]", row)

    def _waiting(self, workspace_id: str | None) -> list[Any]:
        where = [
            invitations.c.used_at.is_(None),
            invitations.c.revoked_at.is_(None),
            invitations.c.expires_at > self._clock(),
        ]
        return (
            where if workspace_id is None else [*where, invitations.c.workspace_id == workspace_id]
        )

    async def _note_use(self, connection: AsyncConnection, id: str, user_id: str) -> None:
        used = update(invitations).where(invitations.c.id == id)
        await connection.execute(used.values(used_at=self._clock(), used_by=user_id))


def _invitation(row: Any) -> Invitation:
    names = ("id", "meant_for", "created_at", "expires_at")
    return Invitation(role=Role(row["role"]), **{name: row[name] for name in names})


def _invalid(message: str) -> TuneError:
    return TuneError(message, code="INVITATION_INVALID")

"""Workspaces and who is a member of them."""

from __future__ import annotations

import secrets

from sqlalchemy import ColumnElement, func, insert, select, update
from sqlalchemy import delete as delete_from
from sqlalchemy.ext.asyncio import AsyncConnection

from gemma_keras_tune.errors import TuneError

from ..store.engine import Store
from ..store.tables import memberships, sessions, tokens, users, workspaces
from .access import Action, Forbidden, Principal, Role, authorize
from .account_rows import check_not_above, lock_accounts
from .audit import Audit, Entries
from .clock import Clock, utc_now
from .people import Member, account_name, check_workspace_name, is_name
from .refusals import check_id, not_found
from .sessions import Sessions


class Members:
    """Workspaces and memberships; all but `create` and `mine` act on the active workspace.

    Args:
        store: The open database.
        audit: Where every change is noted.
        sessions: Ended when a membership is.
        clock: The wall clock.
    """

    def __init__(
        self, store: Store, audit: Audit, sessions: Sessions, *, clock: Clock = utc_now
    ) -> None:
        self._store, self._audit, self._sessions, self._clock = store, audit, sessions, clock

    async def mine(self, principal: Principal) -> list[tuple[str, str, Role]]:
        """The workspaces of whoever asks: id, name and role, by name. A token sees its own only."""
        query = (
            select(workspaces.c.workspace_id, workspaces.c.name, memberships.c.role)
            .join_from(workspaces, memberships)
            .where(memberships.c.user_id == principal.user_id)
            .order_by(workspaces.c.name)
        )
        if principal.via == "token":
            query = query.where(workspaces.c.workspace_id == principal.workspace_id)
        async with self._store.begin() as connection:
            rows = await connection.execute(query)
            return [(row.workspace_id, row.name, Role(row.role)) for row in rows]

    async def create(self, actor: Principal, name: str) -> str:
        """The id of a new workspace, which the actor owns.

        Raises:
            Forbidden: If the actor is no administrator of the server.
            TuneError: `WORKSPACE_INVALID`.
        """
        authorize(actor, Action.CREATE_WORKSPACE)
        name = name.strip()
        check_workspace_name(name)
        workspace_id, now = secrets.token_hex(16), self._clock()
        async with self._audit.begin() as entries:
            row = {"workspace_id": workspace_id, "name": name, "created_at": now}
            await entries.connection.execute(insert(workspaces).values(row))
            if actor.via != "operator":
                own = {"workspace_id": workspace_id, "user_id": actor.user_id, "created_at": now}
                owner = insert(memberships).values(**own, role=Role.OWNER.label)
                await entries.connection.execute(owner)
            detail = {"name": name}
            await entries.write(
                workspace_id, actor.user_id, "workspace.created", workspace_id, detail
            )
        return workspace_id

    async def rename(self, actor: Principal, name: str) -> None:
        """Renames the active workspace.

        Raises:
            Forbidden: If the role is too low.
            TuneError: `WORKSPACE_INVALID`.
        """
        authorize(actor, Action.RENAME_WORKSPACE, actor.workspace_id)
        name = name.strip()
        check_workspace_name(name)
        here = workspaces.c.workspace_id == actor.workspace_id
        async with self._audit.begin() as entries:
            await entries.connection.execute(update(workspaces).where(here).values(name=name))
            await self._note(entries, actor, "workspace.renamed", actor.workspace_id, {"to": name})

    async def members(self, principal: Principal) -> list[Member]:
        """Everybody in the active workspace, by name."""
        authorize(principal, Action.VIEW_MEMBERS, principal.workspace_id)
        query = (
            select(
                memberships.c.user_id,
                users.c.name,
                users.c.display_name,
                memberships.c.role,
                users.c.is_disabled,
                memberships.c.created_at,
            )
            .join_from(memberships, users, memberships.c.user_id == users.c.id)
            .where(memberships.c.workspace_id == principal.workspace_id)
            .order_by(users.c.name)
        )
        async with self._store.begin() as connection:
            rows = (await connection.execute(query)).mappings()
            return [Member(**{**row, "role": Role(row["role"])}) for row in rows]

    async def add(self, actor: Principal, name: str, role: Role) -> None:
        """Makes an account of the server a member of the active workspace.

        Raises:
            Forbidden: If the actor's role is too low, or lower than `role`.
            TuneError: `MEMBER_UNKNOWN` if there is no such account, `MEMBER_ALREADY`.
        """
        authorize(actor, Action.MANAGE_MEMBERS, actor.workspace_id)
        check_not_above(actor, role)
        known = account_name(name)
        found = select(users.c.id).where(users.c.name == known)
        async with self._audit.begin() as entries:
            await lock_accounts(entries.connection)
            user_id = await entries.connection.scalar(found) if is_name(known) else None
            if user_id is None:
                raise TuneError(
                    f"There is no account called {name!r}. An administrator of the server can "
                    "make one.",
                    code="MEMBER_UNKNOWN",
                )
            if await self._role_of(entries.connection, actor.workspace_id, user_id) is not None:
                raise TuneError(f"{name} is a member already.", code="MEMBER_ALREADY")
            row = {"workspace_id": actor.workspace_id, "user_id": user_id, "role": role.label}
            new = insert(memberships).values(**row, created_at=self._clock())
            await entries.connection.execute(new)
            await self._note(entries, actor, "member.added", user_id, {"role": role.label})

    async def set_role(self, actor: Principal, user_id: str, role: Role) -> None:
        """Gives a member another role.

        Raises:
            NotFound: If there is no such member.
            Forbidden: `ROLE_ABOVE` if the old or the new role is above the actor's; `LAST_OWNER` if
                the workspace would have no owner.
        """
        authorize(actor, Action.MANAGE_MEMBERS, actor.workspace_id)
        async with self._audit.begin() as entries:
            old = await self._changeable(entries.connection, actor, user_id)
            check_not_above(actor, role)
            same = update(memberships).where(*_membership(actor.workspace_id, user_id))
            await entries.connection.execute(same.values(role=role.label))
            await _check_an_owner_is_left(entries.connection, actor.workspace_id)
            detail = {"from": old.label, "to": role.label}
            await self._note(entries, actor, "member.role_set", user_id, detail)

    async def remove(self, actor: Principal, user_id: str) -> None:
        """Takes a member out; anybody may take out themself. Their sessions and tokens here end.

        Raises:
            NotFound: If there is no such member.
            Forbidden: As for `set_role`.
        """
        is_self = user_id == actor.user_id
        action = Action.OWN_ACCOUNT if is_self else Action.MANAGE_MEMBERS
        authorize(actor, action, actor.workspace_id)
        here = actor.workspace_id
        async with self._audit.begin() as entries:
            connection = entries.connection
            await self._changeable(connection, actor, user_id)
            await connection.execute(delete_from(memberships).where(*_membership(here, user_id)))
            await _check_an_owner_is_left(connection, here)
            theirs = (tokens.c.user_id == user_id, tokens.c.workspace_id == here)
            revoked = update(tokens).where(tokens.c.revoked_at.is_(None), *theirs)
            await connection.execute(revoked.values(revoked_at=self._clock()))
            ended = await self._sessions.end_in(
                connection, sessions.c.user_id == user_id, sessions.c.workspace_id == here
            )
            await self._note(entries, actor, "member.removed", user_id, {})
        self._sessions.tell(ended)

    async def _changeable(
        self, connection: AsyncConnection, actor: Principal, user_id: str
    ) -> Role:
        """The member's role, if the actor may change it."""
        await lock_accounts(connection)
        role = await self._role_of(connection, actor.workspace_id, user_id)
        if role is None:
            raise not_found("The member")
        check_not_above(actor, role)
        return role

    async def _role_of(
        self, connection: AsyncConnection, workspace_id: str, user_id: str
    ) -> Role | None:
        query = select(memberships.c.role).where(*_membership(workspace_id, user_id))
        found = await connection.scalar(query)
        return Role(found) if found is not None else None

    async def _note(
        self, entries: Entries, actor: Principal, action: str, object: str, detail: dict[str, str]
    ) -> None:
        await entries.write(actor.workspace_id, actor.user_id, action, object, detail)


def _membership(workspace_id: str, user_id: str) -> tuple[ColumnElement[bool], ...]:
    same = memberships.c.user_id == check_id(user_id)
    return (memberships.c.workspace_id == workspace_id, same)


async def _check_an_owner_is_left(connection: AsyncConnection, workspace_id: str) -> None:
    left = select(func.count()).where(
        memberships.c.workspace_id == workspace_id, memberships.c.role == Role.OWNER.label
    )
    if not await connection.scalar(left):
        raise Forbidden(
            "This is the workspace's last owner. Make somebody else owner first.",
            code="LAST_OWNER",
        )

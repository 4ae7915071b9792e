"""What several parts do with accounts within one transaction."""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from gemma_keras_tune.errors import TuneError

from ..store.tables import memberships, users
from .access import Forbidden, Principal, Role
from .audit import Entries
from .clock import Clock
from .people import USER_COLUMNS, User, user_of

_LOCK = 0x676B76  # PostgreSQL's advisory lock of who changes accounts or members


async def insert_user(
    entries: Entries, row: dict[str, Any], role: Role, actor: str, clock: Clock
) -> User:
    """Adds an account with its membership, and notes it; within a transaction.

    Raises:
        TuneError: `ACCOUNT_EXISTS`.
    """
    connection, now, user_id = entries.connection, clock(), secrets.token_hex(16)
    try:
        await connection.execute(insert(users).values(id=user_id, created_at=now, **row))
    except IntegrityError as error:
        raise TuneError(
            f"There is an account called {row['name']} already. Choose another name.",
            code="ACCOUNT_EXISTS",
        ) from error
    member = {"workspace_id": row["workspace_id"], "user_id": user_id, "role": role.label}
    await connection.execute(insert(memberships).values(**member, created_at=now))
    made = await connection.execute(select(*USER_COLUMNS).where(users.c.id == user_id))
    user = user_of(made.one())
    detail = {"name": user.name, "role": role.label}
    await entries.write(row["workspace_id"], actor, "user.created", user_id, detail)
    return user


def check_not_above(actor: Principal, role: Role) -> None:
    """Returns if the actor may give or take this role.

    Raises:
        Forbidden: `ROLE_ABOVE` if it is above their own.
    """
    if role > actor.role:
        raise Forbidden(
            f"Your role here is {actor.role.label}: you can't give or take the role {role.label}.",
            code="ROLE_ABOVE",
        )


async def lock_accounts(connection: AsyncConnection) -> None:
    """Makes changes of who may do what wait for each other, so that two can't undo a rule."""
    if connection.dialect.name == "postgresql":
        await connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))

"""Accounts of people whom an identity provider has vouched for."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ..store.tables import server, users
from .access import Role
from .account_rows import insert_user, lock_accounts
from .accounts import Accounts
from .audit import Audit
from .clock import Clock, utc_now
from .people import User
from .refusals import SignInFailed


@dataclass(frozen=True)
class ExternalPerson:
    """Whom the provider says it is.

    Attributes:
        issuer: The provider.
        subject: The person there, for ever.
        email: Lower case; only if the provider has verified it.
        name: What to show; may be empty.
    """

    issuer: str
    subject: str
    email: str | None
    name: str


class ExternalAccounts:
    """Finds, ties or makes accounts for single sign-on.

    Args:
        audit: Where it is noted.
        accounts: Knows which workspace to open.
        clock: The wall clock.
    """

    def __init__(self, audit: Audit, accounts: Accounts, *, clock: Clock = utc_now) -> None:
        self._audit, self._accounts, self._clock = audit, accounts, clock

    async def enter(self, person: ExternalPerson, *, new_role: Role | None, address: str) -> User:
        """The person's account, with a workspace that it may open.

        An account that was made for single sign-on (without a password) and for this verified
        address is tied to the person the first time. One with a password never is.

        Args:
            person: Whom the provider vouches for.
            new_role: The role of a new account in the first workspace; None: none is made.
            address: Where the request came from.

        Raises:
            SignInFailed: `OIDC_NO_ACCOUNT`, `SIGN_IN_FAILED` if disabled, or `NO_WORKSPACE`.
        """
        async with self._audit.begin() as entries:
            await lock_accounts(entries.connection)
            user_id = await _known(entries.connection, person)
            if user_id is None and (user_id := await _tie(entries.connection, person)):
                home = (await entries.connection.execute(select(server))).one().workspace_id
                await entries.write(home, user_id, "user.tied", user_id, address=address)
            elif user_id is None and new_role is not None:
                row = await _new_row(entries.connection, person)
                made = await insert_user(entries, row, new_role, "system", self._clock)
                user_id = made.id
        if user_id is None:
            raise SignInFailed(
                "There is no account for you here. Ask an administrator of this server to make "
                "one for your e-mail address.",
                code="OIDC_NO_ACCOUNT",
            )
        return await self._accounts.entering(user_id)


async def _known(connection: AsyncConnection, person: ExternalPerson) -> str | None:
    same = (users.c.issuer == person.issuer, users.c.subject == person.subject)
    found: str | None = await connection.scalar(select(users.c.id).where(*same))
    return found


async def _tie(connection: AsyncConnection, person: ExternalPerson) -> str | None:
    """Ties the one account that waits for this address; None if there isn't exactly one."""
    if person.email is None:
        return None
    waiting = select(users.c.id).where(
        users.c.email == person.email,
        users.c.password_hash.is_(None),
        users.c.subject.is_(None),
        users.c.is_disabled.is_(False),
    )
    found = (await connection.scalars(waiting)).all()
    if len(found) != 1:
        return None
    tied = update(users).where(users.c.id == found[0])
    await connection.execute(tied.values(issuer=person.issuer, subject=person.subject))
    return str(found[0])


async def _new_row(connection: AsyncConnection, person: ExternalPerson) -> dict[str, str | None]:
    home = (await connection.execute(select(server.c.workspace_id))).scalar_one()
    shown = "".join(letter for letter in person.name if letter.isprintable()).strip()[:80]
    name = await _free_name(connection, person)
    return {
        "workspace_id": home,
        "name": name,
        "display_name": shown or name,
        "email": person.email,
        "password_hash": None,
        "issuer": person.issuer,
        "subject": person.subject,
    }


async def _free_name(connection: AsyncConnection, person: ExternalPerson) -> str:
    """A name that no account has: the address, or one that is made up from it."""
    wanted = re.sub(r"[^a-z0-9._@+-]", "", (person.email or person.name).lower())
    wanted = wanted.lstrip("._@+-")[:70] or "person"
    name, number = wanted, 1
    while await connection.scalar(select(users.c.id).where(users.c.name == name)) is not None:
        number += 1
        name = f"{wanted}-{number}"
    return name

"""Accounts: signing in, passwords, and what a server's administrator does with accounts.

Every change is committed together with its line in the audit log. A change that takes rights away
ends the sessions that had them.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.engine import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from ..store.engine import Store
from ..store.tables import memberships, sessions, users
from .access import Action, Forbidden, Principal, Role, authorize
from .account_rows import check_not_above, insert_user, lock_accounts
from .audit import Audit
from .clock import Clock, utc_now
from .passwords import Passwords, check_password, fresh_password
from .people import USER_COLUMNS, User, account_name, check_names, is_name, user_of
from .rate_limits import SignInLimits
from .refusals import SignInFailed, check_id, not_found
from .sessions import Sessions


class Accounts:
    """All accounts of a server.

    Args:
        store: The open database.
        audit: Where every change is noted.
        sessions: Ended when rights go.
        passwords: Hashes and checks.
        limits: How often somebody may try.
        clock: The wall clock.
    """

    def __init__(
        self,
        store: Store,
        audit: Audit,
        sessions: Sessions,
        passwords: Passwords,
        limits: SignInLimits,
        *,
        clock: Clock = utc_now,
    ) -> None:
        self._store, self._audit, self._sessions = store, audit, sessions
        self._passwords, self._limits, self._clock = passwords, limits, clock

    async def sign_in(self, name: str, password: str, *, address: str) -> User:
        """Whoever this name and password belong to, with the workspace to open.

        An unknown name, a wrong password and a disabled account get the same answer, after the
        same time.

        Raises:
            TooManyRequests: Before anything is looked at.
            SignInFailed: `SIGN_IN_FAILED`, or `NO_WORKSPACE` if the password was right.
        """
        name = account_name(name)
        self._limits.enter(name, address)
        known = await self._by_name(name)
        password_hash = known.password_hash if known else None
        is_right = await self._passwords.verify(password_hash, password)
        if known is None or not is_right or known.is_disabled:
            self._limits.failed(name)
            await self._note_failure(known, address)
            raise SignInFailed("The name or the password is wrong.", code="SIGN_IN_FAILED")
        self._limits.succeeded(name)
        if self._passwords.needs_rehash(known.password_hash):
            await self._rehash(known.id, known.password_hash, password)
        return await self.entering(known.id)

    async def entering(self, user_id: str) -> User:
        """The account with a workspace that it may open now.

        Raises:
            SignInFailed: `NO_WORKSPACE` if it is a member of none, `SIGN_IN_FAILED` if disabled.
        """
        home = memberships.c.workspace_id == users.c.workspace_id
        query = (
            select(*USER_COLUMNS, memberships.c.workspace_id.label("opens"))
            .join_from(users, memberships, memberships.c.user_id == users.c.id, isouter=True)
            .where(users.c.id == user_id)
            .order_by(home.desc(), memberships.c.created_at)
        )
        async with self._store.begin() as connection:
            row = (await connection.execute(query)).first()
        if row is None or row.is_disabled:
            raise SignInFailed("The account is disabled.", code="SIGN_IN_FAILED")
        if row.opens is None:
            raise SignInFailed(
                "You aren't a member of any workspace. Ask an admin of one to add you.",
                code="NO_WORKSPACE",
            )
        values = dict(row._mapping)
        return User(**(values | {"workspace_id": values.pop("opens")}))

    async def change_password(
        self, principal: Principal, current: str, new: str, *, address: str = ""
    ) -> None:
        """Sets one's own password; all other sessions of the account end.

        Raises:
            SignInFailed: `SIGN_IN_FAILED` if `current` isn't right.
            TooManyRequests: If it was tried too often.
            TuneError: A code of `check_password`.
        """
        authorize(principal, Action.OWN_ACCOUNT, principal.workspace_id)
        self._limits.enter(principal.name, address)
        known = await self._by_name(principal.name)
        if known is None or not await self._passwords.verify(known.password_hash, current):
            self._limits.failed(principal.name)
            await self._note_failure(known, address)
            raise SignInFailed("The current password is wrong.", code="SIGN_IN_FAILED")
        self._limits.succeeded(principal.name)
        _check_new(known, new)
        password_hash = await self._passwords.hash(new)
        others = sessions.c.id_hash != principal.session_hash
        async with self._audit.begin() as entries:
            same = update(users).where(users.c.id == known.id)
            changed = {"password_hash": password_hash, "password_changed_at": self._clock()}
            await entries.connection.execute(same.values(changed))
            ended = await self._sessions.end_in(
                entries.connection, sessions.c.user_id == known.id, others
            )
            await entries.write(
                principal.workspace_id, known.id, "password.changed", known.id, address=address
            )
        self._sessions.tell(ended)

    async def create(
        self,
        actor: Principal,
        *,
        name: str,
        display_name: str,
        role: Role,
        email: str | None = None,
        password: str | None = None,
    ) -> User:
        """A new account, member of the actor's active workspace.

        Args:
            actor: An administrator of the server.
            name: To sign in with.
            display_name: To show.
            role: In the workspace; not above the actor's own.
            email: Its address. Without a password, single sign-on lets in who has proved to own it.
            password: Its first one, which it should change; none for single sign-on only.

        Raises:
            Forbidden: If the actor may not, or the role is above theirs.
            TuneError: `ACCOUNT_INVALID`, `ACCOUNT_EXISTS`, or a code of `check_password`.
        """
        authorize(actor, Action.MANAGE_USERS)
        check_not_above(actor, role)
        name = account_name(name)
        email = email.strip().lower() if email else None
        check_names(name, display_name, email)
        password_hash = None
        if password is not None:
            check_password(password, about=(name, display_name, email or ""))
            password_hash = await self._passwords.hash(password)
        row = {
            "name": name,
            "display_name": display_name,
            "email": email,
            "password_hash": password_hash,
            "workspace_id": actor.workspace_id,
        }
        async with self._audit.begin() as entries:
            user = await insert_user(entries, row, role, actor.user_id, self._clock)
        return user

    async def users(self, actor: Principal) -> list[User]:
        """Every account of the server, by name."""
        authorize(actor, Action.MANAGE_USERS)
        async with self._store.begin() as connection:
            rows = await connection.execute(select(*USER_COLUMNS).order_by(users.c.name))
            return [user_of(row) for row in rows]

    async def reset_password(self, actor: Principal, user_id: str) -> str:
        """A fresh password for somebody, to be told to them once; all their sessions end.

        Raises:
            NotFound: If there is no such account.
        """
        authorize(actor, Action.MANAGE_USERS)
        password = fresh_password()
        values = {
            "password_hash": await self._passwords.hash(password),
            "password_changed_at": None,
        }
        await self._change(actor, user_id, values, "password.reset", ends_sessions=True)
        return password

    async def set_disabled(self, actor: Principal, user_id: str, is_disabled: bool) -> None:
        """Shuts an account out at once, or lets it in again.

        Raises:
            NotFound: If there is no such account.
            Forbidden: `LAST_ADMIN` if nobody could administer the server any more.
        """
        authorize(actor, Action.MANAGE_USERS)
        action = "user.disabled" if is_disabled else "user.enabled"
        values = {"is_disabled": is_disabled}
        await self._change(actor, user_id, values, action, ends_sessions=is_disabled)

    async def set_server_admin(self, actor: Principal, user_id: str, is_admin: bool) -> None:
        """Makes an account an administrator of the server, or takes that away.

        Raises:
            NotFound: If there is no such account.
            Forbidden: `LAST_ADMIN` if nobody could administer the server any more.
        """
        authorize(actor, Action.MANAGE_USERS)
        action = "user.made_admin" if is_admin else "user.made_ordinary"
        values = {"is_server_admin": is_admin}
        await self._change(actor, user_id, values, action, ends_sessions=False)

    async def _change(
        self,
        actor: Principal,
        user_id: str,
        values: dict[str, Any],
        action: str,
        *,
        ends_sessions: bool,
    ) -> None:
        ended: list[str] = []
        async with self._audit.begin() as entries:
            connection = entries.connection
            await lock_accounts(connection)
            changed = update(users).where(users.c.id == check_id(user_id)).values(values)
            if not (await connection.execute(changed)).rowcount:
                raise not_found("The account")
            await _check_an_admin_is_left(connection)
            if ends_sessions:
                ended = await self._sessions.end_in(connection, sessions.c.user_id == user_id)
            await entries.write(actor.workspace_id, actor.user_id, action, user_id)
        self._sessions.tell(ended)

    async def _by_name(self, name: str) -> Row | None:
        query = select(*USER_COLUMNS, users.c.password_hash).where(users.c.name == name)
        if not is_name(name):
            return None
        async with self._store.begin() as connection:
            return (await connection.execute(query)).first()

    async def _rehash(self, user_id: str, old: str, password: str) -> None:
        new = await self._passwords.hash(password)
        same = update(users).where(users.c.id == user_id, users.c.password_hash == old)
        async with self._store.begin() as connection:
            await connection.execute(same.values(password_hash=new))

    async def _note_failure(self, known: Row | None, address: str) -> None:
        """Never the name that was typed: people type their password there."""
        async with self._audit.begin() as entries:
            first = select(users.c.workspace_id).order_by(users.c.created_at).limit(1)
            home = known.workspace_id if known else await entries.connection.scalar(first)
            if home is not None:
                who = known.id if known else "unknown"
                await entries.write(home, "system", "sign_in.failed", who, address=address)


def _check_new(known: Row, password: str) -> None:
    check_password(password, about=(known.name, known.display_name, known.email or ""))


async def _check_an_admin_is_left(connection: AsyncConnection) -> None:
    left = select(func.count()).where(users.c.is_server_admin, users.c.is_disabled.is_(False))
    if not await connection.scalar(left):
        raise Forbidden(
            "This is the server's last administrator. Make somebody else administrator first.",
            code="LAST_ADMIN",
        )

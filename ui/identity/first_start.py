"""The first start: a workspace, and one administrator, who proves to have the server's terminal.

There is no default account and no default password. As long as there is no account at all, the
server shows a one-time code on its terminal, and whoever types it first becomes administrator.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import time
from datetime import datetime
from pathlib import Path

from sqlalchemy import func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gemma_keras_tune.durable import atomic_write_text
from gemma_keras_tune.errors import TuneError

from ..store.engine import Store
from ..store.tables import memberships, server, users, workspaces
from .access import Role
from .audit import Audit
from .clock import Clock, Monotonic, utc_now
from .passwords import Passwords, check_password
from .people import USER_COLUMNS, User, account_name, check_names, user_of
from .rate_limits import Window, too_many
from .refusals import SignInFailed
from .signing import digest

CODE_LASTS_S = 15 * 60.0

_TRIES_A_MINUTE = 10
_LOCK = 0x676B75  # PostgreSQL's advisory lock of who makes what must be there once


async def first_workspace(store: Store, root: Path, *, clock: Clock = utc_now) -> str:
    """The id of the first workspace, to which runs from a terminal belong; made if missing.

    Args:
        store: The open database.
        root: The data root; the file `root_id` in it says which database belongs to it.
        clock: The wall clock.

    Raises:
        TuneError: `ROOT_MISMATCH` if the database belongs to another data root.
    """
    root_id = await asyncio.to_thread(_root_id, root / "root_id")
    async with store.begin() as connection:
        await _only_one(connection)
        known = (await connection.execute(select(server))).first()
        if known is None:
            return await _make_first(connection, root_id, clock())
    if known.root_id != root_id:
        raise TuneError(
            f"The database belongs to another data root than {root} (its id is {known.root_id}, "
            f"the root's is {root_id}). Choose that root with --root, or another database.",
            code="ROOT_MISMATCH",
        )
    return str(known.workspace_id)


class Setup:
    """Makes the administrator of a server that has no account yet.

    Args:
        store: The open database, with its first workspace.
        audit: Where it is noted.
        passwords: Hashes the password.
        clock: Monotonic seconds, for the code's end.
        wall_clock: For the time of creation.
    """

    def __init__(
        self,
        store: Store,
        audit: Audit,
        passwords: Passwords,
        *,
        clock: Monotonic = time.monotonic,
        wall_clock: Clock = utc_now,
    ) -> None:
        self._store, self._audit, self._passwords = store, audit, passwords
        self._clock, self._wall_clock = clock, wall_clock
        self._code_hash, self._ends = "", 0.0
        self._tries = Window(_TRIES_A_MINUTE, 60, clock=clock)
        self._one_at_a_time = asyncio.Lock()

    async def is_needed(self) -> bool:
        """Whether there is no account at all."""
        async with self._store.begin() as connection:
            return not await connection.scalar(select(func.count()).select_from(users))

    def renew(self) -> str:
        """A fresh code of 192 random bits for the terminal; the one before no longer works."""
        code = secrets.token_urlsafe(24)
        self._code_hash, self._ends = digest(code), self._clock() + CODE_LASTS_S
        return code

    async def create_first_admin(
        self, code: str, *, name: str, display_name: str, password: str, address: str = ""
    ) -> User:
        """The first account: administrator of the server, and owner of the first workspace.

        Raises:
            SignInFailed: `SETUP_CODE` if the code is wrong, too old or used, or if there is an
                account already.
            TooManyRequests: After ten tries in a minute.
            TuneError: `ACCOUNT_INVALID` or a code of `check_password`; the code still works then.
        """
        async with self._one_at_a_time:
            if wait := self._tries.wait_s("setup"):
                raise too_many(wait, "tries", code="TOO_MANY_SIGN_INS")
            self._tries.hit("setup")
            self._check_code(code)
            name = account_name(name)
            check_names(name, display_name, None)
            check_password(password, about=(name, display_name))
            password_hash = await self._passwords.hash(password)
            user = await self._create(name, display_name, password_hash, address)
            self._code_hash = ""
            return user

    def _check_code(self, code: str) -> None:
        right = hmac.compare_digest(digest(code), self._code_hash)
        if not self._code_hash or not right or self._clock() >= self._ends:
            raise _wrong_code()

    async def _create(self, name: str, shown: str, password_hash: str, address: str) -> User:
        user_id, now = secrets.token_hex(16), self._wall_clock()
        async with self._audit.begin() as entries:
            connection = entries.connection
            await _only_one(connection)
            if await connection.scalar(select(func.count()).select_from(users)):
                raise _wrong_code()
            home = (await connection.execute(select(server.c.workspace_id))).scalar_one()
            row = {
                "id": user_id,
                "workspace_id": home,
                "name": name,
                "display_name": shown,
                "password_hash": password_hash,
                "is_server_admin": True,
                "created_at": now,
                "password_changed_at": now,
            }
            await connection.execute(insert(users).values(row))
            member = {"workspace_id": home, "user_id": user_id, "role": Role.OWNER.label}
            await connection.execute(insert(memberships).values(**member, created_at=now))
            made = await connection.execute(select(*USER_COLUMNS).where(users.c.id == user_id))
            user = user_of(made.one())
            await entries.write(home, user_id, "setup.done", user_id, address=address)
        return user


def _root_id(path: Path) -> str:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, secrets.token_hex(16) + "\n")
    return path.read_text(encoding="ascii").strip()


async def _make_first(connection: AsyncConnection, root_id: str, now: datetime) -> str:
    workspace_id = secrets.token_hex(16)
    row = {"workspace_id": workspace_id, "name": "Home", "created_at": now}
    await connection.execute(insert(workspaces).values(row))
    await connection.execute(insert(server).values(workspace_id=workspace_id, root_id=root_id))
    return workspace_id


async def _only_one(connection: AsyncConnection) -> None:
    if connection.dialect.name == "postgresql":
        await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


def _wrong_code() -> SignInFailed:
    return SignInFailed(
        "The setup code is wrong, used or older than 15 minutes. The server shows a new one on "
        "its terminal when it is started again.",
        code="SETUP_CODE",
    )

"""Secrets of a workspace, such as a Hugging Face token: encrypted at rest, never shown again.

Fernet is AES-128-CBC with HMAC-SHA256. What is encrypted names its workspace, so that a row that
somebody copies into another workspace can't be opened there.
"""

from __future__ import annotations

import json
import re
import secrets as random
from dataclasses import dataclass
from datetime import datetime

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import delete, func, insert, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gemma_keras_tune.errors import TuneError

from ..store.engine import Store
from ..store.tables import notice_targets, secrets
from .access import Action, Principal, authorize
from .audit import Audit
from .clock import Clock, utc_now
from .keys import VaultKeys
from .refusals import check_id, not_found

LONGEST_BYTES = 16_384
MOST = 100

# Every table with a `ciphertext`, and what its rows are known by: no secret's name has a colon, so
# that no row can be put in the place of one of the other table.
_SEALED = ((secrets, secrets.c.name), (notice_targets, literal("target:") + notice_targets.c.id))

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,79}")


@dataclass(frozen=True)
class SecretInfo:
    """What anybody may know of a secret.

    Attributes:
        name: What jobs and pages call it.
        user_id: Who set it last.
        created_at: When it was first set.
        changed_at: When it was last set.
    """

    name: str
    user_id: str
    created_at: datetime
    changed_at: datetime


class Vault:
    """All secrets of a server.

    Args:
        store: The open database.
        keys: The keys, read anew at each use.
        audit: Where setting and deleting is noted, without the value.
        clock: The wall clock.
    """

    def __init__(
        self, store: Store, keys: VaultKeys, audit: Audit, *, clock: Clock = utc_now
    ) -> None:
        self._store, self._keys, self._audit, self._clock = store, keys, audit, clock

    async def put(self, principal: Principal, name: str, value: str) -> None:
        """Sets a secret of the active workspace, or sets it anew.

        Raises:
            Forbidden: If the role or the token doesn't allow it.
            TuneError: `SECRET_INVALID`: the name, the size, or one too many.
        """
        authorize(principal, Action.PUT_SECRET, principal.workspace_id)
        _check(name, value)
        async with self._audit.begin() as entries:
            await _only_one(entries.connection)
            ciphertext = self._encrypted(principal.workspace_id, name, value)
            await self._store_row(entries.connection, principal, name, ciphertext)
            await entries.write(principal.workspace_id, principal.user_id, "secret.put", name)

    async def get(self, workspace_id: str, name: str) -> str:
        """The value, for a job of that workspace. It must not go to a browser or a log.

        Raises:
            NotFound: If the workspace has no such secret.
            TuneError: `VAULT_KEY_LOST` if it was encrypted with a key that isn't there any more.
        """
        query = select(secrets.c.ciphertext).where(
            secrets.c.workspace_id == workspace_id, secrets.c.name == check_id(name)
        )
        async with self._store.begin() as connection:
            await _only_one(connection)  # a rotation is over, or hasn't begun
            ciphertext = await connection.scalar(query)
            if ciphertext is None:
                raise not_found(f"The secret {name}")
            return self._decrypted(workspace_id, name, ciphertext)

    async def names(self, principal: Principal) -> list[SecretInfo]:
        """The secrets of the active workspace, by name, without their values."""
        authorize(principal, Action.VIEW_SECRET_NAMES, principal.workspace_id)
        shown = [secrets.c[name] for name in SecretInfo.__dataclass_fields__]
        query = select(*shown).where(secrets.c.workspace_id == principal.workspace_id)
        async with self._store.begin() as connection:
            rows = await connection.execute(query.order_by(secrets.c.name))
            return [SecretInfo(*row) for row in rows]

    async def delete(self, principal: Principal, name: str) -> None:
        """Deletes a secret of the active workspace.

        Raises:
            NotFound: If there is none of that name.
        """
        authorize(principal, Action.DELETE_SECRET, principal.workspace_id)
        gone = delete(secrets).where(
            secrets.c.workspace_id == principal.workspace_id, secrets.c.name == check_id(name)
        )
        async with self._audit.begin() as entries:
            if not (await entries.connection.execute(gone)).rowcount:
                raise not_found(f"The secret {name}")
            await entries.write(principal.workspace_id, principal.user_id, "secret.deleted", name)

    async def rotate(self) -> int:
        """Encrypts every secret anew with a new key, and forgets the old keys. How many they were.

        A kill at any moment leaves keys with which every row can be read; do it again then. With
        keys from the environment only the rows are encrypted anew, with the first of them.

        Raises:
            TuneError: `VAULT_KEY_LOST` if a row can't be read; nothing was changed then.
        """
        count = 0
        async with self._store.begin() as connection:
            await _only_one(connection)
            if not self._keys.fixed:
                self._keys.replace([Fernet.generate_key(), *self._keys.current()])
            for table, name in _SEALED:
                query = select(table.c.id, table.c.workspace_id, name, table.c.ciphertext)
                for id, workspace_id, known, ciphertext in (await connection.execute(query)).all():
                    value = self._decrypted(workspace_id, known, ciphertext)
                    anew = self._encrypted(workspace_id, known, value)
                    same = update(table).where(table.c.id == id)
                    await connection.execute(same.values(ciphertext=anew))
                    count += 1
        if not self._keys.fixed:
            await self._forget_old_keys()
        return count

    async def check(self) -> None:
        """Reads every secret once, so that a lost key is known at the start and not in a job.

        Raises:
            TuneError: `VAULT_KEY_LOST`.
        """
        async with self._store.begin() as connection:
            await _only_one(connection)
            for table, name in _SEALED:
                query = select(table.c.workspace_id, name, table.c.ciphertext)
                for row in (await connection.execute(query)).all():
                    self._decrypted(*row)

    async def seal(
        self, connection: AsyncConnection, workspace_id: str, name: str, value: str
    ) -> bytes:
        """The value, encrypted for a row of `_SEALED` that is written in this transaction.

        Args:
            connection: The transaction; it waits for a rotation to be over.
            workspace_id: The row's workspace.
            name: What the row is known by, as `_SEALED` says.
            value: What nobody should read in the database.
        """
        await _only_one(connection)
        return self._encrypted(workspace_id, name, value)

    def unsealed(self, workspace_id: str, name: str, ciphertext: bytes) -> str:
        """The value of such a row.

        Raises:
            TuneError: `VAULT_KEY_LOST` if it was encrypted with a key that isn't there any more.
        """
        return self._decrypted(workspace_id, name, ciphertext)

    async def _forget_old_keys(self) -> None:
        """Keeps the newest key only, if every row can be read with it."""
        async with self._store.begin() as connection:
            await _only_one(connection)
            newest = Fernet(self._keys.current()[0])
            for table, _ in _SEALED:
                for ciphertext in (await connection.scalars(select(table.c.ciphertext))).all():
                    newest.decrypt(ciphertext)
            self._keys.replace(self._keys.current()[:1])

    async def _store_row(
        self, connection: AsyncConnection, principal: Principal, name: str, ciphertext: bytes
    ) -> None:
        own = secrets.c.workspace_id == principal.workspace_id
        now = self._clock()
        new = {"ciphertext": ciphertext, "user_id": principal.user_id, "changed_at": now}
        changed = update(secrets).where(own, secrets.c.name == name).values(new)
        if (await connection.execute(changed)).rowcount:
            return
        if (await connection.scalar(select(func.count()).where(own)) or 0) >= MOST:
            raise TuneError(
                f"The workspace has {MOST} secrets, which is the most. Delete one.",
                code="SECRET_INVALID",
            )
        new |= {"id": random.token_hex(16), "workspace_id": principal.workspace_id}
        await connection.execute(insert(secrets).values(**new, name=name, created_at=now))

    def _encrypted(self, workspace_id: str, name: str, value: str) -> bytes:
        content = json.dumps([workspace_id, name, value]).encode("ascii")
        return Fernet(self._keys.current()[0]).encrypt(content)

    def _decrypted(self, workspace_id: str, name: str, ciphertext: bytes) -> str:
        keys = MultiFernet([Fernet(key) for key in self._keys.current()])
        try:
            content = json.loads(keys.decrypt(ciphertext))
        except InvalidToken:
            content = None
        if content is None or content[:2] != [workspace_id, name]:
            raise TuneError(
                f"The secret {name} can't be read: its row was changed, or its key is gone from "
                f"{self._keys.path}. Put that file back from a backup, or set the secret anew.",
                code="VAULT_KEY_LOST",
            )
        return str(content[2])


async def _only_one(connection: AsyncConnection) -> None:
    """Waits until nobody else writes secrets, so that no row keeps a key that a rotation drops."""
    if connection.dialect.name == "postgresql":
        lock = "LOCK TABLE secrets, notice_targets IN SHARE ROW EXCLUSIVE MODE"
        await connection.execute(text(lock))


def _check(name: str, value: str) -> None:
    if not _NAME.fullmatch(name):
        raise TuneError(
            f"The secret's name {name[:80]!r} must begin with a letter and have at most 80 "
            "letters, digits, dots, dashes and underscores, such as HF_TOKEN.",
            code="SECRET_INVALID",
        )
    size = len(value.encode("utf-8", "replace"))
    if not 1 <= size <= LONGEST_BYTES:
        raise TuneError(
            f"The secret {name} has {size} bytes; 1 to {LONGEST_BYTES} are kept.",
            code="SECRET_INVALID",
        )

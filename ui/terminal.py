"""What the command line asks of a server's database, with or without the server running."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from gemma_keras_tune.errors import TuneError

from . import backups, data_root
from .identity.operations import at_terminal
from .identity.service import Identity
from .settings import Settings
from .settings_sources import database_url
from .store.engine import open_store
from .store.sqlite import wal_is_safe

Answer = TypeVar("Answer")


def ask(settings: Settings, do: Callable[[Identity], Awaitable[Answer]]) -> Answer:
    """What `do` answers, with the accounts, secrets and audit log of a data root.

    Args:
        settings: Which root and database.
        do: One of `identity.operations`, with its arguments filled in.

    Raises:
        TuneError: `ROOT_NOT_WRITABLE`; `DB_LOCKED` if a running server has the database to itself;
            what the database, the keys or `do` raise.
    """
    _prepare(settings)

    async def run() -> Answer:
        async with at_terminal(database_url(settings), settings.root) as identity:
            return await do(identity)

    return asyncio.run(run())


def back_up(settings: Settings) -> Path:
    """A fresh copy of a SQLite database, beside those that the server makes.

    Raises:
        TuneError: As `ask`, `BACKUP_FAILED` or `BACKUP_POSTGRES`.
    """
    _prepare(settings)

    async def run() -> Path:
        store = await open_store(database_url(settings))
        try:
            return await backups.make_one(store, settings.root, keep=settings.backup.keep)
        finally:
            await store.close()

    return asyncio.run(run())


def _prepare(settings: Settings) -> None:
    """Says at once what would otherwise be half a minute's wait for a lock."""
    is_sqlite = database_url(settings).startswith("sqlite")
    data_root.prepare(settings.root, holds_database=settings.database.url is None)
    if not is_sqlite or wal_is_safe(sqlite3.sqlite_version_info):
        return
    holder = data_root.server_of(settings.root)
    if holder is not None:
        raise TuneError(
            f"The server of {settings.root} (process {holder.pid}) has the database to itself, as "
            f"SQLite {sqlite3.sqlite_version} needs it. Stop it and call this again; backups it "
            "makes by itself.",
            code="DB_LOCKED",
        )

"""Opening the database: SQLite in the data root by default, PostgreSQL by URL."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from gemma_keras_tune.errors import TuneError

from .sqlite import sqlite_engine
from .tables import metadata

_PATIENCE_S = 5.0


class Store:
    """The open database.

    Attributes:
        engine: The pool of connections.
        is_sqlite: Whether it is SQLite; else it is PostgreSQL.
    """

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.is_sqlite = engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write: committed at the end, rolled back by an error.

        Keep it short, and await nothing in it but the database.

        Raises:
            TuneError: `DB_CLOSED`.
        """
        async with self.engine.begin() as connection:
            yield connection

    async def close(self) -> None:
        """Gives all connections back, once whoever works with one is done; nobody gets another.

        Pages that are open ask until the server has stopped. A connection that is given back to a
        pool which is gone would be closed by nobody.
        """
        until = asyncio.get_running_loop().time() + _PATIENCE_S
        pool = self.engine.pool
        while isinstance(pool, QueuePool) and pool.checkedout():
            if asyncio.get_running_loop().time() > until:
                break  # the process ends, and its connections with it
            await asyncio.sleep(0.01)
        event.listen(self.engine.sync_engine, "do_connect", _refuse)
        await self.engine.dispose()

    async def backup(self, path: Path) -> None:
        """Writes a consistent copy of a SQLite database to `path`, while others go on.

        The copy is checked (`quick_check`) before it gets its name.

        Raises:
            TuneError: `BACKUP_FAILED` if the copy can't be written or isn't sound;
                `BACKUP_POSTGRES` if the database is PostgreSQL, which has `pg_dump`.
        """
        if not self.is_sqlite:
            raise TuneError(
                "A PostgreSQL database is backed up with its own tools: pg_dump.",
                code="BACKUP_POSTGRES",
            )
        temporary = path.with_name(f".{path.name}.tmp")
        async with self.engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            try:
                temporary.unlink(missing_ok=True)
                target = await asyncio.to_thread(
                    sqlite3.connect, temporary, check_same_thread=False
                )
                try:
                    await driver.backup(target, pages=256)
                    sound = target.execute("PRAGMA quick_check").fetchone() == ("ok",)
                finally:
                    target.close()
            except (sqlite3.Error, OSError) as error:
                temporary.unlink(missing_ok=True)
                raise TuneError(
                    f"The backup {path} can't be written: {error}", code="BACKUP_FAILED"
                ) from error
        if not sound:
            temporary.unlink(missing_ok=True)
            raise TuneError(
                "The database's copy isn't sound, so no backup was kept. Stop the server and "
                "restore the newest backup.",
                code="BACKUP_FAILED",
            )
        temporary.replace(path)


def _refuse(*_: Any) -> None:
    """Instead of connecting.

    Raises:
        TuneError: `DB_CLOSED`.
    """
    raise TuneError("The server stops. Come back when it has started again.", code="DB_CLOSED")


async def open_store(url: str) -> Store:
    """The database at `url`, brought to this version's shape.

    Args:
        url: `sqlite+aiosqlite:///PATH` or `postgresql+asyncpg://…`.

    Raises:
        TuneError: `DB_URL` for another kind of database, `DB_UNREACHABLE`, `DB_LOCKED` if another
            process has it, `DB_DAMAGED` if SQLite's own check finds damage, `DB_NEWER` if a newer
            version of this program has changed it.
    """
    try:
        backend = make_url(url).get_dialect().name
    except Exception as error:  # noqa: BLE001  # any of SQLAlchemy's, or of a missing driver
        raise _bad_url() from error
    if backend not in ("sqlite", "postgresql"):
        raise _bad_url()
    engine = sqlite_engine(url) if backend == "sqlite" else _postgres_engine(url)
    store = Store(engine)
    try:
        if store.is_sqlite:
            await _check_sound(engine)
        async with engine.connect() as connection:
            await connection.run_sync(upgrade)
            await connection.commit()
    except (DBAPIError, OSError) as error:
        await engine.dispose()
        raise _unusable(url, error) from error
    except BaseException:
        await engine.dispose()
        raise
    return store


def upgrade(connection: Connection) -> None:
    """Runs the migrations that the database hasn't had, in one transaction.

    Raises:
        TuneError: `DB_NEWER`.
    """
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        known = ScriptDirectory.from_config(config).get_current_head()
        raise TuneError(
            "The database was changed by a newer version of gemma-keras-tune (this one knows it "
            f"up to {known}). Start that version, or restore a backup from before.",
            code="DB_NEWER",
        ) from error


def _postgres_engine(url: str) -> AsyncEngine:
    return create_async_engine(url, pool_size=8, max_overflow=0, pool_pre_ping=True)


async def _check_sound(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        found = (await connection.execute(text("PRAGMA quick_check(1)"))).scalar()
    if found != "ok":
        raise TuneError(
            f"The database {engine.url.database} is damaged ({found}). Nothing was written to it. "
            "Put the newest file of the folder backups in its place.",
            code="DB_DAMAGED",
        )


def _bad_url() -> TuneError:
    return TuneError(
        "The database's URL must begin with sqlite+aiosqlite:/// or postgresql+asyncpg://.",
        code="DB_URL",
    )


def _unusable(url: str, error: Exception) -> TuneError:
    shown = make_url(url).render_as_string(hide_password=True)
    cause = getattr(error, "orig", None) or error
    said = str(cause)
    if "locked" in said:
        return TuneError(
            f"Another process has the database {shown}. One server owns a data root: stop the "
            "other one, or choose another root with --root.",
            code="DB_LOCKED",
        )
    if isinstance(cause, sqlite3.DatabaseError) and "malformed" in said or "not a database" in said:
        return TuneError(
            f"The database {shown} is damaged: {said}. Put the newest file of the folder backups "
            "in its place.",
            code="DB_DAMAGED",
        )
    return TuneError(f"The database {shown} can't be used: {said}", code="DB_UNREACHABLE")


__all__ = ["Store", "metadata", "open_store", "upgrade"]

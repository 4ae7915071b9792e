"""SQLite's engine: how many connections there may be, and work that no cancelling leaves half done.

SQLite before 3.51.3 (but 3.44.6 and 3.50.7) can corrupt a database in WAL mode when several
connections write and checkpoint at once (the "WAL-reset" race, sqlite.org/wal.html#walresetbug).
With such a library this process keeps the only connection there can be: the pool holds one, and
`locking_mode=EXCLUSIVE` turns every other away. All else of the app asks this process.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Any

import aiosqlite
from sqlalchemy import Connection, event
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

_BUSY_MS = 30_000  # SQLite's own waiting is unfair: let it wait long rather than fail
_ROWS = 64  # that a cursor fetches at a time, aiosqlite's own default


def wal_is_safe(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite has the fix of the WAL-reset race."""
    line = version[:2]
    if line == (3, 44):
        return version >= (3, 44, 6)
    if line == (3, 50):
        return version >= (3, 50, 7)
    return version >= (3, 51, 3)


def sqlite_engine(url: str) -> AsyncEngine:
    """The pool of connections of a SQLite database: one, or four where that is safe."""
    alone = not wal_is_safe(sqlite3.sqlite_version_info)
    engine = create_async_engine(
        url,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=1 if alone else 4,
        max_overflow=0,
        pool_timeout=60,
        connect_args={"timeout": _BUSY_MS / 1000, "async_creator_fn": _connect},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # the driver must not begin on its own
        cursor = connection.cursor()
        settings = {
            "busy_timeout": _BUSY_MS,
            "locking_mode": "EXCLUSIVE" if alone else "NORMAL",
            "journal_mode": "WAL",
            "synchronous": "FULL",
            "foreign_keys": "ON",
            "mmap_size": 0,
        }
        for name, value in settings.items():
            cursor.execute(f"PRAGMA {name}={value}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # Take the write lock first: a lock that is upgraded later can meet SQLITE_BUSY.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


class _WholeConnection(aiosqlite.Connection):
    """A connection whose operations end before the task that waits for them is cancelled.

    SQLAlchemy throws away a connection that it was cancelled on. Where there is only one, with an
    exclusive lock, the next one can't be opened before the old one is really closed: it waited for
    the lock until `busy_timeout` was over, and everybody with it.
    """

    async def _execute(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        operation = asyncio.ensure_future(super()._execute(fn, *args, **kwargs))
        task, wish = asyncio.current_task(), None
        while not operation.done():
            try:
                await asyncio.wait({operation})
            except asyncio.CancelledError as cancelled:
                wish = cancelled
                if task is not None:
                    task.uncancel()
        if wish is not None and task is not None:
            task.cancel(*wish.args)  # comes true where the task waits next
        return operation.result()


def _connect(*args: Any, **kwargs: Any) -> aiosqlite.Connection:
    connection = _WholeConnection(partial(sqlite3.connect, *args, **kwargs), _ROWS)
    connection._thread.daemon = True  # noqa: SLF001  # as SQLAlchemy does it
    return connection

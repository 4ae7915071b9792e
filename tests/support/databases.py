"""Databases for tests: an SQLite file, and a real PostgreSQL 15 that lives as long as the tests."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event, insert

from gemma_keras_tune_ui.store.engine import Store, open_store
from gemma_keras_tune_ui.store.tables import server, users, workspaces

_BINARIES = "/usr/lib/postgresql/15/bin"
NOW = datetime(2026, 11, 22, tzinfo=UTC)


def sqlite_url(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder}/app.db"


async def quick_sqlite(folder: Path) -> Store:
    """An SQLite store that doesn't wait for the disk; for many operations in little time."""
    store = await open_store(sqlite_url(folder))

    @event.listens_for(store.engine.sync_engine, "connect")
    def hurry(connection: object, _: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")  # type: ignore[attr-defined]

    await store.engine.dispose()
    return store


async def add_people(store: Store, names: tuple[str, ...] = ("ann", "bob")) -> None:
    """A workspace `w1` with these users, whose ids are their names, and the server's row."""
    async with store.begin() as connection:
        await connection.execute(
            insert(workspaces), [{"workspace_id": "w1", "name": "One", "created_at": NOW}]
        )
        rows = [
            {
                "id": name,
                "workspace_id": "w1",
                "name": name,
                "display_name": name,
                "created_at": NOW,
            }
            for name in names
        ]
        await connection.execute(insert(users), rows)
        await connection.execute(insert(server), [{"workspace_id": "w1", "root_id": "r"}])


@contextmanager
def postgres_server() -> Iterator[str]:
    """A PostgreSQL on loopback; gives the URL without the database's name.

    Needs the Debian package postgresql-15, whose programs refuse to run as root.
    """
    if not Path(_BINARIES, "initdb").exists():
        pytest.skip("postgresql-15 is not installed (apt-get install postgresql-15)")
    with tempfile.TemporaryDirectory(prefix="gkt-postgres-") as folder:
        data = Path(folder, "data")
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        password = secrets.token_hex(16)
        secret = Path(folder, "password")
        secret.write_text(password, encoding="utf-8")
        os.chmod(folder, 0o755)
        port = _free_port()
        settings = f"-p {port} -c listen_addresses=127.0.0.1 -c fsync=off"
        settings += " -c unix_socket_directories="
        _as_postgres(
            "initdb", "-D", data, "-A", "scram-sha-256", "-U", "gkt", "-E", "UTF8",
            "--no-sync", f"--pwfile={secret}",
        )  # fmt: skip
        _as_postgres("pg_ctl", "-D", data, "-w", "-l", f"{folder}/log", "-o", settings, "start")
        try:
            yield f"postgresql+asyncpg://gkt:{password}@127.0.0.1:{port}"
        finally:
            _as_postgres("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")


async def new_postgres_database(base_url: str) -> str:
    """The URL of a new, empty database."""
    import asyncpg

    name = f"t{secrets.token_hex(8)}"
    plain = base_url.replace("postgresql+asyncpg", "postgresql")
    connection = await asyncpg.connect(f"{plain}/postgres")
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return f"{base_url}/{name}"


def _as_postgres(program: str, *args: object) -> None:
    become = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    command = [*become, f"{_BINARIES}/{program}", *map(str, args)]
    # Not captured through pipes: the started server would keep them open.
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/", timeout=60
    )
    assert done.returncode == 0, command


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

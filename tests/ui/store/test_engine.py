"""Opening the database: which SQLite may do what, damage, newer versions, other holders, copies."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.jobs.queue import Queue
from gemma_keras_tune_ui.store.engine import Store, open_store
from gemma_keras_tune_ui.store.sqlite import wal_is_safe
from gemma_keras_tune_ui.store.tables import audit, jobs, metadata, runs, users
from tests.support.databases import NOW, add_people, sqlite_url
from tests.support.faulty_disk import names_in
from tests.support.queue_jobs import fake_data


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ((3, 40, 1), False),
        ((3, 44, 5), False),
        ((3, 44, 6), True),
        ((3, 45, 0), False),
        ((3, 50, 6), False),
        ((3, 50, 7), True),
        ((3, 51, 2), False),
        ((3, 51, 3), True),
        ((3, 52, 0), True),
        ((4, 0, 0), True),
    ],
)
def test_only_mended_sqlites_may_write_with_several_connections(
    version: tuple[int, int, int], safe: bool
) -> None:
    assert wal_is_safe(version) == safe


async def test_closing_waits_for_whoever_is_at_work_and_lets_nobody_in_after(
    tmp_path: Path,
) -> None:
    store = await open_store(sqlite_url(tmp_path))
    async with store.begin() as connection:
        closing = asyncio.create_task(store.close())
        await asyncio.sleep(0.05)
        assert not closing.done()
        assert (await connection.execute(text("SELECT 1"))).scalar() == 1
    await closing
    with pytest.raises(TuneError) as caught:
        async with store.begin():
            pass
    assert caught.value.code == "DB_CLOSED"


@pytest.mark.parametrize("safe", [True, False])
async def test_an_old_sqlite_keeps_the_only_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, safe: bool
) -> None:
    monkeypatch.setattr("gemma_keras_tune_ui.store.sqlite.wal_is_safe", lambda version: safe)
    store = await open_store(sqlite_url(tmp_path))
    async with store.begin() as connection:
        await connection.execute(text("CREATE TABLE t (x)"))
    async with store.engine.connect() as connection:
        shown = {
            name: (await connection.execute(text(f"PRAGMA {name}"))).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "locking_mode")
        }
    assert shown["journal_mode"] == "wal"
    assert shown["synchronous"] == 2  # FULL: a commit lasts through a power cut
    assert shown["foreign_keys"] == 1
    assert shown["locking_mode"] == ("normal" if safe else "exclusive")
    other = sqlite3.connect(tmp_path / "app.db", timeout=0.1)
    try:
        if safe:
            other.execute("SELECT * FROM t")
        else:
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("SELECT * FROM t")
    finally:
        other.close()
        await store.close()


@pytest.mark.parametrize("safe", [True, False])
async def test_who_is_cancelled_in_the_middle_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, safe: bool
) -> None:
    """The driver's connection was thrown away while it held the lock: all waited 30 s for it."""
    monkeypatch.setattr("gemma_keras_tune_ui.store.sqlite.wal_is_safe", lambda version: safe)
    store = await open_store(sqlite_url(tmp_path))
    async with store.begin() as connection:
        await connection.execute(text("CREATE TABLE t (x)"))
    connections: set[object] = set()

    async def write_two() -> None:
        async with store.begin() as connection:
            connections.add((await connection.get_raw_connection()).driver_connection)
            await connection.execute(text("INSERT INTO t VALUES (1)"))
            await connection.execute(text("INSERT INTO t VALUES (2)"))

    luck, cancelled = random.Random(7), 0
    for _ in range(150):
        tasks = [asyncio.create_task(write_two()) for _ in range(3)]
        await asyncio.sleep(luck.random() * 0.004)
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(end is None or isinstance(end, asyncio.CancelledError) for end in ends)
        cancelled += sum(end is not None for end in ends)
        async with asyncio.timeout(5):
            await write_two()
    with pytest.raises(TimeoutError):  # a time limit stays one, whatever it fell on
        async with asyncio.timeout(0.05):
            while True:
                await write_two()
    assert cancelled > 50
    assert len(connections) <= (4 if safe else 1)
    async with store.engine.connect() as connection:
        counts = await connection.execute(text("SELECT x, count(*) FROM t GROUP BY x ORDER BY x"))
    ones, twos = (count for _, count in counts)
    assert ones == twos >= 150  # whole or not at all
    await store.close()


async def test_a_database_that_another_process_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemma_keras_tune_ui.store.sqlite._BUSY_MS", 200)
    holder = sqlite3.connect(tmp_path / "app.db", isolation_level=None)
    holder.execute("PRAGMA locking_mode=EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(TuneError) as caught:
        await open_store(sqlite_url(tmp_path))
    assert caught.value.code == "DB_LOCKED"
    holder.close()


async def test_migrations_make_exactly_the_tables_of_the_code(store: Store) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    async with store.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_every_table_belongs_to_workspaces(store: Store) -> None:
    for table in metadata.tables.values():
        assert "workspace_id" in table.c, table.name
        assert not table.c.workspace_id.nullable, table.name


async def test_opening_again_changes_nothing(tmp_path: Path) -> None:
    store = await open_store(sqlite_url(tmp_path))
    await add_people(store)
    await store.close()
    store = await open_store(sqlite_url(tmp_path))
    async with store.begin() as connection:
        assert (await connection.execute(select(func.count()).select_from(users))).scalar() == 2
    await store.close()


async def test_the_audit_log_can_only_grow(store: Store) -> None:
    entry = {
        "seq": 1, "workspace_id": "w1", "time": NOW, "actor": "ann", "address": "",
        "action": "x", "object": "y", "detail": {}, "hash": "h",
    }  # fmt: skip
    async with store.begin() as connection:
        await connection.execute(insert(audit).values(**entry))
    for statement in ("UPDATE audit SET actor = 'bob'", "DELETE FROM audit"):
        with pytest.raises(DBAPIError, match="append-only"):
            async with store.begin() as connection:
                await connection.execute(text(statement))
    if not store.is_sqlite:
        with pytest.raises(DBAPIError, match="append-only"):
            async with store.begin() as connection:
                await connection.execute(text("TRUNCATE audit"))
    async with store.begin() as connection:
        assert (await connection.execute(select(audit.c.actor))).scalars().all() == ["ann"]


async def test_rows_of_nobody_and_states_that_do_not_exist_are_refused(store: Store) -> None:
    job = await Queue(store).submit(fake_data("x"), workspace_id="w1", user_id="ann")
    with pytest.raises(IntegrityError):
        await Queue(store).submit(fake_data("x"), workspace_id="w1", user_id="nobody")
    with pytest.raises(IntegrityError):
        async with store.begin() as connection:
            await connection.execute(jobs.update().values(state="dancing"))
    assert (await Queue(store).get(job.id)).state == "queued"


async def test_a_database_of_a_newer_version_is_refused(store: Store) -> None:
    async with store.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    url = store.engine.url.render_as_string(hide_password=False)
    await store.close()
    with pytest.raises(TuneError) as caught:
        await open_store(url)
    assert caught.value.code == "DB_NEWER"


@pytest.mark.parametrize("where", ["begin", "middle"])
async def test_a_damaged_database_is_refused_and_not_written(tmp_path: Path, where: str) -> None:
    """Case 55."""
    store = await open_store(sqlite_url(tmp_path))
    await add_people(store)
    async with store.begin() as connection:
        await connection.execute(
            insert(runs),
            [
                {
                    "id": f"run-{number}", "workspace_id": "w1", "name": "n" * 80,
                    "state": "done", "tags": [], "created_at": NOW, "changed_at": NOW,
                }
                for number in range(400)
            ],
        )  # fmt: skip
    await store.close()
    path = tmp_path / "app.db"
    data = bytearray(path.read_bytes())
    if where == "begin":
        data[:100] = b"\xff" * 100
    else:
        data[len(data) // 3 :] = b"\xa5" * (len(data) - len(data) // 3)
    path.write_bytes(data)
    with pytest.raises(TuneError) as caught:
        await open_store(sqlite_url(tmp_path))
    assert caught.value.code == "DB_DAMAGED"
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("mysql://x", "DB_URL"),
        ("nonsense", "DB_URL"),
        ("postgresql+asyncpg://u:secret@127.0.0.1:1/x", "DB_UNREACHABLE"),
    ],
)
async def test_a_url_that_leads_nowhere_says_so_without_the_password(url: str, code: str) -> None:
    with pytest.raises(TuneError) as caught:
        await open_store(url)
    assert caught.value.code == code
    assert "secret" not in str(caught.value)


async def test_a_backup_made_while_others_write_is_sound_and_whole(tmp_path: Path) -> None:
    store = await open_store(sqlite_url(tmp_path))
    await add_people(store)
    queue = Queue(store)
    submitted = 0

    async def write() -> None:
        nonlocal submitted
        for number in range(120):
            await queue.submit(
                fake_data(f"steps={number}"), workspace_id="w1", user_id="ann", key=str(number)
            )
            submitted += 1

    writing = asyncio.create_task(write())
    copies: list[Path] = []
    counts: list[tuple[int, int]] = []
    while not writing.done():
        before, path = submitted, tmp_path / f"copy-{len(copies)}.db"
        await store.backup(path)
        copies.append(path)
        counts.append((before, submitted))
    await writing
    await store.close()
    assert len(copies) >= 2
    for path, (least, most) in zip(copies, counts, strict=True):
        copy = sqlite3.connect(path)
        assert copy.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = copy.execute("SELECT count(*) FROM jobs").fetchone()[0]
        assert least <= found <= most + 1
        copy.close()
    restored = await open_store(f"sqlite+aiosqlite:///{copies[-1]}")  # a server starts from it
    await restored.close()


async def test_a_backup_that_can_not_be_written_leaves_nothing(
    tmp_path: Path, postgres_url: str
) -> None:
    store = await open_store(sqlite_url(tmp_path))
    with pytest.raises(TuneError) as caught:
        await store.backup(tmp_path / "not there" / "copy.db")
    assert caught.value.code == "BACKUP_FAILED"
    await store.close()
    other = await open_store(postgres_url)
    with pytest.raises(TuneError) as caught:
        await other.backup(tmp_path / "copy.db")
    assert caught.value.code == "BACKUP_POSTGRES"
    await other.close()
    assert names_in(tmp_path) <= {"app.db", "app.db-wal", "app.db-shm"}

"""The data root: what it must be, backups of its database, and a disk that is full."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui import backups, data_root
from gemma_keras_tune_ui.health import Health
from gemma_keras_tune_ui.metrics import Metrics
from gemma_keras_tune_ui.settings import BackupSettings
from gemma_keras_tune_ui.store.engine import Store
from tests.support.databases import add_people, quick_sqlite


@pytest.fixture
async def store(tmp_path: Path) -> Any:
    """A SQLite store with a workspace."""
    opened = await quick_sqlite(tmp_path)
    await add_people(opened)
    yield opened
    await opened.close()


def test_a_root_is_made_for_its_owner_alone(tmp_path):
    root = tmp_path / "a" / "root"
    data_root.prepare(root, holds_database=True)
    assert root.stat().st_mode & 0o777 == 0o700 and not list(root.iterdir())


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_sqlite_on_a_network_file_system_is_refused_and_postgresql_is_not(
    tmp_path, monkeypatch, kind
):
    device = os.stat(tmp_path).st_dev
    mounts = tmp_path / "mountinfo"
    numbers = f"{os.major(device)}:{os.minor(device)}"
    other = "20 1 0:99 / /other rw - ext4 /dev/x rw"
    mounts.write_text(f"{other}\n36 25 {numbers} / /m rw,x shared:7 - {kind} s rw\n")
    monkeypatch.setattr(data_root, "_MOUNTS", mounts)
    with pytest.raises(TuneError) as caught:
        data_root.prepare(tmp_path / "root", holds_database=True)
    assert caught.value.code == "ROOT_ON_NETWORK" and kind in str(caught.value)
    data_root.prepare(tmp_path / "root", holds_database=False)


def test_the_file_system_of_this_machine_is_found(tmp_path):
    assert data_root.file_system(tmp_path)


async def test_a_full_disk_is_told_and_the_ballast_given_up(tmp_path, store):
    """Case 52."""
    data_root.keep_ballast(tmp_path)
    ballast = tmp_path / "ballast"
    assert ballast.stat().st_blocks * 512 >= 64 * 2**20

    class Full(Store):
        def begin(self) -> Any:
            full = sqlite3.OperationalError("database or disk is full")
            raise OperationalError("UPDATE", {}, full)

    health = Health(Full(store.engine), root=tmp_path, is_supervising=lambda: True, reserve_bytes=1)
    assert await health.checks() == {"database": False, "supervisor": True, "disk": True}
    assert not ballast.exists()
    (problem,) = await health.problems()
    assert "can't be written" in problem


async def test_with_enough_room_the_ballast_stays_and_all_is_well(tmp_path, store):
    data_root.keep_ballast(tmp_path)
    health = Health(store, root=tmp_path, is_supervising=lambda: True, reserve_bytes=1)
    assert await health.problems() == []
    assert (tmp_path / "ballast").exists()


async def test_a_copy_is_made_when_the_newest_is_too_old_and_only_then(
    tmp_path, store, monkeypatch
):
    folder = backups.folder(tmp_path)
    folder.mkdir()
    old = folder / "server-20200101-000000.sqlite3"
    old.write_bytes(b"old")
    settings = BackupSettings(every_hours=1, keep=2)

    done = asyncio.Event()
    make_one = backups.make_one

    async def told(*args: Any, **kwargs: Any) -> Path:
        path = await make_one(*args, **kwargs)
        done.set()
        return path

    monkeypatch.setattr(backups, "make_one", told)

    async def copies_after(seconds: float) -> int:
        task = asyncio.create_task(backups.keep_making(store, tmp_path, settings))
        with suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), seconds)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return len(backups.made(tmp_path))

    assert await copies_after(0.5) == 1  # the file is young, whatever its name says
    os.utime(old, (0, 0))
    assert await copies_after(20) == 2
    copy = sqlite3.connect(backups.made(tmp_path)[-1])
    assert copy.execute("SELECT count(*) FROM users").fetchone() == (2,)
    copy.close()
    assert backups.made(tmp_path)[-1].name.startswith(f"server-{datetime.now(UTC):%Y%m%d}")


async def test_a_copy_that_cannot_be_made_is_logged_and_tried_again(tmp_path, store, monkeypatch):
    backups.folder(tmp_path).write_text("in the way")
    monkeypatch.setattr(backups, "_AGAIN_S", 0.01)
    tries, enough = [], asyncio.Event()
    make_one = backups.make_one

    async def counted(*args: Any, **kwargs: Any) -> Path:
        tries.append(1)
        if len(tries) == 3:
            enough.set()
        return await make_one(*args, **kwargs)

    monkeypatch.setattr(backups, "make_one", counted)
    task = asyncio.create_task(backups.keep_making(store, tmp_path, BackupSettings()))
    await asyncio.wait_for(enough.wait(), 20)
    assert not task.done()
    task.cancel()


async def test_a_loop_that_is_held_up_is_measured(monkeypatch):
    monkeypatch.setattr("gemma_keras_tune_ui.metrics._LAG_EVERY_S", 0.01)
    metrics = Metrics()
    task = asyncio.create_task(metrics.measure_lag())
    await asyncio.sleep(0.05)
    time.sleep(0.3)  # noqa: ASYNC251
    await asyncio.sleep(0.05)
    task.cancel()
    late = metrics.registry.get_sample_value("gkt_loop_lag_seconds_bucket", {"le": "0.25"})
    all_of_them = metrics.registry.get_sample_value("gkt_loop_lag_seconds_count")
    assert all_of_them is not None and late is not None and all_of_them - late >= 1


async def test_errors_of_the_database_are_counted(store):
    from sqlalchemy import text

    metrics = Metrics()
    metrics.watch(store)
    with pytest.raises(OperationalError):
        async with store.begin() as connection:
            await connection.execute(text("SELECT * FROM no_such_table"))
    labels = {"error": "OperationalError"}
    assert metrics.registry.get_sample_value("gkt_database_errors_total", labels) == 1


async def test_deleted_data_stays_for_a_while_and_then_goes(tmp_path):
    trash = tmp_path / "trash" / "datasets"
    trash.mkdir(parents=True)
    for name in ("one", "two"):
        (trash / name).mkdir()
        (trash / name / "data.csv").write_text("a")
    assert await data_root.empty_trash(tmp_path) == 0
    assert sorted(path.name for path in trash.iterdir()) == ["one", "two"]
    assert await data_root.empty_trash(tmp_path, keep_s=-1) == 2
    assert not list(trash.iterdir())
    assert await data_root.empty_trash(tmp_path / "no root") == 0

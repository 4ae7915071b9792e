"""Identity over a fresh database, with clocks that a test sets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gemma_keras_tune_ui.identity import passwords
from gemma_keras_tune_ui.identity.service import Identity, open_identity
from gemma_keras_tune_ui.store.engine import Store, open_store
from tests.support.databases import new_postgres_database, quick_sqlite
from tests.ui.identity.people import Times


@pytest.fixture
def times() -> Times:
    return Times()


@pytest.fixture(autouse=True)
def cheap_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 with little memory; its real cost is looked at in test_passwords.py."""
    monkeypatch.setattr(passwords, "_MEMORY_KIB", 64)


@pytest.fixture
async def empty_store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await quick_sqlite(tmp_path)
    yield store
    await store.close()


@pytest.fixture
async def identity(empty_store: Store, tmp_path: Path, times: Times) -> Identity:
    """On SQLite."""
    return await open_identity(
        empty_store, tmp_path, environ={}, clock=times.wall, monotonic=times.seconds
    )


@pytest.fixture(params=["sqlite", "postgresql"])
async def any_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty database of each kind."""
    if request.param == "sqlite":
        store = await quick_sqlite(tmp_path)
    else:
        base = request.getfixturevalue("postgres")
        store = await open_store(await new_postgres_database(base))
    yield store
    await store.close()


@pytest.fixture
async def any_identity(any_store: Store, tmp_path: Path, times: Times) -> Identity:
    """On each kind of database."""
    return await open_identity(
        any_store, tmp_path, environ={}, clock=times.wall, monotonic=times.seconds
    )

"""Databases for the app's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gemma_keras_tune_ui.store.engine import Store, open_store
from tests.support.databases import (
    add_people,
    new_postgres_database,
    postgres_server,
    quick_sqlite,
)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real PostgreSQL, without a database's name."""
    with postgres_server() as url:
        yield url


@pytest.fixture
async def postgres_url(postgres: str) -> str:
    """The URL of a new, empty database of a real PostgreSQL."""
    return await new_postgres_database(postgres)


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """A migrated database of each kind, with a workspace `w1` and the users ann and bob."""
    if request.param == "sqlite":
        opened = await quick_sqlite(tmp_path)
    else:
        base = request.getfixturevalue("postgres")
        opened = await open_store(await new_postgres_database(base))
    await add_people(opened)
    yield opened
    await opened.close()

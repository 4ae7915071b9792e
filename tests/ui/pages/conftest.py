"""One app for each file of page tests, and its administrator."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from fastapi import FastAPI
from nicegui.testing import User

from tests.support.pages import administrator, app_at_work


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FastAPI]:
    """The app at work, with an empty data root."""
    async with app_at_work(tmp_path_factory.mktemp("pages") / "root") as app:
        yield app


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ann(app: FastAPI) -> AsyncIterator[User]:
    """The administrator at the pages."""
    async with administrator(app) as user:
        yield user

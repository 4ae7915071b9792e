"""One app for each file of page tests, and its administrator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from fastapi import FastAPI
from nicegui.testing import User

from gemma_keras_tune_ui.jobs.queue import Queue
from tests.support.pages import HEADERS, administrator, app_at_work


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


@pytest_asyncio.fixture(loop_scope="module")
async def nothing_begins(ann: User, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """What is submitted waits, and is cancelled before anything begins again."""

    async def take_nothing(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(Queue, "claim", take_nothing)
    yield
    waiting = (await ann.http_client.get("/api/v1/jobs?state=queued")).json()["items"]
    for job in waiting:
        await ann.http_client.post(f"/api/v1/jobs/{job['id']}/cancel", headers=HEADERS)

"""One app for all tests of a module: it takes a second to start."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.ui.api.world import World, open_world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """The app at work, with people of every role."""
    async with open_world(tmp_path_factory.mktemp("root")) as opened:
        yield opened

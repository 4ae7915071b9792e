"""A data root of the web app with an administrator, made without a server."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gemma_keras_tune_ui.identity.service import open_identity
from gemma_keras_tune_ui.store.engine import open_store
from tests.support.app_server import NAME, PASSWORD


def make_root(root: Path) -> Path:
    """The root, with a SQLite database in it."""
    root.mkdir(parents=True, exist_ok=True)
    asyncio.run(_fill(root))
    return root


async def _fill(root: Path) -> None:
    store = await open_store(f"sqlite+aiosqlite:///{root}/server.sqlite3")
    identity = await open_identity(store, root)
    await identity.setup.create_first_admin(
        identity.setup.renew(), name=NAME, display_name="Ann", password=PASSWORD
    )
    await store.close()

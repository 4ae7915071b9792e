"""Whether the server lives (`/healthz`) and whether it can do its work (`/readyz`)."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from . import data_root
from .logs import logger
from .store.engine import Store
from .store.tables import server

_KEEP_S = 1.0  # anybody may ask, so an answer is given again for so long
_LONGEST_S = 5.0
_SAID = MappingProxyType(
    {
        "database": "The database can't be written, so nothing that you change is kept. Whoever "
        "runs the server finds the reason in its log.",
        "supervisor": "No job is started or followed. Whoever runs the server finds the reason in "
        "its log.",
        "disk": "The disk is nearly full. No job is started until there is room again.",
    }
)


class Health:
    """Answers whether the server is ready.

    Args:
        store: The database.
        root: The data root.
        is_supervising: Whether whoever starts the jobs is at work.
        reserve_bytes: The free disk below which the server is not ready.
    """

    def __init__(
        self,
        store: Store,
        *,
        root: Path,
        is_supervising: Callable[[], bool],
        reserve_bytes: int,
    ) -> None:
        self._store = store
        self._root = root
        self._is_supervising = is_supervising
        self._reserve_bytes = reserve_bytes
        self._answer: tuple[float, dict[str, bool]] = (float("-inf"), {})
        self._turn = asyncio.Lock()

    async def checks(self) -> dict[str, bool]:
        """Whether each thing holds that the server needs: `database`, `supervisor`, `disk`."""
        async with self._turn:
            asked, answer = self._answer
            if time.monotonic() - asked < _KEEP_S:
                return answer
            answer = {
                "database": await self._database_is_writable(),
                "supervisor": self._is_supervising(),
                "disk": await asyncio.to_thread(self._has_disk),
            }
            self._answer = (time.monotonic(), answer)
            return answer

    async def problems(self) -> list[str]:
        """What doesn't hold, for people who have a page open."""
        checks = await self.checks()
        return [text for name, text in _SAID.items() if not checks[name]]

    async def _database_is_writable(self) -> bool:
        try:
            async with asyncio.timeout(_LONGEST_S), self._store.begin() as connection:
                await connection.execute(update(server).values(last_job=server.c.last_job))
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            log = logger("health")
            log.error("database_is_not_writable", error=str(error)[:300])
            if "full" in str(error) and data_root.give_up_ballast(self._root):
                log.error("ballast_given_up", reason="the disk is full; make room on it")
            return False
        return True

    def _has_disk(self) -> bool:
        try:
            return shutil.disk_usage(self._root).free >= self._reserve_bytes
        except OSError:
            return False

"""What the server keeps: storage by kind, the cache that can be cleared, and backups."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

from nicegui import ui

from gemma_keras_tune.durable import remove_tree

from ... import backups
from ...identity.access import Action
from ...words import account as words
from ..tables import Column, Line, LinesTable
from ..visit import Visit
from ..widgets import confirm, primary, secondary
from .parts import Part, line


class Storage:
    """How much there is of what, looked at when somebody asks."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._part = Part(visit, words.STORAGE, words.STORAGE_TEXT)
        with self._part.card:
            secondary(words.CLEAR_CACHE, visit.tells(self._clear)).mark("clear-cache")

    async def show(self) -> None:
        """Shows it as it is now."""
        await self._part.draw(self._build)

    async def _build(self) -> None:
        root, reader = self._visit.asked(Action.MANAGE_STORAGE).root, self._visit.reader
        table = LinesTable(words.STORAGE, [Column(name) for name in words.STORAGE_COLUMNS])
        lines = []
        for name, shown in words.STORAGE_NAMES.items():
            size, files = await asyncio.to_thread(_measure, root / name)
            lines.append(Line(name, (shown, reader.size(size), reader.number(files))))
        table.show(lines)

    async def _clear(self) -> None:
        text = words.CLEAR_CACHE_TEXT
        if not await confirm(words.CLEAR_CACHE_TITLE, text, yes=words.CLEAR_CACHE, destroys=True):
            return
        asked = self._visit.asked(Action.MANAGE_STORAGE)
        tokens = asked.root / "cache" / "tokens"
        size, _ = await asyncio.to_thread(_measure, tokens)
        if tokens.is_dir():
            await asyncio.to_thread(remove_tree, tokens, trash=asked.root / "cache" / ".trash")
        await asked.note("cache.cleared", "cache", bytes=size)
        free = self._visit.reader.size(size)
        ui.notify(words.CLEARED.format(size=free), type="positive")
        await self.show()


class Backups:
    """Copies of the database."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._part = Part(visit, words.BACKUPS)

    async def show(self) -> None:
        """Shows those that there are."""
        await self._part.draw(self._build)

    async def _build(self) -> None:
        asked = self._visit.asked(Action.MAKE_BACKUP)
        if not self._visit.parts.store.is_sqlite:
            ui.label(words.BACKUPS_ELSEWHERE).classes("gkt-soft")
            return
        found = await asyncio.to_thread(backups.made, asked.root)
        if not found:
            ui.label(words.BACKUPS_NONE).classes("gkt-soft")
        for path in reversed(found):
            status = path.stat()
            when = datetime.fromtimestamp(status.st_mtime, UTC)
            line(path.name, f"{self._visit.reader.time(when)}, "
                 f"{self._visit.reader.size(status.st_size)}")  # fmt: skip
        primary(words.BACKUP_NOW, self._visit.tells(self._make)).mark("backup")

    async def _make(self) -> None:
        asked = self._visit.asked(Action.MAKE_BACKUP)
        keep = self._visit.parts.settings.backup.keep
        path = await backups.make_one(self._visit.parts.store, asked.root, keep=keep)
        await asked.note("backup.made", path.name)
        ui.notify(words.BACKUP_MADE, type="positive")
        await self.show()


def _measure(folder: Path) -> tuple[int, int]:
    """Bytes and files below a folder; links aren't followed."""
    size = files = 0
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(at, name)).st_size
            except OSError:
                continue  # it went meanwhile
            files += 1
    return size, files

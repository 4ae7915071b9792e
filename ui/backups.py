"""Copies of a SQLite database, made while the server runs and kept for a while."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from gemma_keras_tune.errors import TuneError

from .logs import logger
from .settings import BackupSettings
from .store.engine import Store

_NAME = "server-{:%Y%m%d-%H%M%S}.sqlite3"
_AGAIN_S = 300.0  # after a copy that couldn't be made


def folder(root: Path) -> Path:
    """Where the copies are."""
    return root / "backups"


async def make_one(store: Store, root: Path, *, keep: int) -> Path:
    """A checked copy of the database under a name with the time; the oldest ones are removed.

    Args:
        store: The open database.
        root: The data root.
        keep: How many copies stay.

    Raises:
        TuneError: `BACKUP_FAILED`, `BACKUP_POSTGRES`.
    """
    there = folder(root)
    try:
        there.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise TuneError(
            f"The folder {there} can't be made: {error.strerror}.", code="BACKUP_FAILED"
        ) from error
    path = there / _NAME.format(datetime.now(UTC))
    await store.backup(path)
    for old in made(root)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def made(root: Path) -> list[Path]:
    """Every copy, the oldest first."""
    return sorted(folder(root).glob("server-*.sqlite3"))


async def keep_making(store: Store, root: Path, settings: BackupSettings) -> None:
    """Makes a copy whenever the newest is too old, until it is cancelled."""
    log = logger("backups")
    while True:
        await asyncio.sleep(_seconds_left(root, settings.every_hours * 3600))
        try:
            path = await make_one(store, root, keep=settings.keep)
            log.info("backup_made", file=path.name)
        except TuneError as error:
            log.error("backup_failed", code=error.code, reason=str(error))
            await asyncio.sleep(_AGAIN_S)


def _seconds_left(root: Path, every_s: float) -> float:
    """Until the next copy is due. By the files' times: they outlive a restart of the server."""
    newest = made(root)[-1:]
    if not newest:
        return 0.0
    age = datetime.now(UTC).timestamp() - newest[0].stat().st_mtime
    return min(every_s, max(0.0, every_s - age))

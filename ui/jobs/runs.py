"""The table `runs`, kept like the folders under `ROOT/runs`, whoever made them.

A run that was started in a terminal appears in the first workspace; one that a job made belongs to
the job's. A folder elsewhere is listed only after an administrator has adopted it, which puts a
link to it among the runs.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.run_folder import RunFolder

from ..logs import logger
from ..store.engine import Store
from ..store.tables import UNFINISHED, jobs, runs, server
from .clock import machine_clock, wall_time
from .job import HELD
from .run_moves import checked_run, empty_trash, free_id, is_run, set_aside
from .run_summary import RUN_ID, RunReader, Summary

_log = logger("runs")
_SUMMARY = tuple(one.name for one in fields(Summary))
_QUIET_S = 20.0  # between two looks at runs that have ended


class Runs:
    """The runs of one data root.

    Args:
        store: The open database.
        root: The data root.
        every_s: How often folders are looked at, in seconds.
    """

    def __init__(self, store: Store, root: Path, *, every_s: float = 1.0) -> None:
        self.store, self.root, self.every_s = store, root, every_s
        self.folder = root / "runs"
        self._clock = machine_clock()
        self._readers: dict[str, RunReader] = {}
        self._is_first = True
        self._quiet_at = float("-inf")
        self._turn = asyncio.Lock()

    async def keep_mirroring(self) -> None:
        """Brings the table up to date again and again, until it is cancelled."""
        await asyncio.to_thread(empty_trash, self.folder)
        while True:
            try:
                await self.sweep()
            except (SQLAlchemyError, OSError) as error:
                _log.warning("runs_not_mirrored", error=str(error)[:300])
            await asyncio.sleep(self.every_s)

    async def sweep(self, *, all_of_them: bool = False) -> int:
        """How many rows were changed to be like the folders.

        Args:
            all_of_them: Whether to look also at runs that ended, which is done now and then.

        Raises:
            SQLAlchemyError: If the database doesn't answer; the next sweep does the rest.
            OSError: If the folder of the runs can't be read.
        """
        async with self._turn:
            now = self._clock().seconds
            look_at_all = all_of_them or now - self._quiet_at >= _QUIET_S
            found = await asyncio.to_thread(self._found)
            lively = await self._learn(found)
            missing = {id for id in self._readers if id not in found}
            readers = {
                id: reader
                for id, reader in self._readers.items()
                if id in found and (look_at_all or reader.is_lively or id in lively)
            }
            changed = await asyncio.to_thread(_look_at, readers)
            try:
                count = await self._write(changed, missing)
            except BaseException:
                self._forget(changed)  # so that they are written by the next sweep
                raise
            if look_at_all:
                self._quiet_at = now
            return count

    async def adopt(self, path: Path, *, workspace_id: str, user_id: str) -> str:
        """The id under which a folder from elsewhere is a run now. For administrators only.

        Raises:
            TuneError: `ADOPT_NO_RUN` if it is no run's folder, `ADOPT_TWICE` if it is one already,
                `ADOPT_REFUSED` if the link can't be made.
        """
        target = await asyncio.to_thread(checked_run, path, self.folder)
        run_id = await asyncio.to_thread(free_id, target, self.folder)
        reader = RunReader(RunFolder(target))
        await asyncio.to_thread(reader.look)
        row = _row_of(run_id, reader.summary, workspace_id=workspace_id, user_id=user_id)
        async with self._turn, self.store.begin() as connection:
            known = select(runs.c.id).where(runs.c.path == str(target), runs.c.deleted_at.is_(None))
            if (there := (await connection.execute(known)).scalar()) is not None:
                raise TuneError(f"{target} is listed already, as {there}.", code="ADOPT_TWICE")
            await connection.execute(insert(runs).values(**row, path=str(target)))
            try:
                (self.folder / run_id).symlink_to(target, target_is_directory=True)
            except OSError as error:
                raise TuneError(
                    f"{target} can't be linked in {self.folder}: {error.strerror}.",
                    code="ADOPT_REFUSED",
                ) from error
        return run_id

    async def delete(self, run_id: str, *, workspace_id: str) -> bool:
        """Whether the run was there and is now deleted; of an adopted one only the link.

        Raises:
            TuneError: `RUN_IN_USE` while a job on it isn't finished, `RUN_LOCKED` while somebody
                writes there, `RUN_NOT_WRITABLE` if it can't be removed.
        """
        mine = (runs.c.id == run_id) & (runs.c.workspace_id == workspace_id)
        async with self._turn:
            async with self.store.begin() as connection:
                columns = select(runs.c.path, runs.c.deleted_at).where(mine)
                row = (await connection.execute(columns)).first()
                if row is None or row.deleted_at is not None:
                    return False
                await _refuse_if_in_use(connection, run_id)
                gone = update(runs).where(mine).values(deleted_at=wall_time())
                await connection.execute(gone)
            try:
                doomed = await asyncio.to_thread(
                    set_aside, run_id, self.folder, is_link=row.path is not None
                )
            except TuneError:
                async with self.store.begin() as connection:
                    await connection.execute(update(runs).where(mine).values(deleted_at=None))
                raise
            self._readers.pop(run_id, None)
        if doomed is not None:
            await asyncio.to_thread(shutil.rmtree, doomed, True)
        return True

    def _found(self) -> dict[str, Path]:
        """The folders that are runs, by id; links count as what they point to."""
        found = {}
        try:
            entries = os.scandir(self.folder)
        except FileNotFoundError:
            return {}
        with entries:
            for entry in entries:
                if RUN_ID.fullmatch(entry.name) and entry.is_dir():
                    path = Path(entry.path)
                    if entry.name in self._readers or is_run(path):
                        found[entry.name] = path.resolve() if entry.is_symlink() else path
        return found

    async def _learn(self, found: Mapping[str, Path]) -> set[str]:
        """Makes readers of folders that are new here; gives the runs to look at now.

        A link counts only if the table has it: then an administrator has adopted it.
        """
        new = {id: path for id, path in found.items() if id not in self._readers}
        known: dict[str, RowMapping] = {}
        async with self.store.begin() as connection:
            for ids in _portions(sorted(new)):
                rows = await connection.execute(select(runs).where(runs.c.id.in_(ids)))
                known |= {row["id"]: row for row in rows.mappings()}
            if self._is_first:
                self._is_first = False
                await self._mark_vanished(connection, found)
            held = select(jobs.c.run_id).where(jobs.c.state.in_(HELD), jobs.c.run_id.is_not(None))
            lively = set((await connection.execute(held)).scalars())
        for id, path in new.items():
            row = known.get(id)
            if path != self.folder / id and (row is None or row["path"] != str(path)):
                continue
            summary = None
            if row is not None and row["state"] != "missing" and row["deleted_at"] is None:
                summary = Summary(**{name: row[name] for name in _SUMMARY})
            self._readers[id] = RunReader(RunFolder(path), summary)
            lively.add(id)
        return lively

    async def _mark_vanished(self, connection: AsyncConnection, found: Mapping[str, Path]) -> None:
        """Marks the runs whose folders were taken away while no server ran."""
        seen = select(runs.c.id).where(
            runs.c.seen_seq > 0, runs.c.deleted_at.is_(None), runs.c.state != "missing"
        )
        lost = sorted(set((await connection.execute(seen)).scalars()) - set(found))
        for ids in _portions(lost):
            await connection.execute(update(runs).where(runs.c.id.in_(ids)).values(state="missing"))

    async def _write(self, changed: set[str], missing: set[str]) -> int:
        count = 0
        for portion in _portions(sorted(changed)):
            try:
                async with self.store.begin() as connection:
                    for id in portion:
                        await self._upsert(connection, id, self._readers[id].summary)
                count += len(portion)
            except IntegrityError:  # somebody else made a row meanwhile: the next sweep
                self._forget(portion)
        return count + await self._write_missing(missing)

    def _forget(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._readers.pop(id, None)

    async def _upsert(self, connection: AsyncConnection, id: str, summary: Summary) -> None:
        # The name stays: somebody may have renamed the run.
        values = {name: getattr(summary, name) for name in _SUMMARY if name != "name"}
        values |= {"changed_at": wall_time(), "deleted_at": None}
        done = await connection.execute(update(runs).where(runs.c.id == id).values(**values))
        if done.rowcount:
            return
        job = select(jobs.c.workspace_id, jobs.c.user_id).where(jobs.c.run_id == id)
        made_by = (await connection.execute(job.order_by(jobs.c.number).limit(1))).first()
        if made_by is None:
            workspace_id = (await connection.execute(select(server.c.workspace_id))).scalar_one()
            row = _row_of(id, summary, workspace_id=workspace_id, user_id=None)
        else:
            row = _row_of(id, summary, workspace_id=made_by[0], user_id=made_by[1])
        await connection.execute(insert(runs).values(**row))

    async def _write_missing(self, missing: set[str]) -> int:
        """Marks runs whose folder was taken away by somebody else; a folder may come back."""
        if not missing:
            return 0
        async with self.store.begin() as connection:
            for ids in _portions(sorted(missing)):
                gone = runs.c.id.in_(ids) & runs.c.deleted_at.is_(None)
                await connection.execute(update(runs).where(gone).values(state="missing"))
        for id in missing:
            del self._readers[id]
        return len(missing)


async def _refuse_if_in_use(connection: AsyncConnection, run_id: str) -> None:
    at_work = select(jobs.c.id).where(jobs.c.run_id == run_id, jobs.c.state.in_(UNFINISHED))
    job = (await connection.execute(at_work.limit(1))).scalar()
    if job is not None:
        raise TuneError(
            f"The job {job} isn't finished with the run {run_id}. Cancel it first.",
            code="RUN_IN_USE",
        )


def _look_at(readers: Mapping[str, RunReader]) -> set[str]:
    changed = set()
    for id, reader in readers.items():
        with suppress(OSError):  # it may be on its way out; others can be read
            if reader.look():
                changed.add(id)
    return changed


def _row_of(
    run_id: str, summary: Summary, *, workspace_id: str, user_id: str | None
) -> dict[str, Any]:
    now = wall_time()
    values = {name: getattr(summary, name) for name in _SUMMARY}
    ids = {"id": run_id, "workspace_id": workspace_id, "user_id": user_id}
    return values | ids | {"tags": [], "created_at": now, "changed_at": now}


def _portions(ids: list[str], size: int = 200) -> list[list[str]]:
    return [ids[start : start + size] for start in range(0, len(ids), size)]

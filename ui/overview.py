"""What the first page lists, asked once a second for everybody who looks, not once for each."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from .store.engine import Store
from .store.tables import UNFINISHED, datasets, jobs, runs

_KEEP_S = 0.9
_MOST = 12


@dataclass(frozen=True)
class JobLine:
    """One job."""

    kind: str
    run_id: str | None
    run_name: str | None
    state: str
    code: str | None
    created_at: datetime


@dataclass(frozen=True)
class RunLine:
    """One run."""

    id: str
    name: str
    state: str
    step: int
    total_steps: int
    loss: float | None
    changed_at: datetime


@dataclass(frozen=True)
class Overview:
    """What is at work and what is new in a workspace, and how much more there is.

    Attributes:
        jobs: Those that haven't ended, the newest first.
        more_jobs: How many others haven't.
        runs: The newest, those at work first.
        more_runs: How many others there are.
        datasets: How many data sets somebody has uploaded.
    """

    jobs: tuple[JobLine, ...]
    more_jobs: int
    runs: tuple[RunLine, ...]
    more_runs: int
    datasets: int = 0

    @property
    def newest_done(self) -> RunLine | None:
        """The run that was finished last, among the newest."""
        done = [run for run in self.runs if run.state == "done"]
        return max(done, key=lambda run: run.changed_at, default=None)


class Overviews:
    """The overviews of all workspaces.

    Args:
        store: The open database.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[float, Overview]] = {}
        self._turn = asyncio.Lock()

    async def of(self, workspace_id: str) -> Overview:
        """What there is in one workspace, at most a second old."""
        async with self._turn:
            asked, known = self._known.get(workspace_id, (float("-inf"), None))
            if known is None or time.monotonic() - asked > _KEEP_S:
                async with self._store.begin() as connection:
                    known = await _ask(connection, workspace_id)
                self._known[workspace_id] = time.monotonic(), known
            return known


async def _ask(connection: AsyncConnection, workspace_id: str) -> Overview:
    here = (jobs.c.workspace_id == workspace_id) & jobs.c.state.in_(UNFINISHED)
    its_run = (runs.c.id == jobs.c.run_id) & (runs.c.workspace_id == jobs.c.workspace_id)
    found = await connection.execute(
        select(
            jobs.c.kind, jobs.c.run_id, runs.c.name, jobs.c.state, jobs.c.code, jobs.c.created_at
        )
        .join_from(jobs, runs, its_run, isouter=True)
        .where(here)
        .order_by(jobs.c.number.desc())
        .limit(_MOST)
    )
    job_lines = tuple(
        JobLine(kind, run_id, name or run_id, state, code, created_at)
        for kind, run_id, name, state, code, created_at in found
    )
    there = (runs.c.workspace_id == workspace_id) & runs.c.deleted_at.is_(None)
    columns = (runs.c.id, runs.c.name, runs.c.state, runs.c.step, runs.c.total_steps, runs.c.loss)
    lines = await connection.execute(
        select(*columns, runs.c.changed_at)
        .where(there)
        .order_by((runs.c.state == "running").desc(), runs.c.created_at.desc())
        .limit(_MOST)
    )
    run_lines = tuple(RunLine(*row) for row in lines)
    uploaded = (datasets.c.workspace_id == workspace_id) & datasets.c.deleted_at.is_(None)
    return Overview(
        jobs=job_lines,
        more_jobs=await _count(connection, here) - len(job_lines),
        runs=run_lines,
        more_runs=await _count(connection, there) - len(run_lines),
        datasets=await _count(connection, uploaded),
    )


async def _count(connection: AsyncConnection, which: ColumnElement[bool]) -> int:
    return await connection.scalar(select(func.count()).where(which)) or 0

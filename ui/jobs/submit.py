"""Putting a job into the queue, once: the same key for the same work gives the same job."""

from __future__ import annotations

import secrets

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gemma_keras_tune.errors import TuneError

from ..store.tables import jobs, server
from .clock import wall_time
from .job import HIGHEST_PRIORITY, KINDS, Job, Work, job_of
from .quotas import Limits, check_room


def check_work(work: Work, priority: int) -> None:
    """Returns if the queue takes such work.

    Raises:
        TuneError: `JOB_KIND` or `JOB_PRIORITY`.
    """
    if work.kind not in KINDS:
        raise TuneError(
            f"There is no kind of job {work.kind!r}; there are: {', '.join(KINDS)}.",
            code="JOB_KIND",
        )
    if abs(priority) > HIGHEST_PRIORITY:
        raise TuneError(
            f"The priority {priority} is out of bounds: -{HIGHEST_PRIORITY} to {HIGHEST_PRIORITY}.",
            code="JOB_PRIORITY",
        )


async def insert_job(
    connection: AsyncConnection,
    work: Work,
    *,
    workspace_id: str,
    user_id: str,
    key: str | None,
    priority: int,
    defaults: Limits,
) -> Job:
    """The new row, or the old one with this key.

    Raises:
        TuneError: `JOB_KEY_REUSED`, `QUOTA_QUEUED_JOBS` or `QUOTA_DISK`.
    """
    # Locks the row on PostgreSQL: two submits with one key come one after the other.
    counted = update(server).values(last_job=server.c.last_job + 1).returning(server.c.last_job)
    number = (await connection.execute(counted)).scalar_one()
    if key is not None:
        same = select(jobs).where(jobs.c.workspace_id == workspace_id, jobs.c.key == key)
        row = (await connection.execute(same)).mappings().first()
        if row is not None:
            return _same_work(job_of(row), work, key)
    await check_room(connection, workspace_id, user_id, defaults)
    values = {
        "id": secrets.token_hex(16),
        "workspace_id": workspace_id,
        "user_id": user_id,
        "number": number,
        "kind": work.kind,
        "run_id": work.run,
        "args": dict(work.args),
        "key": key,
        "args_hash": work.hash,
        "priority": priority,
        "pool": work.pool,
        "created_at": wall_time(),
    }
    inserted = await connection.execute(insert(jobs).values(**values).returning(jobs))
    return job_of(inserted.mappings().one())


def _same_work(old: Job, work: Work, key: str) -> Job:
    if old.args_hash == work.hash:
        return old
    raise TuneError(
        f"The key {key!r} was used before, for the {old.kind} job {old.id} with other arguments. "
        "Send the same work again, or choose a new key.",
        code="JOB_KEY_REUSED",
    )

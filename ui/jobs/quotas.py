"""How much one person may have in one workspace: running jobs, waiting jobs, bytes on disk."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Integer, Table, and_, case, func, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gemma_keras_tune.errors import TuneError

from ..store.tables import datasets, jobs, quotas, runs, uploads


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What holds where no row of `quotas` says otherwise; None: no limit.

    Attributes:
        running_jobs: Jobs of one person that may run at once in one workspace.
        queued_jobs: Jobs of one person that may wait in one workspace.
        disk_bytes: Bytes that one person's uploads, data sets and runs may take.
    """

    running_jobs: int | None = 4
    queued_jobs: int | None = 200
    disk_bytes: int | None = None


NO_LIMIT = 2**31 - 1


def running_limit(
    workspace_id: ColumnElement[str], user_id: ColumnElement[str], defaults: Limits
) -> ColumnElement[int]:
    """SQL for how many jobs of a user may run at once: their own row, or the workspace's."""
    rows = and_(
        quotas.c.workspace_id == workspace_id,
        (quotas.c.user_id == user_id) | quotas.c.user_id.is_(None),
        quotas.c.running_jobs.is_not(None),
    )
    found = select(quotas.c.running_jobs).where(rows).order_by(_own_first()).limit(1)
    default = NO_LIMIT if defaults.running_jobs is None else defaults.running_jobs
    return func.coalesce(found.scalar_subquery(), literal(default, Integer))


async def limits_of(
    connection: AsyncConnection, workspace_id: str, user_id: str, defaults: Limits
) -> Limits:
    """What holds for a user: their own row, else the workspace's row, else `defaults`."""
    query = (
        select(quotas.c.running_jobs, quotas.c.queued_jobs, quotas.c.disk_bytes)
        .where(
            quotas.c.workspace_id == workspace_id,
            (quotas.c.user_id == user_id) | quotas.c.user_id.is_(None),
        )
        .order_by(_own_first())
    )
    rows = (await connection.execute(query)).all()

    def first(place: int, default: int | None) -> int | None:
        return next((row[place] for row in rows if row[place] is not None), default)

    return Limits(
        running_jobs=first(0, defaults.running_jobs),
        queued_jobs=first(1, defaults.queued_jobs),
        disk_bytes=first(2, defaults.disk_bytes),
    )


async def disk_used(connection: AsyncConnection, workspace_id: str, user_id: str) -> int:
    """Bytes that a user's unfinished uploads, data sets and runs take in a workspace."""

    async def total(table: Table, column: ColumnElement[int], *where: ColumnElement[bool]) -> int:
        theirs = (table.c.workspace_id == workspace_id, table.c.user_id == user_id)
        query = select(func.coalesce(func.sum(column), 0)).where(*theirs, *where)
        return int((await connection.execute(query)).scalar_one())

    return (
        await total(runs, runs.c.size, runs.c.deleted_at.is_(None))
        + await total(datasets, datasets.c.size, datasets.c.deleted_at.is_(None))
        + await total(uploads, uploads.c.received, uploads.c.state == "open")
    )


async def check_room(
    connection: AsyncConnection, workspace_id: str, user_id: str, defaults: Limits
) -> None:
    """Returns if the user may submit one more job.

    Raises:
        TuneError: `QUOTA_QUEUED_JOBS` or `QUOTA_DISK`.
    """
    limits = await limits_of(connection, workspace_id, user_id, defaults)
    if limits.queued_jobs is not None:
        waiting = select(func.count()).where(
            jobs.c.workspace_id == workspace_id,
            jobs.c.user_id == user_id,
            jobs.c.state.in_(("queued", "paused")),
        )
        count = (await connection.execute(waiting)).scalar_one()
        if count >= limits.queued_jobs:
            raise TuneError(
                f"You have {count} jobs waiting, and {limits.queued_jobs} are allowed. Wait until "
                "some have run, cancel some, or ask an administrator for a higher quota.",
                code="QUOTA_QUEUED_JOBS",
            )
    if limits.disk_bytes is not None:
        used = await disk_used(connection, workspace_id, user_id)
        if used >= limits.disk_bytes:
            raise TuneError(
                f"Your files take {used / 1e9:.1f} GB, and {limits.disk_bytes / 1e9:.1f} GB are "
                "allowed. Delete runs or data sets, or ask an administrator for a higher quota.",
                code="QUOTA_DISK",
            )


def _own_first() -> ColumnElement[int]:
    return case((quotas.c.user_id.is_(None), 1), else_=0)

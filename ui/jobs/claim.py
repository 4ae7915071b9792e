"""Whose turn it is: the one statement that picks a job and leases it.

Among the people with jobs that could start now, the one with the fewest running jobs is next, and
among equals the one who was served longest ago. Priorities order a person's own jobs and never
pass another person's. A job that writes in a run waits for earlier ones on the same run.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    JSON,
    ColumnElement,
    Select,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    type_coerce,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from ..store.tables import jobs
from .job import HELD, WRITERS, Slots
from .quotas import Limits, running_limit


async def free_slots(connection: AsyncConnection, slots: Slots) -> dict[str, str]:
    """For each pool that has one, the first slot that no job holds."""
    held = select(jobs.c.slots).where(jobs.c.state.in_(HELD))
    taken = {name for names in (await connection.execute(held)).scalars() for name in names}
    free = {pool: [name for name in names if name not in taken] for pool, names in slots.items()}
    return {pool: names[0] for pool, names in free.items() if names}


async def lease_next(
    connection: AsyncConnection,
    free: Mapping[str, str],
    *,
    defaults: Limits,
    values: Mapping[str, Any],
) -> Mapping[Any, Any] | None:
    """The row of the job whose turn it is, now leased; None if none can start.

    Args:
        connection: A transaction in which nobody else claims.
        free: The slot that a job of each pool would get.
        defaults: Quotas where no row says otherwise.
        values: Columns of the lease.
    """
    slot = case(
        {pool: type_coerce(literal([name], JSON), JSON) for pool, name in free.items()},
        value=jobs.c.pool,
        else_=jobs.c.slots,
    )
    statement = (
        update(jobs)
        .where(jobs.c.id == _next_job(tuple(sorted(free)), defaults).scalar_subquery())
        .where(jobs.c.state == "queued")
        .values(slots=slot, fence=jobs.c.fence + 1, **values)
        .returning(jobs)
    )
    return (await connection.execute(statement)).mappings().first()


@lru_cache(maxsize=64)
def _next_job(pools: tuple[str, ...], defaults: Limits) -> Select[tuple[str]]:
    queued = jobs.alias("queued")
    held = (
        select(jobs.c.workspace_id, jobs.c.user_id, func.count().label("running"))
        .where(jobs.c.state.in_(HELD))
        .group_by(jobs.c.workspace_id, jobs.c.user_id)
        .cte("held")
    )
    all_of_theirs = held.c.user_id == queued.c.user_id
    here = and_(all_of_theirs, held.c.workspace_id == queued.c.workspace_id)
    # Grouped, so that all this is counted once for a person and not once for each job.
    turns = (
        select(
            queued.c.workspace_id,
            queued.c.user_id,
            _sum(held.c.running, all_of_theirs).label("running"),
            _sum(held.c.running, here).label("running_here"),
            running_limit(queued.c.workspace_id, queued.c.user_id, defaults).label("allowed"),
            _last_served(queued.c.user_id).label("served"),
        )
        .where(queued.c.state == "queued", queued.c.pool.in_(pools))
        .group_by(queued.c.workspace_id, queued.c.user_id)
        .cte("turns")
    )
    its_person = and_(
        turns.c.user_id == jobs.c.user_id, turns.c.workspace_id == jobs.c.workspace_id
    )
    return (
        select(jobs.c.id)
        .join(turns, its_person)
        .where(_may_start(pools), turns.c.running_here < turns.c.allowed)
        .order_by(turns.c.running, turns.c.served, jobs.c.priority.desc(), jobs.c.number)
        .limit(1)
    )


def _may_start(pools: tuple[str, ...]) -> ColumnElement[bool]:
    other = jobs.alias("other")
    before = or_(
        other.c.state.in_(HELD),
        and_(other.c.state == "queued", other.c.number < jobs.c.number),
    )
    in_the_way = (
        select(other.c.id)
        .where(other.c.run_id == jobs.c.run_id, other.c.kind.in_(WRITERS), before)
        .exists()
    )
    return and_(
        jobs.c.state == "queued",
        jobs.c.pool.in_(pools),
        or_(jobs.c.kind.not_in(WRITERS), ~in_the_way),
    )


def _sum(column: ColumnElement[int], where: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(select(func.sum(column)).where(where).scalar_subquery(), 0)


def _last_served(user_id: ColumnElement[str]) -> ColumnElement[int]:
    past = jobs.alias("past")
    return select(func.max(past.c.served)).where(past.c.user_id == user_id).scalar_subquery()

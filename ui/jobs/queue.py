"""The queue: who works on which job, decided by the database alone. No process is started here.

Whoever claims a job gets its fence, a number that is one higher at each claim and never goes back.
Every later write names the fence, so one that was given up for dead and comes back changes nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, and_, case, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gemma_keras_tune.errors import TuneError

from ..store.engine import Store
from ..store.tables import jobs, server
from .claim import free_slots, lease_next
from .clock import Clock, machine_clock, wall_time
from .job import ENDED, HELD, MOST_DEATHS, Job, Slots, Work, job_of
from .quotas import Limits
from .submit import check_work, insert_job

_FREE: dict[str, Any] = {
    "owner": None,
    "lease_boot": None,
    "lease_until": None,
    "pid": None,
    "process_start": None,
    "slots": [],
}
_NO_WISH: dict[str, Any] = {"wish": None, "wish_at": None}


class Queue:
    """The jobs of one database.

    Args:
        store: The open database; its row in `server` must be there.
        owner: Names this server process in the leases: 32 hex digits, never used again.
        clock: The time that leases count in.
        lease_s: How long a lease holds without a beat, in seconds.
        defaults: Quotas for people and workspaces that have none of their own.

    Attributes:
        on_change: Called when there may be something to start, or a new wish.
    """

    def __init__(
        self,
        store: Store,
        *,
        owner: str | None = None,
        clock: Clock | None = None,
        lease_s: float = 30.0,
        defaults: Limits | None = None,
    ) -> None:
        self.store = store
        self.owner = owner or secrets.token_hex(16)
        self.clock = clock or machine_clock()
        self.lease_s = lease_s
        self.defaults = defaults or Limits()
        self.on_change: Callable[[], None] = lambda: None

    async def submit(
        self,
        work: Work,
        *,
        workspace_id: str,
        user_id: str,
        key: str | None = None,
        priority: int = 0,
    ) -> Job:
        """The new job; with a `key` that was used before for the same work, the old one.

        Raises:
            TuneError: `JOB_KIND`, `JOB_PRIORITY`, `JOB_KEY_REUSED` if the key stands for other
                work, `QUOTA_QUEUED_JOBS` or `QUOTA_DISK`.
        """
        check_work(work, priority)
        async with self.store.begin() as connection:
            job = await insert_job(
                connection,
                work,
                workspace_id=workspace_id,
                user_id=user_id,
                key=key,
                priority=priority,
                defaults=self.defaults,
            )
        self.on_change()
        return job

    async def claim(self, slots: Slots) -> Job | None:
        """The job whose turn it is, leased to this server; None if none can start.

        Args:
            slots: The names of all slots of each pool; those that jobs hold are left out here.
        """
        async with self.store.begin() as connection:
            last = select(server.c.last_claim).with_for_update()  # one claimer at a time
            served = (await connection.execute(last)).scalar_one() + 1
            free = await free_slots(connection, slots)
            if not free:
                return None
            lease = self._lease() | {"state": "running", "started_at": wall_time()}
            lease |= {"served": served, "pid": None, "process_start": None}
            row = await lease_next(connection, free, defaults=self.defaults, values=lease)
            if row is None:
                return None
            await connection.execute(update(server).values(last_claim=served))
            return job_of(row)

    async def started(self, job: Job, *, pid: int, process_start: int) -> bool:
        """Records the child, before it may begin; False if the job is somebody else's now."""
        values = {"pid": pid, "process_start": process_start}
        return await self._change(job, jobs.c.state.in_(HELD), values) is not None

    async def beat(self, job: Job, *, progress: int = 0) -> Job | None:
        """The job with its lease renewed and what is wished of it; None: it is lost to this server.

        Args:
            job: The job, as it was claimed or adopted.
            progress: The highest mark that its child reached durably, such as the steps in its
                last checkpoint. A higher one than before forgives past deaths.
        """
        further = jobs.c.progress < progress
        values = self._lease() | {
            "state": "running",
            "deaths": case((further, 0), else_=jobs.c.deaths),
            "progress": case((further, progress), else_=jobs.c.progress),
        }
        return await self._change(job, jobs.c.state.in_(HELD), values)

    async def finish(self, job: Job, state: str, *, code: str = "", message: str = "") -> bool:
        """Records how the job ended; False if it is somebody else's now, or has ended already.

        Args:
            job: The job, as it was claimed or adopted.
            state: What its child says: done, failed, or stopped (with a checkpoint).
            code: A stable code for programs, if it failed.
            message: What happened, for people.

        Raises:
            ValueError: If `state` isn't an end that a child can come to.
        """
        if state not in ("done", "failed", "stopped"):
            raise ValueError(f"a child doesn't end as {state!r}")
        is_cancelled = and_(jobs.c.wish == "cancel", literal(state != "done"))
        rests = "paused" if state == "stopped" else state
        values = {
            "state": case((is_cancelled, "cancelled"), else_=rests),
            "code": _text(code, 40),
            "message": _text(message, 4000),
            "ended_at": case((or_(is_cancelled, literal(rests != "paused")), wall_time())),
        }
        held = jobs.c.state.in_(HELD)
        return await self._change(job, held, values | _FREE | _NO_WISH) is not None

    async def died(self, job: Job, *, code: str = "", message: str = "") -> Job | None:
        """The job after its child is known to be gone without a result; None if it isn't ours.

        It waits for another turn, unless somebody wished it cancelled or paused, or this was the
        third death in a row without progress: then it is put in quarantine.
        """
        return await self._put_back(job, deaths=1, code=code, message=message)

    async def release(self, job: Job, *, code: str = "", message: str = "") -> Job | None:
        """The job after it was given back without its child having died, as `died`."""
        return await self._put_back(job, deaths=0, code=code, message=message)

    async def ask(self, job_id: str, wish: str, *, workspace_id: str | None = None) -> Job | None:
        """The job after somebody asked to cancel or to pause it; None if there is no such job.

        One that waits is cancelled or paused at once; one that runs gets the wish, and its
        supervisor sees to it. Asking again changes nothing, but cancelling outweighs pausing.

        Raises:
            TuneError: `JOB_CANT_PAUSE` if it runs and has no checkpoints to stop with.
            ValueError: For another wish.
        """
        if wish not in ("cancel", "pause"):
            raise ValueError(f"nobody can wish {wish!r}")
        async with self.store.begin() as connection:
            job = await _first(connection, _one(job_id, workspace_id), lock=True)
            if job is None:
                return None
            values = self._wished(job, wish)
            if not values:
                return job
            changed = update(jobs).where(jobs.c.id == job_id).values(**values).returning(jobs)
            job = job_of((await connection.execute(changed)).mappings().one())
        self.on_change()
        return job

    async def resume(self, job_id: str, *, workspace_id: str | None = None) -> Job | None:
        """The job, waiting for its turn again; None if there is no such job.

        Raises:
            TuneError: `JOB_NOT_PAUSED` if it is neither paused nor in quarantine.
        """
        async with self.store.begin() as connection:
            job = await _first(connection, _one(job_id, workspace_id), lock=True)
            if job is None or job.state == "queued":
                return job
            if job.state not in ("paused", "quarantined"):
                raise TuneError(
                    f"The job {job_id} is {job.state}; only a paused job or one in quarantine can "
                    "be resumed. Submit it again to repeat the work.",
                    code="JOB_NOT_PAUSED",
                )
            values = {"state": "queued", "deaths": 0, "ended_at": None, "code": None}
            values |= {"message": None} | _NO_WISH
            changed = update(jobs).where(jobs.c.id == job_id).values(**values).returning(jobs)
            job = job_of((await connection.execute(changed)).mappings().one())
        self.on_change()
        return job

    async def expire(self, *, not_mine: bool = False) -> list[Job]:
        """The suspects: jobs whose lease has run out. Their children are yet to be looked for.

        First phase of two. Whoever finds the child alive calls `adopt`, and whoever has made sure
        that it is gone calls `died` or `finish`; nothing is started again before that.

        Args:
            not_mine: Whether leases of other servers are void at once, which is so for whoever
                holds the data root's lock.
        """
        now = self.clock()
        void = or_(jobs.c.lease_until < now.seconds, jobs.c.lease_boot != now.boot)
        if not_mine:
            void = or_(void, jobs.c.owner != self.owner)
        async with self.store.begin() as connection:
            await connection.execute(
                update(jobs).where(jobs.c.state == "running", void).values(state="suspect")
            )
            rows = await connection.execute(
                select(jobs).where(jobs.c.state == "suspect").order_by(jobs.c.number)
            )
            return [job_of(row) for row in rows.mappings()]

    async def adopt(self, job: Job) -> Job | None:
        """The suspect `job`, leased to this server under a new fence; None if it changed meanwhile.

        Second phase, for a child that lives.
        """
        values = self._lease() | {"state": "running", "fence": jobs.c.fence + 1}
        return await self._change(job, jobs.c.state == "suspect", values)

    async def get(self, job_id: str, *, workspace_id: str | None = None) -> Job | None:
        """The job, or None if there is none, or it is another workspace's."""
        async with self.store.begin() as connection:
            return await _first(connection, _one(job_id, workspace_id))

    async def mine(self) -> list[Job]:
        """The jobs that this server holds, in the order of their submission."""
        query = select(jobs).where(jobs.c.owner == self.owner, jobs.c.state.in_(HELD))
        async with self.store.begin() as connection:
            rows = await connection.execute(query.order_by(jobs.c.number))
            return [job_of(row) for row in rows.mappings()]

    def _lease(self) -> dict[str, Any]:
        now = self.clock()
        until = now.seconds + self.lease_s
        return {"owner": self.owner, "lease_boot": now.boot, "lease_until": until}

    def _wished(self, job: Job, wish: str) -> Mapping[str, Any]:
        """What a wish changes in the row; nothing if it changes nothing."""
        if job.state in (*ENDED, "paused") and not (job.state == "paused" and wish == "cancel"):
            return {}
        if job.state in ("queued", "paused"):
            state = "cancelled" if wish == "cancel" else "paused"
            return {"state": state, "ended_at": wall_time() if wish == "cancel" else None}
        if wish == "pause" and job.kind != "train":
            raise TuneError(
                f"A job of the kind {job.kind} has no checkpoints, so it can't be paused while it "
                "runs. Let it finish, or cancel it.",
                code="JOB_CANT_PAUSE",
            )
        if job.wish in (wish, "cancel"):
            return {}
        return {"wish": wish, "wish_at": self.clock().seconds}

    async def _put_back(self, job: Job, *, deaths: int, code: str, message: str) -> Job | None:
        total = jobs.c.deaths + deaths
        is_over = and_(total >= MOST_DEATHS, literal(deaths > 0))
        state = case(
            (jobs.c.wish == "cancel", "cancelled"),
            (jobs.c.wish == "pause", "paused"),
            (is_over, "quarantined"),
            else_="queued",
        )
        ended = or_(jobs.c.wish == "cancel", and_(is_over, jobs.c.wish.is_(None)))
        values = {
            "state": state,
            "deaths": total,
            "code": _text(code, 40),
            "message": _text(message, 4000),
            "ended_at": case((ended, wall_time()), else_=None),
        }
        return await self._change(job, jobs.c.state.in_(HELD), values | _FREE | _NO_WISH)

    async def _change(
        self, job: Job, where: ColumnElement[bool], values: Mapping[str, Any]
    ) -> Job | None:
        """The row after a fenced write, or None if the fence has moved on."""
        fenced = and_(jobs.c.id == job.id, jobs.c.fence == job.fence, where)
        statement = update(jobs).where(fenced).values(**values).returning(jobs)
        async with self.store.begin() as connection:
            row = (await connection.execute(statement)).mappings().first()
        return None if row is None else job_of(row)


def _one(job_id: str, workspace_id: str | None) -> ColumnElement[bool]:
    if workspace_id is None:
        return jobs.c.id == job_id
    return and_(jobs.c.id == job_id, jobs.c.workspace_id == workspace_id)


async def _first(
    connection: AsyncConnection, where: ColumnElement[bool], *, lock: bool = False
) -> Job | None:
    query = select(jobs).where(where)
    if lock:
        query = query.with_for_update()
    row = (await connection.execute(query)).mappings().first()
    return None if row is None else job_of(row)


def _text(text: str, longest: int) -> str | None:
    """The text as every database takes it: not too long, no NUL, no lone surrogates."""
    plain = text.replace("\0", "").encode("utf-8", "replace").decode()
    return plain[:longest] or None

"""The outbox: which work to tell of, and sending each notice once.

A notice is a row that can exist once for each place and occasion, and is marked before it is sent.
If the server dies in between, nobody knows whether it arrived, and it isn't sent again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection

from gemma_keras_tune.errors import TuneError

from ..identity.clock import Clock, utc_now
from ..jobs.job import Job
from ..jobs.watch import UNREACHABLE
from ..logs import logger
from ..reader import reader_of
from ..store.engine import Store
from ..store.tables import jobs, memberships, notice_targets, notices, runs, users
from ..words import notices as words
from .addresses import Address
from .outbound import Undelivered
from .senders import Message, Send
from .targets import Targets

EVERY_S = 2.0
_AT_ONCE = 8
_REMEMBERED = timedelta(days=1)  # what ended before isn't told any more
_WAITS = tuple(timedelta(seconds=seconds) for seconds in (10, 60, 300, 1800))
_WAIT_FOR_PAGE = timedelta(seconds=5)
_EVENTS = {"done": "ended", "failed": "failed", "quarantined": "failed"}
_READER = reader_of({}, {})
_log = logger("notices")


class Outbox:
    """Tells people of their work.

    Args:
        store: The open database.
        targets: Where they are told.
        senders: How, by kind.
        silent: The jobs that have said nothing for so many seconds.
        stalled_s: After so many seconds work is said to stand still.
        address: Where this server is; "" if it doesn't know.
        clean: Puts names in the place of the server's paths.
        clock: The wall clock.
    """

    def __init__(
        self,
        store: Store,
        targets: Targets,
        senders: Mapping[str, Send],
        *,
        silent: Callable[[float], Sequence[Job]] = lambda _: (),
        stalled_s: float = 600.0,
        address: str = "",
        clean: Callable[[str], str] = str,
        clock: Clock = utc_now,
    ) -> None:
        self._store, self._targets, self._senders = store, targets, senders
        self._silent, self._stalled_s = silent, stalled_s
        self._address, self._clean, self._clock = address, clean, clock

    async def keep_telling(self, *, every_s: float = EVERY_S) -> None:
        """Finds and sends until it is cancelled."""
        is_known = False
        while True:
            try:
                if not is_known:
                    await self.give_up_lost()
                    is_known = True
                await self.look()
                await self.send_due()
            except UNREACHABLE as error:
                _log.warning("notices_wait", error=str(error))
            await asyncio.sleep(every_s)

    async def try_out(self, address: Address, *, user_id: str) -> None:
        """Sends a message that says that this place works, now.

        Args:
            address: The place.
            user_id: Whose it is.

        Raises:
            TuneError: `NOTICE_UNDELIVERED`, with the reason.
        """
        message = Message(
            title=words.TRIAL_TITLE,
            text=words.TRIAL_TEXT,
            event="trial",
            tag=secrets.token_hex(8),
            link=self._address,
        )
        try:
            await self._senders[address.kind](address, message, user_id=user_id)
        except Undelivered as error:
            raise TuneError(f"It was not delivered: {error}", code="NOTICE_UNDELIVERED") from error

    async def give_up_lost(self) -> None:
        """What a server before this one began to send is never sent again."""
        lost = update(notices).where(notices.c.state == "sending")
        values = {"state": "unknown", "message": words.LOST, "ended_at": self._clock()}
        async with self._store.begin() as connection:
            await connection.execute(lost.values(values))

    async def look(self) -> int:
        """Puts what is to be told into the outbox; how many are new."""
        silent = self._silent(self._stalled_s)
        async with self._store.begin() as connection:
            if await connection.scalar(select(notice_targets.c.id).limit(1)) is None:
                return 0
            found = list((await connection.execute(self._ended())).mappings())
            new = [(row, _EVENTS[row["job_state"]]) for row in found]
            if silent:
                stalled = await connection.execute(_of_jobs([job.id for job in silent]))
                new += [(row, "stalled") for row in stalled.mappings()]
            told = [
                await self._put(connection, row, event)
                for row, event in new
                if event in row["events"]
            ]
        return sum(told)

    async def send_due(self) -> int:
        """Sends what is due, some at a time; how many were delivered."""
        due = select(notices.c.id).where(
            notices.c.state == "waiting", notices.c.next_try_at <= self._clock()
        )
        async with self._store.begin() as connection:
            ids = list((await connection.scalars(due.order_by(notices.c.created_at))).all())
        turns = asyncio.Semaphore(_AT_ONCE)

        async def send(id: str) -> bool:
            async with turns:
                return await self._send(id)

        return sum(await asyncio.gather(*(send(id) for id in ids)))

    def _ended(self) -> Select[Any]:
        """Jobs that have ended, each with the places where that isn't told yet."""
        is_told = exists().where(
            notices.c.target_id == notice_targets.c.id,
            notices.c.job_id == jobs.c.id,
            notices.c.event.in_(("ended", "failed")),
        )
        return _with_targets().where(
            jobs.c.state.in_(tuple(_EVENTS)),
            jobs.c.ended_at > self._clock() - _REMEMBERED,
            jobs.c.ended_at >= notice_targets.c.created_at,
            ~is_told,
        )

    async def _put(self, connection: AsyncConnection, row: RowMapping, event: str) -> bool:
        """Whether the notice is new; work stands still at most once a turn."""
        now = self._clock()
        values = {
            "id": secrets.token_hex(16),
            "workspace_id": row["workspace_id"],
            "target_id": row["target_id"],
            "job_id": row["job_id"],
            "event": event,
            "mark": row["served"] if event == "stalled" else 0,
            "state": "waiting",
            "tries": 0,
            "next_try_at": now,
            "created_at": now,
        }
        dialect = sqlite if self._store.is_sqlite else postgresql
        new = dialect.insert(notices).values(values).on_conflict_do_nothing()
        return bool((await connection.execute(new)).rowcount)

    async def _send(self, id: str) -> bool:
        row = await self._claim(id)
        if row is None:
            return False
        try:
            address = self._targets.address_in(row, row["target_id"])
            message = self._message(row)
            await self._senders[row["kind"]](address, message, user_id=row["user_id"])
        except Undelivered as error:
            await self._not_delivered(row, str(error), error.outcome)
            return False
        except TuneError as error:
            await self._not_delivered(row, str(error), "never")
            return False
        except Exception as error:  # noqa: BLE001  # a library's fault must not stop the others
            _log.exception("notice_failed", notice=id)
            await self._not_delivered(row, type(error).__name__, "unknown")
            return False
        await self._write(id, {"state": "sent", "message": None, "ended_at": self._clock()})
        _log.info("notice_sent", notice=id, kind=row["kind"], told=row["event"])
        return True

    async def _claim(self, id: str) -> RowMapping | None:
        """The notice with all that its text needs, marked as being sent; None if somebody has it.

        A kind that the server can't send any more, as its mail server is gone, waits.
        """
        waiting = update(notices).where(notices.c.id == id, notices.c.state == "waiting")
        async with self._store.begin() as connection:
            claimed = await connection.execute(waiting.values(state="sending"))
            if not claimed.rowcount:
                return None
            query = _notice(id)
            row = (await connection.execute(query)).mappings().one()
        if row["kind"] in self._senders:
            return row
        await self._not_delivered(row, words.NO_MAIL, "again")
        return None

    async def _not_delivered(self, row: RowMapping, why: str, outcome: str) -> None:
        now, tries = self._clock(), row["tries"]
        values: dict[str, Any] = {"message": why[:1000]}
        is_fresh = now - row["created_at"] < _REMEMBERED
        if outcome == "wait" and is_fresh:
            values |= {"state": "waiting", "next_try_at": now + _WAIT_FOR_PAGE}
        elif outcome == "again" and tries < len(_WAITS):
            values |= {
                "state": "waiting", "tries": tries + 1, "next_try_at": now + _WAITS[tries],
            }  # fmt: skip
        else:
            state = "unknown" if outcome == "unknown" else "failed"
            values |= {"state": state, "ended_at": now}
            if outcome == "wait":
                values["message"] = words.TOO_LATE
        if outcome != "wait":
            _log.warning("notice_undelivered", notice=row["id"], kind=row["kind"], why=why)
        await self._write(row["id"], values)

    async def _write(self, id: str, values: Mapping[str, Any]) -> None:
        async with self._store.begin() as connection:
            await connection.execute(update(notices).where(notices.c.id == id).values(values))

    def _message(self, row: RowMapping) -> Message:
        event = row["event"]
        name = (row["run_name"] or row["run_id"] or row["job_id"]).replace("\n", " ")
        filled = {
            "name": name,
            "work": words.WORK[row["job_kind"]],
            "message": self._clean(row["job_message"] or words.NO_MESSAGE),
            "time": _READER.duration(self._seconds(row)),
        }
        path = f"/runs/{row['run_id']}" if row["run_id"] else "/"
        return Message(
            title=words.TITLES[event].format_map(filled),
            text=words.TEXTS[event].format_map(filled),
            event=event,
            tag=row["id"],
            link=f"{self._address}{path}" if self._address else "",
            path=path,
            run_id=row["run_id"],
            job_id=row["job_id"],
        )

    def _seconds(self, row: RowMapping) -> float:
        if row["event"] == "stalled":
            return self._stalled_s
        begun: datetime = row["started_at"] or row["ended_at"]
        return float((row["ended_at"] - begun).total_seconds())


def _with_targets() -> Select[Any]:
    """Jobs beside each place of whoever started them, as long as they are a member."""
    is_theirs = and_(
        notice_targets.c.user_id == jobs.c.user_id,
        notice_targets.c.workspace_id == jobs.c.workspace_id,
    )
    is_member = and_(
        memberships.c.user_id == jobs.c.user_id,
        memberships.c.workspace_id == jobs.c.workspace_id,
    )
    return (
        select(
            jobs.c.workspace_id,
            jobs.c.id.label("job_id"),
            jobs.c.state.label("job_state"),
            jobs.c.served,
            notice_targets.c.id.label("target_id"),
            notice_targets.c.events,
        )
        .join_from(jobs, notice_targets, is_theirs)
        .join(memberships, is_member)
        .join(users, users.c.id == jobs.c.user_id)
        .where(jobs.c.kind.in_(tuple(words.WORK)), users.c.is_disabled.is_(False))
    )


def _of_jobs(ids: Sequence[str]) -> Select[Any]:
    return _with_targets().where(jobs.c.id.in_(ids), jobs.c.state == "running")


def _notice(id: str) -> Select[Any]:
    """One notice with its place, its job and the name of its run."""
    return (
        select(
            notices.c.id,
            notices.c.event,
            notices.c.tries,
            notices.c.created_at,
            notices.c.job_id,
            notice_targets.c.id.label("target_id"),
            notice_targets.c.workspace_id,
            notice_targets.c.user_id,
            notice_targets.c.kind,
            notice_targets.c.shown,
            notice_targets.c.ciphertext,
            jobs.c.kind.label("job_kind"),
            jobs.c.run_id,
            jobs.c.message.label("job_message"),
            jobs.c.started_at,
            jobs.c.ended_at,
            runs.c.name.label("run_name"),
        )
        .join_from(notices, notice_targets, notices.c.target_id == notice_targets.c.id)
        .join(jobs, notices.c.job_id == jobs.c.id)
        .join(runs, runs.c.id == jobs.c.run_id, isouter=True)
        .where(notices.c.id == id)
    )

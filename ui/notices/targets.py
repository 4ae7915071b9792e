"""Where each person is told of their work: kept per workspace, with the addresses encrypted."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select
from sqlalchemy.engine import RowMapping

from gemma_keras_tune.errors import TuneError

from ..identity.access import Action, Principal, authorize
from ..identity.audit import Audit
from ..identity.clock import Clock, utc_now
from ..identity.refusals import check_id, not_found
from ..identity.vault import Vault
from ..store.engine import Store
from ..store.tables import NOTICE_EVENTS, NOTICE_KINDS, notice_targets, notices
from .addresses import Address, checked

MOST = 20
"""How many places one person may have in one workspace."""


@dataclass(frozen=True)
class Target:
    """A place where somebody is told.

    Attributes:
        id: Names it.
        kind: browser, email, slack or webhook.
        shown: What may be shown of its address.
        events: What is told there: ended, failed, stalled.
        created_at: Since when.
        sent_at: When something was last delivered there; None: never.
        problem: Why the newest one was not delivered; empty if it was.
    """

    id: str
    kind: str
    shown: str
    events: tuple[str, ...]
    created_at: datetime
    sent_at: datetime | None = None
    problem: str = ""


class Targets:
    """All places of all people.

    Args:
        store: The open database.
        audit: Where it is noted that a place came or went.
        vault: Encrypts the addresses.
        kinds: The kinds that this server can tell by.
        known_hosts: Hosts of web hooks that the server's administrator vouches for.
        clock: The wall clock.
    """

    def __init__(
        self,
        store: Store,
        audit: Audit,
        vault: Vault,
        *,
        kinds: Sequence[str] = NOTICE_KINDS,
        known_hosts: Sequence[str] = (),
        clock: Clock = utc_now,
    ) -> None:
        self._store, self._audit, self._vault, self._clock = store, audit, vault, clock
        self._known_hosts = known_hosts
        self.kinds = tuple(kinds)

    async def add(
        self, principal: Principal, kind: str, address: str, events: Sequence[str] = NOTICE_EVENTS
    ) -> Target:
        """A new place of whoever asks, in the open workspace.

        Args:
            principal: Who asks.
            kind: One of `kinds`.
            address: Nothing for `browser`; else an e-mail address, or the address of a web hook.
            events: What to tell there.

        Raises:
            Forbidden: If it is a token that asks.
            TuneError: `NOTICE_KIND`, `NOTICE_EVENTS`, `NOTICE_ADDRESS`, or `NOTICE_TARGETS` if
                there are too many.
        """
        authorize(principal, Action.OWN_ACCOUNT, principal.workspace_id)
        self._check(kind, events)
        where = checked(kind, address, known_hosts=self._known_hosts)
        target_id = secrets.token_hex(16)
        row = {
            "id": target_id,
            "workspace_id": principal.workspace_id,
            "user_id": principal.user_id,
            "kind": kind,
            "shown": where.shown,
            "events": [event for event in NOTICE_EVENTS if event in events],
            "created_at": self._clock(),
        }
        own = _own(principal)
        async with self._audit.begin() as entries:
            connection, name = entries.connection, f"target:{target_id}"
            sealed = await self._vault.seal(connection, principal.workspace_id, name, where.value)
            there = select(func.count()).select_from(notice_targets).where(*own)
            if (await connection.scalar(there) or 0) >= MOST:
                raise TuneError(
                    f"You are told at {MOST} places already, which is the most. Delete one.",
                    code="NOTICE_TARGETS",
                )
            await connection.execute(insert(notice_targets).values(**row, ciphertext=sealed))
            await entries.write(
                principal.workspace_id, principal.user_id, "notices.added", target_id,
                {"kind": kind},
            )  # fmt: skip
        return _target(row)

    async def mine(self, principal: Principal) -> list[Target]:
        """The places of whoever asks in the open workspace, the oldest first."""
        authorize(principal, Action.OWN_ACCOUNT, principal.workspace_id)
        own = _own(principal)
        query = select(notice_targets).where(*own).order_by(notice_targets.c.created_at)
        told = (
            select(notices)
            .join_from(notices, notice_targets, notices.c.target_id == notice_targets.c.id)
            .where(*own, notices.c.ended_at.is_not(None))
            .order_by(notices.c.ended_at)
        )
        async with self._store.begin() as connection:
            rows = list((await connection.execute(query)).mappings())
            ended = (await connection.execute(told)).mappings()
            newest = {row["target_id"]: row for row in ended}
        return [_target(row, newest.get(row["id"])) for row in rows]

    async def delete(self, principal: Principal, target_id: str) -> None:
        """Tells nothing there any more, and forgets the address.

        Raises:
            NotFound: If whoever asks has no such place in the open workspace.
        """
        authorize(principal, Action.OWN_ACCOUNT, principal.workspace_id)
        own = (*_own(principal), notice_targets.c.id == check_id(target_id))
        known = select(notice_targets.c.id).where(*own)
        async with self._audit.begin() as entries:
            connection = entries.connection
            if await connection.scalar(known) is None:
                raise not_found("The place")
            await connection.execute(delete(notices).where(notices.c.target_id == target_id))
            await connection.execute(delete(notice_targets).where(*own))
            await entries.write(
                principal.workspace_id, principal.user_id, "notices.deleted", target_id
            )

    async def address(self, principal: Principal, target_id: str) -> Address:
        """The whole address of one's own place, to send something there.

        Raises:
            NotFound: If whoever asks has no such place in the open workspace.
        """
        authorize(principal, Action.OWN_ACCOUNT, principal.workspace_id)
        own = (*_own(principal), notice_targets.c.id == check_id(target_id))
        async with self._store.begin() as connection:
            row = (await connection.execute(select(notice_targets).where(*own))).mappings().first()
        if row is None:
            raise not_found("The place")
        return self.address_in(row, target_id)

    def address_in(self, row: RowMapping, target_id: str) -> Address:
        """The whole address in a row with the columns of `notice_targets`.

        Raises:
            TuneError: `VAULT_KEY_LOST`.
        """
        name = f"target:{target_id}"
        value = self._vault.unsealed(row["workspace_id"], name, row["ciphertext"])
        return Address(row["kind"], value, row["shown"])

    def _check(self, kind: str, events: Sequence[str]) -> None:
        if kind not in self.kinds:
            raise TuneError(
                f"This server tells by {', '.join(self.kinds)}; not by {kind[:20]!r}.",
                code="NOTICE_KIND",
            )
        unknown = set(events) - set(NOTICE_EVENTS)
        if unknown or not events:
            raise TuneError(
                f"What can be told is {', '.join(NOTICE_EVENTS)}; choose at least one.",
                code="NOTICE_EVENTS",
            )


def _own(principal: Principal) -> tuple[Any, ...]:
    return (
        notice_targets.c.workspace_id == principal.workspace_id,
        notice_targets.c.user_id == principal.user_id,
    )


def _target(row: Mapping[str, Any] | RowMapping, last: RowMapping | None = None) -> Target:
    is_sent = last is not None and last["state"] == "sent"
    return Target(
        id=row["id"],
        kind=row["kind"],
        shown=row["shown"],
        events=tuple(row["events"]),
        created_at=row["created_at"],
        sent_at=last["ended_at"] if last is not None and is_sent else None,
        problem="" if last is None or is_sent else last["message"] or "",
    )

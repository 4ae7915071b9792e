"""The audit log: rows that are only ever added, each chained to the one before by an HMAC.

Who can write to the database but not read the key can't change, remove or swap rows unseen. What
they could cut off is the end; so the newest row's number and hash also stand in a file beside the
database, signed with the same key. Whoever has the key can forge all: ship the head elsewhere.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gemma_keras_tune.durable import atomic_write_json

from ..store.engine import Store
from ..store.tables import audit, server
from .clock import Clock, utc_now

_log = logging.getLogger(__name__)

_PAGE = 500
_LOCK = 0x676B74  # PostgreSQL's advisory lock of who adds a row; any number of ours
_NEVER = ("password", "secret", "token", "value", "cookie", "key", "code", "hash")


@dataclass(frozen=True)
class Verdict:
    """What checking the chain found.

    Attributes:
        is_sound: Whether every row is as it was written, and none is missing.
        checked: How many rows were looked at.
        seq: The first row that isn't right; 0 if the chain is sound.
        reason: `changed`, `missing`, `reordered`, `truncated` (the end was cut off), `anchor`
            (the head file is missing, forged, or knows another entry), or empty.
    """

    is_sound: bool
    checked: int
    seq: int = 0
    reason: str = ""

    def __str__(self) -> str:
        if self.is_sound:
            return f"The audit log is sound: {self.checked} entries."
        said = {
            "changed": "was changed after it was written, or not written with this key",
            "missing": "is missing",
            "reordered": "stands in another's place",
            "truncated": "is missing with all that came after it",
            "anchor": "isn't what the head file beside the database says, or that file is gone",
        }
        return f"The audit log is NOT sound: entry {self.seq} {said[self.reason]}."


class Entries:
    """Adds rows within one transaction. Add them last: it holds up all others who add one."""

    def __init__(self, connection: AsyncConnection, key: bytes, clock: Clock) -> None:
        self.connection = connection
        self.before: tuple[int, str] | None = None
        self.head: tuple[int, str] | None = None
        self._key, self._clock = key, clock

    async def write(
        self,
        workspace_id: str,
        actor: str,
        action: str,
        object: str,
        detail: Mapping[str, Any] | None = None,
        *,
        address: str = "",
    ) -> int:
        """Adds one row, and gives its number.

        Args:
            workspace_id: Whose log shows it.
            actor: The user's id, or `system`, `operator`.
            action: What was done, such as `session.opened`.
            object: The id of what it was done to.
            detail: More, as JSON. Never what must stay secret.
            address: Where the request came from.

        Raises:
            ValueError: If `detail` has a key that is the name of a secret.
        """
        detail = dict(detail or {})
        if wrong := [key for key in detail if key.lower() in _NEVER]:
            raise ValueError(f"the audit log must not hold {', '.join(wrong)}")
        if self.connection.dialect.name == "postgresql":
            await self.connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        last = (await self.connection.execute(_LAST)).first()
        seq, before = (last.seq, last.hash) if last else (0, "")
        self.before = self.before or (seq, before)
        row: dict[str, Any] = {
            "workspace_id": workspace_id,
            "time": self._clock(),
            "actor": _clean(actor, 80),
            "address": _clean(address, 64),
            "action": _clean(action, 60),
            "object": _clean(object, 160),
            "detail": _clean_detail(detail),
        }
        self.head = (seq + 1, _chained(self._key, before, row))
        await self.connection.execute(insert(audit).values(seq=seq + 1, hash=self.head[1], **row))
        return seq + 1


_LAST = select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)


class Audit:
    """The log of one database.

    Args:
        store: The open database.
        key: 32 bytes that only the server knows.
        head_file: Where the newest row's number and hash are kept too, outside the database.
        clock: The wall clock.
    """

    def __init__(
        self, store: Store, key: bytes, *, head_file: Path, clock: Clock = utc_now
    ) -> None:
        self._store, self._key, self._clock = store, key, clock
        self._head_file = head_file
        self._one_anchor = asyncio.Lock()

    async def prepare(self) -> None:
        """Makes the head file of an empty log, so that a missing one tells that it was removed.

        Raises:
            OSError: If it can't be written.
        """
        if not self._head_file.exists() and await self._last() == (0, ""):
            await asyncio.to_thread(self._write_head, 0, "")

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Entries]:
        """A transaction whose changes and audit rows are committed together, or not at all."""
        async with self._store.begin() as connection:
            entries = Entries(connection, self._key, self._clock)
            yield entries
        if entries.head is not None:
            async with self._one_anchor:
                await self._anchor(entries)

    async def write(
        self,
        workspace_id: str,
        actor: str,
        action: str,
        object: str,
        detail: Mapping[str, Any] | None = None,
        *,
        address: str = "",
    ) -> int:
        """Adds one row in a transaction of its own; see `Entries.write`."""
        async with self.begin() as entries:
            return await entries.write(workspace_id, actor, action, object, detail, address=address)

    async def verify(self) -> Verdict:
        """Reads the whole chain and says whether it is sound, or where it first isn't."""
        before, seq = "", 0
        head = await asyncio.to_thread(self._read_head)
        async for row in self._rows():
            if row["seq"] != seq + 1:
                return Verdict(False, seq, seq + 1, "missing")
            seq += 1
            if not hmac.compare_digest(_chained(self._key, before, row), row["hash"]):
                return Verdict(False, seq, seq, await self._why_not(row))
            before = row["hash"]
            if head is not None and head[0] == seq and head[1] != before:
                return Verdict(False, seq, seq, "anchor")
        if head is None:
            return Verdict(False, seq, seq, "anchor")
        if head[0] > seq:
            return Verdict(False, seq, seq + 1, "truncated")
        return Verdict(True, seq)

    async def export(self, workspace_id: str | None = None) -> AsyncIterator[str]:
        """Every row as a line of JSON, oldest first; of one workspace, or of all."""
        async for row in self._rows():
            if workspace_id in (None, row["workspace_id"]):
                yield json.dumps({**row, "time": row["time"].isoformat()}, ensure_ascii=True)

    async def accept_head(self, actor: str) -> Verdict:
        """Takes the log's end as it is, after a backup was put back; the log says so.

        Returns:
            What the chain looked like before.
        """
        before = await self.verify()
        if before.reason in ("truncated", "anchor"):
            async with self._store.begin() as connection:
                first = await connection.scalar(select(server.c.workspace_id))
            await asyncio.to_thread(self._write_head, *await self._last())
            found = {"reason": before.reason, "seq": before.seq}
            if first is not None:
                await self.write(first, actor, "audit.head_accepted", "audit", found)
        return before

    async def _rows(self) -> AsyncIterator[dict[str, Any]]:
        last = 0
        while True:
            query = select(audit).where(audit.c.seq > last).order_by(audit.c.seq).limit(_PAGE)
            async with self._store.begin() as connection:
                page = (await connection.execute(query)).mappings().all()
            for row in page:
                yield dict(row)
                last = row["seq"]
            if len(page) < _PAGE:
                return

    async def _why_not(self, bad: Mapping[str, Any]) -> str:
        """Whether a row that doesn't follow the one before follows another one."""
        if hmac.compare_digest(_chained(self._key, "", bad), bad["hash"]):
            return "reordered"
        async for row in self._rows():
            if hmac.compare_digest(_chained(self._key, row["hash"], bad), bad["hash"]):
                return "reordered"
        return "changed"

    async def _anchor(self, entries: Entries) -> None:
        """Moves the head on, if the log still goes on from where it was."""
        known = await asyncio.to_thread(self._read_head)
        if entries.head is None or (known is not None and known[0] >= entries.head[0]):
            return
        if known is None or (known != entries.before and not await self._holds(*known)):
            _log.error("the audit log doesn't go on from its head: run the audit's verification")
            return
        try:
            await asyncio.to_thread(self._write_head, *entries.head)
        except OSError as error:  # the row is committed: an older head only guards less
            _log.error("the audit log's head can't be written: %s", error)

    async def _holds(self, seq: int, row_hash: str) -> bool:
        async with self._store.begin() as connection:
            found = await connection.scalar(select(audit.c.hash).where(audit.c.seq == seq))
        return found == row_hash or seq == 0

    async def _last(self) -> tuple[int, str]:
        async with self._store.begin() as connection:
            last = (await connection.execute(_LAST)).first()
        return (last.seq, last.hash) if last else (0, "")

    def _write_head(self, seq: int, row_hash: str) -> None:
        signed = {"seq": seq, "hash": row_hash, "mac": self._mac_of_head(seq, row_hash)}
        atomic_write_json(self._head_file, signed)

    def _read_head(self) -> tuple[int, str] | None:
        try:
            found = json.loads(self._head_file.read_text(encoding="utf-8"))
            seq, row_hash, mac = int(found["seq"]), str(found["hash"]), str(found["mac"])
        except (OSError, ValueError, TypeError, KeyError):
            return None
        good = hmac.compare_digest(self._mac_of_head(seq, row_hash), mac)
        return (seq, row_hash) if good else None

    def _mac_of_head(self, seq: int, row_hash: str) -> str:
        return hmac.new(self._key, f"head {seq} {row_hash}".encode(), "sha256").hexdigest()


def _chained(key: bytes, before: str, row: Mapping[str, Any]) -> str:
    """HMAC-SHA256 over the hash before and the row, as 64 hex digits.

    The number isn't part of it: the chain gives the order, and a swap can be told from a change.
    """
    names = ("workspace_id", "actor", "address", "action", "object", "detail")
    content = {name: row[name] for name in names} | {"time": row["time"].isoformat()}
    canonical = json.dumps([before, content], sort_keys=True, separators=(",", ":"))
    return hmac.new(key, canonical.encode("ascii"), "sha256").hexdigest()


def _clean_detail(detail: Any) -> Any:
    if isinstance(detail, Mapping):
        return {_clean(str(key), 80): _clean_detail(value) for key, value in detail.items()}
    if isinstance(detail, list | tuple):
        return [_clean_detail(value) for value in detail[:100]]
    return _clean(detail, 500) if isinstance(detail, str) else detail


def _clean(text: str, limit: int) -> str:
    """Text that every database stores as it is, and that can't break a line of a log."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )
    return text if len(text) <= limit else text[: limit - 1] + "…"

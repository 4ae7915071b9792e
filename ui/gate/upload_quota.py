"""How much may be uploaded: per file, per person, per workspace, and what the disk still takes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gemma_keras_tune.durable import FULL_DISK

from ..identity.access import Principal
from ..store import tables
from .answers import Refused


@dataclass(frozen=True)
class UploadLimits:
    """What one server takes.

    Attributes:
        file_bytes: The largest file.
        user_bytes: All files of one person together, unless a row of `quotas` says otherwise.
        user_files: How many files one person may have.
        reserve_bytes: Free disk that no upload may use.
        chunk_bytes: The largest piece.
        idle_s: How long a sender may pause, in seconds.
        slowest_bytes_per_s: With less than this, after `idle_s`, a piece is broken off.
        keep_s: How long an upload waits for its next piece, in seconds.
    """

    file_bytes: int = 5 * 2**30
    user_bytes: int = 20 * 2**30
    user_files: int = 100
    reserve_bytes: int = 2**30
    chunk_bytes: int = 8 * 2**20
    idle_s: float = 30.0
    slowest_bytes_per_s: int = 32 * 2**10
    keep_s: float = 24 * 3600.0

    def piece_s(self, length: int) -> float:
        """How long a piece of `length` bytes may take, in seconds."""
        return self.idle_s + length / self.slowest_bytes_per_s


def check_size(size: int, limits: UploadLimits) -> None:
    """Refuses a file that is too large, or empty.

    Raises:
        Refused: `UPLOAD_SIZE` (413).
    """
    if not 0 < size <= limits.file_bytes:
        raise Refused(
            413,
            "UPLOAD_SIZE",
            f"The file has {size:,} bytes; 1 to {limits.file_bytes:,} are taken.",
        )


def check_free(size: int, *, free: int, limits: UploadLimits) -> None:
    """Refuses what the disk can't take.

    Args:
        size: Bytes to come.
        free: Bytes that the disk has, less what is promised to others.
        limits: Holds the reserve.

    Raises:
        Refused: `UPLOAD_NO_ROOM` (507).
    """
    if size > free - limits.reserve_bytes:
        raise Refused(
            507,
            "UPLOAD_NO_ROOM",
            f"The server's disk has no room for {size:,} bytes more. An administrator can free "
            "some; then go on.",
        )


async def check_room(
    connection: AsyncConnection,
    principal: Principal,
    size: int,
    *,
    free: int,
    limits: UploadLimits,
) -> None:
    """Refuses an upload that is over somebody's quota; open uploads count with their whole size.

    Call it in the transaction that adds the upload: the workspace's row is locked until its end.

    Raises:
        Refused: `UPLOAD_COUNT` (413), `UPLOAD_QUOTA` (413), `UPLOAD_NO_ROOM` (507).
    """
    workspaces, uploads = tables.workspaces, tables.uploads
    lock = select(workspaces.c.workspace_id).where(
        workspaces.c.workspace_id == principal.workspace_id
    )
    await connection.execute(lock.with_for_update())
    promised = select(func.coalesce(func.sum(uploads.c.size - uploads.c.received), 0))
    waiting = await _number(connection, promised.where(uploads.c.state == "open"))
    check_free(size, free=free - waiting, limits=limits)
    of_user, of_workspace = await _quotas(connection, principal)
    files, used = await _used(connection, principal, user_id=principal.user_id)
    if files >= limits.user_files:
        raise Refused(
            413,
            "UPLOAD_COUNT",
            f"You have {files} files, and {limits.user_files} are allowed. Delete some.",
        )
    _check_quota("You have", used, size, limits.user_bytes if of_user is None else of_user)
    if of_workspace is not None:
        _, used = await _used(connection, principal, user_id=None)
        _check_quota("This workspace has", used, size, of_workspace)


def disk_failed(error: OSError) -> Refused:
    """What to say when writing failed."""
    if error.errno in FULL_DISK:
        return Refused(
            507,
            "UPLOAD_NO_ROOM",
            "The server's disk is full. What was acknowledged is kept: when there is room again, "
            "ask for the offset and go on.",
        )
    return Refused(
        500, "UPLOAD_DISK", "The server's disk failed. Ask for the offset and send the piece again."
    )


def _check_quota(who: str, used: int, size: int, allowed: int) -> None:
    if used + size > allowed:
        raise Refused(
            413,
            "UPLOAD_QUOTA",
            f"{who} {used:,} bytes of {allowed:,}; {size:,} more don't fit. Delete data sets, or "
            "ask an admin of the workspace for a larger quota.",
        )


async def _quotas(
    connection: AsyncConnection, principal: Principal
) -> tuple[int | None, int | None]:
    """Bytes allowed to the person and to the workspace, where a row says so."""
    table = tables.quotas
    rows = await connection.execute(
        select(table.c.user_id, table.c.disk_bytes).where(
            table.c.workspace_id == principal.workspace_id
        )
    )
    found = {row.user_id: row.disk_bytes for row in rows}
    return found.get(principal.user_id), found.get(None)


async def _used(
    connection: AsyncConnection, principal: Principal, *, user_id: str | None
) -> tuple[int, int]:
    """Files and bytes: data sets, models, and uploads under way."""
    uploads, datasets = tables.uploads, tables.datasets

    def whose(table: object) -> list[ColumnElement[bool]]:
        columns = uploads.c if table is uploads else datasets.c
        found = [columns.workspace_id == principal.workspace_id]
        return [*found, columns.user_id == user_id] if user_id is not None else found

    is_held = (uploads.c.state == "open") | (
        (uploads.c.state == "done") & (uploads.c.purpose == "model")
    )
    files = total = 0
    for columns, wanted in (
        (uploads.c, [*whose(uploads), is_held]),
        (datasets.c, [*whose(datasets), datasets.c.deleted_at.is_(None)]),
    ):
        row = (
            await connection.execute(
                select(func.count(), func.coalesce(func.sum(columns.size), 0)).where(*wanted)
            )
        ).one()
        files, total = files + int(row[0]), total + int(row[1])
    return files, total


async def _number(connection: AsyncConnection, query: object) -> int:
    return int((await connection.execute(query)).scalar_one())  # type: ignore[call-overload]

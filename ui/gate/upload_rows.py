"""The rows of uploads and of the data sets they become; each query keeps to its workspace."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ..identity.access import Principal
from ..identity.refusals import not_found
from ..store import tables
from .upload_files import suffix_for


@dataclass(frozen=True)
class Upload:
    """An upload, as its owner sees it.

    Attributes:
        id: Its name, made by us.
        purpose: `dataset` or `model`.
        display_name: What the person called the file, made harmless.
        size: Bytes, as declared.
        received: Bytes that are safely here: the offset of the next piece.
        state: `open`, `done` or `aborted`.
        sha256: As declared, or once it is done as counted.
    """

    id: str
    purpose: str
    display_name: str
    size: int
    received: int
    state: str
    sha256: str | None


async def add(
    connection: AsyncConnection, principal: Principal, upload: Upload, *, now: datetime
) -> None:
    """Adds a new upload."""
    values = {
        "id": upload.id,
        "workspace_id": principal.workspace_id,
        "user_id": principal.user_id,
        "purpose": upload.purpose,
        "display_name": upload.display_name,
        "size": upload.size,
        "received": 0,
        "sha256": upload.sha256,
        "state": "open",
        "created_at": now,
        "touched_at": now,
    }
    await connection.execute(insert(tables.uploads).values(values))


async def read(connection: AsyncConnection, principal: Principal, upload_id: str) -> Upload:
    """One upload of this person.

    Raises:
        NotFound: If there is none, or it is another person's.
    """
    wanted = select(tables.uploads).where(tables.uploads.c.id == upload_id, *_own(principal))
    row = (await connection.execute(wanted)).one_or_none()
    if row is None:
        raise not_found("This upload")
    return _upload(row)


async def open_ones(connection: AsyncConnection, principal: Principal) -> list[Upload]:
    """The open uploads of this person, the oldest first."""
    table = tables.uploads
    wanted = select(table).where(table.c.state == "open", *_own(principal))
    rows = await connection.execute(wanted.order_by(table.c.created_at, table.c.id))
    return [_upload(row) for row in rows]


async def note(
    connection: AsyncConnection, upload_id: str, *, now: datetime, **values: object
) -> None:
    """Changes an upload that is open."""
    table = tables.uploads
    change = update(table).where(table.c.id == upload_id, table.c.state == "open")
    await connection.execute(change.values(touched_at=now, **values))


async def all_open(connection: AsyncConnection) -> dict[str, datetime]:
    """Every open upload of the server, and when it was last touched. For cleaning up."""
    table = tables.uploads
    wanted = select(table.c.id, table.c.touched_at).where(table.c.state == "open")
    return {row.id: row.touched_at for row in await connection.execute(wanted)}


async def twin(
    connection: AsyncConnection, principal: Principal, upload: Upload, sha256: str
) -> str | None:
    """The id of a data set of the workspace with these bytes and this kind of name."""
    table = tables.datasets
    wanted = select(table.c.id, table.c.file_name).where(
        table.c.workspace_id == principal.workspace_id,
        table.c.sha256 == sha256,
        table.c.deleted_at.is_(None),
    )
    rows = (await connection.execute(wanted.order_by(table.c.created_at, table.c.id))).all()
    suffix = suffix_for("dataset", upload.display_name)
    same = (row.id for row in rows if suffix_for("dataset", row.file_name) == suffix)
    return next(same, None)


async def add_dataset(
    connection: AsyncConnection,
    principal: Principal,
    upload: Upload,
    sha256: str,
    *,
    now: datetime,
) -> None:
    """Adds the data set that an upload has become; it has the upload's id."""
    values = {
        "id": upload.id,
        "workspace_id": principal.workspace_id,
        "user_id": principal.user_id,
        "name": upload.display_name.rpartition(".")[0][:80],
        "file_name": upload.display_name,
        "size": upload.size,
        "sha256": sha256,
        "upload_id": upload.id,
        "created_at": now,
    }
    await connection.execute(insert(tables.datasets).values(values))


def _own(principal: Principal) -> tuple[Any, Any]:
    columns = tables.uploads.c
    return (
        columns.workspace_id == principal.workspace_id,
        columns.user_id == principal.user_id,
    )


def _upload(row: Row[Any]) -> Upload:
    return Upload(
        row.id, row.purpose, row.display_name, row.size, row.received, row.state, row.sha256
    )

"""The only way to the rows of a workspace: every query is filtered by it, whatever the caller says.

Tables that identity keeps (users, sessions, tokens, memberships, secrets) aren't reached from here
at all. Fields to sort and filter by come from lists, never from a request.
"""

from __future__ import annotations

import difflib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any

from sqlalchemy import Column, ColumnElement, Table, delete, func, insert, select, update
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql import visitors
from sqlalchemy.sql.elements import TextClause
from sqlalchemy.sql.selectable import SelectBase

from gemma_keras_tune.errors import TuneError

from ..identity.access import Principal
from ..identity.refusals import check_id, not_found
from .engine import Store
from .tables import audit, datasets, jobs, quotas, runs, uploads

SORTABLE: Mapping[Table, tuple[str, ...]] = MappingProxyType(
    {
        uploads: ("created_at", "touched_at", "display_name", "size", "state"),
        datasets: ("created_at", "name", "size"),
        runs: (
            *("created_at", "changed_at", "name", "state", "step", "size"),
            *("loss", "measured_loss", "accuracy"),
        ),
        jobs: ("number", "created_at", "started_at", "ended_at", "kind", "state", "priority"),
        quotas: ("user_id",),
        audit: ("seq", "time", "action", "actor"),
    }
)
"""A workspace's tables, each with the fields that a request may sort by; the first is usual."""

FILTERABLE: Mapping[Table, tuple[str, ...]] = MappingProxyType(
    {
        uploads: ("state", "purpose", "user_id"),
        datasets: ("user_id", "name"),
        runs: ("state", "user_id", "name"),
        jobs: ("state", "kind", "run_id", "user_id"),
        quotas: ("user_id",),
        audit: ("action", "actor", "object"),
    }
)
"""The fields that a request may filter by."""

MOST_ROWS = 500


class WorkspaceRows:
    """Rows of one workspace, within one transaction.

    Args:
        connection: The transaction.
        principal: Who asks; their active workspace is the one.
    """

    def __init__(self, connection: AsyncConnection, principal: Principal) -> None:
        self.connection, self.principal = connection, principal

    async def select(
        self,
        table: Table,
        *where: ColumnElement[bool],
        order_by: Sequence[ColumnElement[Any]] = (),
        limit: int = MOST_ROWS,
        offset: int = 0,
    ) -> list[RowMapping]:
        """The workspace's rows that fit.

        Args:
            table: A key of `SORTABLE`.
            where: Conditions on columns of this table only.
            order_by: Columns of this table.
            limit: At most so many rows.
            offset: Rows to leave out first.

        Raises:
            ValueError: If a condition reaches for another table, or is SQL as text.
        """
        _check(table, *where, *order_by)
        query = select(table).where(*where, self._here(table)).order_by(*order_by)
        rows = await self.connection.execute(query.limit(min(limit, MOST_ROWS)).offset(offset))
        return list(rows.mappings())

    async def one(self, table: Table, id: str, *where: ColumnElement[bool]) -> RowMapping:
        """The row of that id.

        Raises:
            NotFound: If there is none in this workspace.
            ValueError: As for `select`.
        """
        rows = await self.select(table, _key(table) == check_id(id), *where, limit=1)
        if not rows:
            raise not_found()
        return rows[0]

    async def count(self, table: Table, *where: ColumnElement[bool]) -> int:
        """How many of the workspace's rows fit.

        Raises:
            ValueError: As for `select`.
        """
        _check(table, *where)
        query = select(func.count()).select_from(table).where(*where, self._here(table))
        return int(await self.connection.scalar(query) or 0)

    async def page(
        self,
        table: Table,
        *where: ColumnElement[bool],
        sort: str = "",
        descending: bool = False,
        filters: Mapping[str, Any] = MappingProxyType({}),
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[list[RowMapping], int]:
        """A page of rows as a request asked for it, and how many there are in all.

        Args:
            table: A key of `SORTABLE`.
            where: Conditions of ours.
            sort: A field's name, from the request; empty for the usual one.
            descending: Which end comes first; rows without a value always come last.
            filters: Fields and what they must be, from the request.
            limit: At most so many rows, up to `MOST_ROWS`.
            offset: Rows to leave out first.

        Raises:
            TuneError: `UNKNOWN_FIELD` if a field isn't one to sort or filter by, `FILTER_VALUE` if
                no field can be what is asked for.
            ValueError: As for `select`.
        """
        by = _field(table, sort or SORTABLE[table][0], SORTABLE)
        wanted = [
            _field(table, name, FILTERABLE) == _plain(name, value)
            for name, value in filters.items()
        ]
        ordered = by.desc() if descending else by.asc()
        order = [ordered.nulls_last() if by.nullable else ordered, _key(table).asc()]
        found = await self.select(
            table, *where, *wanted, order_by=order, limit=max(1, limit), offset=max(0, offset)
        )
        return found, await self.count(table, *where, *wanted)

    async def insert(self, table: Table, **values: Any) -> None:
        """Adds a row to the workspace; its user is whoever asks, unless `values` names one.

        Raises:
            NotFound: If it refers to a row of another workspace.
            ValueError: If `values` names another workspace, or the table is the audit log.
        """
        self._check_change(table, values)
        if "user_id" in table.c and not table.c.user_id.nullable:
            values.setdefault("user_id", self.principal.user_id)
        await self._check_references(table, values)
        values["workspace_id"] = self.principal.workspace_id
        await self.connection.execute(insert(table).values(values))

    async def update(self, table: Table, *where: ColumnElement[bool], **values: Any) -> int:
        """Changes the workspace's rows that fit, and says how many they were.

        Raises:
            NotFound: If a new value refers to a row of another workspace.
            ValueError: As for `select` and `insert`.
        """
        _check(table, *where)
        self._check_change(table, values)
        await self._check_references(table, values)
        query = update(table).where(*where, self._here(table)).values(values)
        return (await self.connection.execute(query)).rowcount

    async def delete(self, table: Table, *where: ColumnElement[bool]) -> int:
        """Deletes the workspace's rows that fit, and says how many they were.

        Raises:
            ValueError: As for `select` and `insert`.
        """
        _check(table, *where)
        self._check_change(table, {})
        query = delete(table).where(*where, self._here(table))
        return (await self.connection.execute(query)).rowcount

    def _here(self, table: Table) -> ColumnElement[bool]:
        return table.c.workspace_id == self.principal.workspace_id

    def _check_change(self, table: Table, values: Mapping[str, Any]) -> None:
        if table not in SORTABLE or table is audit:
            raise ValueError(f"rows of {table.name} aren't changed through the workspace")
        own = self.principal.workspace_id
        if values.get("workspace_id", own) != own:
            raise ValueError("a row can't be put into another workspace")

    async def _check_references(self, table: Table, values: Mapping[str, Any]) -> None:
        """Refuses ids of other workspaces' rows: they would be a way to them."""
        for column in table.c:
            value = values.get(column.name)
            for key in column.foreign_keys:
                if value is not None and key.column.table in SORTABLE:
                    await self.one(key.column.table, value)


class WorkspaceStore:
    """A workspace's rows; each call is a transaction of its own, `begin` makes one of several.

    Args:
        store: The open database.
        principal: Who asks, as looked up for this request.
    """

    def __init__(self, store: Store, principal: Principal) -> None:
        self._store, self.principal = store, principal

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[WorkspaceRows]:
        """Several calls in one transaction: committed at the end, rolled back by an error."""
        async with self._store.begin() as connection:
            yield WorkspaceRows(connection, self.principal)

    async def select(
        self,
        table: Table,
        *where: ColumnElement[bool],
        order_by: Sequence[ColumnElement[Any]] = (),
        limit: int = MOST_ROWS,
        offset: int = 0,
    ) -> list[RowMapping]:
        """See `WorkspaceRows.select`."""
        async with self.begin() as rows:
            return await rows.select(table, *where, order_by=order_by, limit=limit, offset=offset)

    async def one(self, table: Table, id: str, *where: ColumnElement[bool]) -> RowMapping:
        """See `WorkspaceRows.one`."""
        async with self.begin() as rows:
            return await rows.one(table, id, *where)

    async def count(self, table: Table, *where: ColumnElement[bool]) -> int:
        """See `WorkspaceRows.count`."""
        async with self.begin() as rows:
            return await rows.count(table, *where)

    async def page(
        self, table: Table, *where: ColumnElement[bool], **how: Any
    ) -> tuple[list[RowMapping], int]:
        """See `WorkspaceRows.page`."""
        async with self.begin() as rows:
            return await rows.page(table, *where, **how)

    async def insert(self, table: Table, **values: Any) -> None:
        """See `WorkspaceRows.insert`."""
        async with self.begin() as rows:
            await rows.insert(table, **values)

    async def update(self, table: Table, *where: ColumnElement[bool], **values: Any) -> int:
        """See `WorkspaceRows.update`."""
        async with self.begin() as rows:
            return await rows.update(table, *where, **values)

    async def delete(self, table: Table, *where: ColumnElement[bool]) -> int:
        """See `WorkspaceRows.delete`."""
        async with self.begin() as rows:
            return await rows.delete(table, *where)


def _key(table: Table) -> Column[Any]:
    return next(iter(table.primary_key.columns))


def _check(table: Table, *clauses: ColumnElement[Any]) -> None:
    """Returns if every clause is about `table` alone.

    Raises:
        ValueError: If not.
    """
    if table not in SORTABLE:
        raise ValueError(f"{table.name} isn't reached through the workspace")
    for clause in clauses:
        if not isinstance(clause, ColumnElement):
            raise ValueError("a condition is made of columns")
        for part in visitors.iterate(clause):
            is_foreign = isinstance(part, Column) and part.table is not table
            if is_foreign or isinstance(part, TextClause | SelectBase):
                raise ValueError("a condition reaches for more than the table's own columns")


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A sentence, with a blank before it, about the known name that is nearest; else empty."""
    near = difflib.get_close_matches(name, known, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _field(table: Table, name: str, allowed: Mapping[Table, tuple[str, ...]]) -> Column[Any]:
    names = allowed[table]
    if name not in names:
        raise TuneError(
            f"There is no field {name[:40]!r} to go by; use one of {', '.join(names)}."
            f"{did_you_mean(name, names)}",
            code="UNKNOWN_FIELD",
        )
    return table.c[name]


def _plain(name: str, value: Any) -> str:
    """A value to filter by, as every database takes it."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > 200:
        raise TuneError(
            f"The filter {name} needs a text of at most 200 characters on one line.",
            code="FILTER_VALUE",
        )
    return value

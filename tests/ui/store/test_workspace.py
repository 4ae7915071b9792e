"""No query leaves its workspace, whatever its caller asks for."""

from __future__ import annotations

import ast
import functools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, insert, or_, select, text, true

import gemma_keras_tune_ui
from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.identity.access import Principal, Role
from gemma_keras_tune_ui.identity.refusals import NotFound
from gemma_keras_tune_ui.store import tables
from gemma_keras_tune_ui.store.engine import Store
from gemma_keras_tune_ui.store.tables import (
    audit,
    datasets,
    jobs,
    quotas,
    runs,
    uploads,
    workspaces,
)
from gemma_keras_tune_ui.store.workspace import FILTERABLE, SORTABLE, WorkspaceStore

UI = Path(gemma_keras_tune_ui.__file__).parent
NOW = datetime(2026, 11, 22, tzinfo=UTC)
TABLES = [uploads, datasets, runs, jobs, quotas]


def row(table: Table, number: int) -> dict[str, Any]:
    """A row whose id is its table's name and the number."""
    id = f"{table.name}{number}"
    return {
        uploads: {"purpose": "dataset", "display_name": id, "size": 1, "state": "done",
                  "created_at": NOW, "touched_at": NOW},
        datasets: {"name": id, "file_name": id, "size": number, "sha256": "0" * 64,
                   "created_at": NOW},
        runs: {"name": id, "state": "done", "created_at": NOW, "changed_at": NOW},
        jobs: {"number": number, "kind": "train", "args": {}, "args_hash": "0", "created_at": NOW,
               **({"pool": "device"} if "pool" in jobs.c else {})},
        quotas: {},
    }[table] | {"id": id}  # fmt: skip


def person(user: str, workspace: str) -> Principal:
    return Principal(user_id=user, name=user, workspace_id=workspace, role=Role.OWNER)


@pytest.fixture
async def both(store: Store) -> tuple[WorkspaceStore, WorkspaceStore]:
    """Ann's workspace with row 1 of every table, and Bob's with row 2."""
    async with store.begin() as connection:
        other = {"workspace_id": "w2", "name": "Two", "created_at": NOW}
        await connection.execute(insert(workspaces).values(other))
    ann = WorkspaceStore(store, person("ann", "w1"))
    bob = WorkspaceStore(store, person("bob", "w2"))
    for number, one in ((1, ann), (2, bob)):
        for table in TABLES:
            await one.insert(table, **row(table, number))
    return ann, bob


async def test_row_46_another_tenants_rows_are_not_there(
    both: tuple[WorkspaceStore, WorkspaceStore],
) -> None:
    """CVE-2025-15381 and others: every table, every way, both directions."""
    for one, own, foreign in ((both[0], 1, 2), (both[1], 2, 1)):
        for table in TABLES:
            theirs = f"{table.name}{foreign}"
            assert [found["id"] for found in await one.select(table)] == [f"{table.name}{own}"]
            assert await one.select(table, table.c.id == theirs) == []
            assert await one.select(table, or_(true(), table.c.id == theirs)) != []
            assert len(await one.select(table, or_(true(), table.c.id == theirs))) == 1
            assert await one.count(table, table.c.id == theirs) == 0
            with pytest.raises(NotFound):
                await one.one(table, theirs)
            assert await one.update(table, table.c.id == theirs, user_id="ann") == 0
            assert await one.delete(table, table.c.id == theirs) == 0
            rows, total = await one.page(table)
            assert ([found["id"] for found in rows], total) == ([f"{table.name}{own}"], 1)
    for number, one in ((1, both[0]), (2, both[1])):
        for table in TABLES:
            assert (await one.one(table, f"{table.name}{number}"))["workspace_id"] == f"w{number}"


async def test_a_change_without_conditions_stays_in_the_workspace(
    both: tuple[WorkspaceStore, WorkspaceStore],
) -> None:
    ann, bob = both
    assert await ann.update(runs, name="mine") == 1
    assert (await bob.one(runs, "runs2"))["name"] == "runs2"
    assert await ann.delete(quotas) == 1
    assert await bob.count(quotas) == 1


async def test_nothing_is_put_into_another_workspace(
    both: tuple[WorkspaceStore, WorkspaceStore],
) -> None:
    ann, _ = both
    with pytest.raises(ValueError, match="another workspace"):
        await ann.insert(runs, **row(runs, 3), workspace_id="w2")
    with pytest.raises(ValueError, match="another workspace"):
        await ann.update(runs, workspace_id="w2")
    with pytest.raises(NotFound):
        await ann.insert(datasets, **row(datasets, 3), upload_id="uploads2")
    with pytest.raises(NotFound):
        await ann.update(datasets, upload_id="uploads2")
    await ann.insert(datasets, **row(datasets, 3), upload_id="uploads1")


async def test_a_new_row_belongs_to_whoever_asks(
    both: tuple[WorkspaceStore, WorkspaceStore],
) -> None:
    assert (await both[1].one(datasets, "datasets2"))["user_id"] == "bob"


@pytest.mark.parametrize(
    "table",
    [one for one in tables.metadata.sorted_tables if one not in SORTABLE],
    ids=lambda table: table.name,
)
async def test_what_identity_keeps_is_not_reached(store: Store, table: Table) -> None:
    ann = WorkspaceStore(store, person("ann", "w1"))
    calls: list[Callable[..., Awaitable[Any]]] = [
        ann.select,
        ann.count,
        ann.insert,
        ann.update,
        ann.delete,
    ]
    for call in calls:
        with pytest.raises(ValueError, match=table.name):
            await call(table)


async def test_the_audit_log_is_read_only(store: Store) -> None:
    ann = WorkspaceStore(store, person("ann", "w1"))
    assert await ann.select(audit) == []
    for call in (ann.insert, ann.update, ann.delete):
        with pytest.raises(ValueError, match="audit"):
            await call(audit)


async def test_conditions_reach_no_other_table(store: Store) -> None:
    ann = WorkspaceStore(store, person("ann", "w1"))
    reaching = (
        runs.c.id == datasets.c.id,
        runs.c.id.in_(select(datasets.c.id)),
        select(tables.users.c.password_hash).where(true()).exists(),
        text("1=1) or (1=1"),
    )
    for condition in reaching:
        with pytest.raises(ValueError, match="condition"):
            await ann.select(runs, condition)
        with pytest.raises(ValueError, match="condition"):
            await ann.delete(runs, condition)


async def test_row_46_requests_sort_and_filter_by_listed_fields_only(store: Store) -> None:
    """GHSA-6hjj-gq77-j4qw: a filter on a field that isn't shown would tell its value."""
    ann = WorkspaceStore(store, person("ann", "w1"))
    for field in ("password", "password_hash", "user__password", "args", "path", "id; drop", ""):
        if field:
            with pytest.raises(TuneError) as refused:
                await ann.page(jobs, sort=field)
            assert refused.value.code == "UNKNOWN_FIELD"
        with pytest.raises(TuneError):
            await ann.page(jobs, filters={field: "x"})
    with pytest.raises(TuneError, match="Did you mean state"):
        await ann.page(jobs, sort="stat")
    for table in SORTABLE:
        assert {*SORTABLE[table], *FILTERABLE[table]} <= set(table.c.keys())
        for field in SORTABLE[table]:
            assert await ann.page(table, sort=field, descending=True) == ([], 0)


@pytest.mark.parametrize("odd", ["a\x00b", "\ud800", "x" * 100_000])
async def test_odd_texts_are_refused_by_us_and_not_by_the_database(store: Store, odd: str) -> None:
    ann = WorkspaceStore(store, person("ann", "w1"))
    with pytest.raises(NotFound):
        await ann.one(runs, odd)
    with pytest.raises(TuneError, match="filter state"):
        await ann.page(runs, filters={"state": odd})


async def test_pages_are_cut_and_ordered(store: Store) -> None:
    ann = WorkspaceStore(store, person("ann", "w1"))
    for number in range(7):
        await ann.insert(datasets, **row(datasets, number))
    found, total = await ann.page(datasets, sort="size", descending=True, limit=3, offset=2)
    assert ([one["size"] for one in found], total) == ([4, 3, 2], 7)
    found, total = await ann.page(datasets, filters={"name": "datasets5"})
    assert ([one["size"] for one in found], total) == ([5], 1)
    assert len((await ann.page(datasets, limit=-1, offset=-1))[0]) == 1


async def test_several_calls_are_one_transaction(store: Store) -> None:
    ann = WorkspaceStore(store, person("ann", "w1"))
    with pytest.raises(NotFound):
        async with ann.begin() as rows:
            await rows.insert(runs, **row(runs, 1))
            await rows.one(runs, "missing")
    assert await ann.count(runs) == 0


# Who may build queries on tables with a workspace, and why.
BUILDERS = {
    "store/": "the way itself, and the migrations",
    "identity/": "decides who belongs to which workspace, so it comes before the filter",
    "jobs/": "the server's own queue and mirror of run folders work for all workspaces",
    "live/standing.py": "one look for all who watch a run; their pages compare its workspace",
    "notices/targets.py": "a person's own places, whose addresses identity's vault encrypts",
    "notices/outbox.py": "tells people of all workspaces; whose a job is decides who hears of it",
    "gate/upload_rows.py": "checks offset and state in one statement; sweeps for all workspaces",
    "gate/upload_quota.py": "sums what is promised on the disk for all workspaces",
    "api/members.py": "asks whether somebody is a member, which identity's tables know",
    "api/submitting.py": "adds a run's row in the transaction of its job and audit entry",
    "overview.py": "one statement for all who look; the workspace is its argument",
    "metrics.py": "counts of the whole server, without names",
    "health.py": "tries whether the server's own row can be written",
}
QUERIES = {"select", "insert", "update", "delete", "text"}


@functools.cache
def builders() -> dict[str, set[str]]:
    """Each file of the app that takes what queries are made of, and what it takes."""
    found: dict[str, set[str]] = {}
    for path in sorted(UI.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqlalchemy"):
                taken = {alias.name for alias in node.names} & QUERIES
            elif isinstance(node, ast.Import):
                taken = {a.name for a in node.names if a.name.partition(".")[0] == "sqlalchemy"}
            else:
                continue
            if taken:
                found.setdefault(path.relative_to(UI).as_posix(), set()).update(taken)
    return found


def test_no_other_module_builds_queries_of_its_own() -> None:
    """REST, pages and gate go through `WorkspaceStore`, or are named above with a reason."""
    assert "store/workspace.py" in builders(), "the search finds what is there"
    for path, taken in builders().items():
        assert path.startswith(tuple(BUILDERS)), f"{path} builds queries: {taken}"


def test_whoever_may_build_queries_does() -> None:
    for allowed in BUILDERS:
        assert any(path.startswith(allowed) for path in builders()), f"{allowed} needs no leave"

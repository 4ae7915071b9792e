"""The real app without NiceGUI's pages (of which a process has only one), and people in it.

Two workspaces, with the same things in both; whoever is of one must never see those of the other.
Nothing waits for the disk, argon2 takes little memory, and jobs are done by a fake child.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
from fastapi import FastAPI
from sqlalchemy import event, insert, update

from gemma_keras_tune.events import EventWriter, RunEnded, RunStarted, Step
from gemma_keras_tune.recipe import Recipe
from gemma_keras_tune.recipe_files import load_recipe
from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune_ui import app as app_module
from gemma_keras_tune_ui import parts as parts_module
from gemma_keras_tune_ui.app import create_app
from gemma_keras_tune_ui.gate.clients import Clients
from gemma_keras_tune_ui.identity import passwords
from gemma_keras_tune_ui.identity.access import Principal, Role, operator
from gemma_keras_tune_ui.identity.rate_limits import ApiLimits
from gemma_keras_tune_ui.jobs.supervisor import Supervisor
from gemma_keras_tune_ui.parts import Parts
from gemma_keras_tune_ui.settings import Settings
from gemma_keras_tune_ui.store.engine import Store, open_store
from gemma_keras_tune_ui.store.tables import datasets, jobs, runs, uploads, users
from tests.support.queue_jobs import FAKE_WORK, HASTY

PASSWORD = "heron lamp cobalt river"
ORIGIN = "http://localhost"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
CSV = b"text,label\nwin a prize now,spam\nlunch at noon,ham\n"


@dataclass
class Person:
    """Somebody with one way in: a session's cookie, or a token."""

    name: str
    user_id: str = ""
    workspace_id: str = ""
    role: Role | None = None
    is_server_admin: bool = False
    scopes: frozenset[str] | None = None
    cookie: str = ""
    token: str = ""
    password: str = PASSWORD

    @property
    def headers(self) -> dict[str, str]:
        if self.token:
            return {"Authorization": f"Bearer {self.token}"}
        if self.cookie:
            return {"Cookie": f"gkt={self.cookie}", "Origin": ORIGIN, "X-GKT-Request": "1"}
        return {"Origin": ORIGIN, "X-GKT-Request": "1"}

    @property
    def principal(self) -> Principal:
        assert self.role is not None
        return Principal(
            user_id=self.user_id,
            name=self.name,
            workspace_id=self.workspace_id,
            role=self.role,
            is_server_admin=self.is_server_admin,
            session_hash="x",
        )


@dataclass
class World:
    """The app at work, with two workspaces: `here` and `there`."""

    app: FastAPI
    http: httpx.AsyncClient
    here: str
    there: str = ""
    people: dict[str, Person] = field(default_factory=dict)

    @property
    def parts(self) -> Parts:
        parts: Parts = self.app.state.parts
        return parts

    @property
    def root(self) -> Path:
        return self.parts.settings.root

    async def ask(
        self, who: str | Person, method: str, path: str, body: Any = None, **more: Any
    ) -> httpx.Response:
        """One request to the API, by somebody."""
        person = self.people[who] if isinstance(who, str) else who
        headers = {**person.headers, **more.pop("headers", {})}
        if body is not None:
            more["json"] = body
        return await self.http.request(method, f"/api/v1{path}", headers=headers, **more)

    async def person(
        self,
        name: str,
        role: Role,
        workspace_id: str = "",
        *,
        is_server_admin: bool = False,
        scope: str | None = None,
    ) -> Person:
        """A new account, signed in, or with a token of one scope."""
        identity, home = self.parts.identity, workspace_id or self.here
        user = await identity.accounts.create(
            operator(home), name=name, display_name=name, role=role, password=PASSWORD
        )
        if is_server_admin:
            await self.sql(update(users).where(users.c.id == user.id).values(is_server_admin=True))
        made = Person(name, user.id, home, role, is_server_admin)
        if scope is None:
            made.cookie = await identity.sessions.open(user.id, home, address="", agent="test")
        else:
            made.scopes = frozenset({scope})
            _, made.token = await identity.tokens.create(
                made.principal,
                name="t",
                scopes=[scope],
                expires_at=datetime.now(UTC) + timedelta(days=1),
            )
        self.people[name] = made
        return made

    async def sql(self, statement: Any) -> None:
        async with self.parts.store.begin() as connection:
            await connection.execute(statement)

    async def dataset(self, workspace_id: str, user_id: str, content: bytes = CSV) -> str:
        id = secrets.token_hex(16)
        folder = self.root / "datasets" / id
        folder.mkdir(parents=True)
        (folder / "data.csv").write_bytes(content)
        await self.sql(
            insert(datasets).values(
                id=id,
                workspace_id=workspace_id,
                user_id=user_id,
                name="rows",
                file_name="rows.csv",
                size=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                created_at=NOW,
            )
        )
        return id

    async def upload(self, workspace_id: str, user_id: str, *, is_whole: bool = False) -> str:
        id, content = secrets.token_hex(16), CSV + secrets.token_hex(8).encode() + b",ham\n"
        folder = self.root / "uploads" / id
        folder.mkdir(parents=True)
        (folder / "part").write_bytes(content if is_whole else b"")
        await self.sql(
            insert(uploads).values(
                id=id,
                workspace_id=workspace_id,
                user_id=user_id,
                purpose="dataset",
                display_name="rows.csv",
                size=len(content),
                received=len(content) if is_whole else 0,
                state="open",
                created_at=NOW,
                touched_at=datetime.now(UTC),
            )
        )
        return id

    async def run(self, workspace_id: str, user_id: str | None) -> str:
        """A run that has ended, with a report and an artifact."""
        id = f"20261122-120000-000-{secrets.token_hex(6)}"
        folder = RunFolder(self.root / "runs" / id)
        await self.sql(
            insert(runs).values(
                id=id,
                workspace_id=workspace_id,
                user_id=user_id,
                name="made-up",
                tags=[],
                state="done",
                step=2,
                total_steps=2,
                seen_seq=4,
                size=1,
                created_at=NOW,
                changed_at=NOW,
            )
        )
        write_run(folder)
        return id

    async def job(
        self,
        workspace_id: str,
        user_id: str | None,
        *,
        state: str = "done",
        kind: str = "data",
        run: str | None = None,
    ) -> str:
        """A job about a file that isn't there; one of the kind `answer` has its table, too."""
        id = secrets.token_hex(16)
        self._numbers = getattr(self, "_numbers", 10_000) + 1
        path = str(self.root / "datasets" / ("0" * 32) / "data.csv")
        await self.sql(
            insert(jobs).values(
                id=id,
                workspace_id=workspace_id,
                user_id=user_id,
                number=self._numbers,
                kind=kind,
                run_id=run,
                args={"data": path} if kind == "answer" else {"action": "check", "path": path},
                args_hash="0" * 64,
                pool="light",
                state=state,
                created_at=NOW,
                ended_at=NOW if state == "done" else None,
            )
        )
        folder = self.root / "jobs" / id
        folder.mkdir(parents=True)
        (folder / "log.txt").write_text(f"reads {path}\n")
        if kind == "answer":
            (folder / "answers.csv").write_text("text,label\nwin a prize,spam\n")
        with EventWriter(folder / "events.jsonl", 1) as events:
            events(RunStarted(name="data"))
            events(RunEnded(status="done"))
        result = {"status": "done", "code": "", "message": "", "value": {"rows": 2, "file": path}}
        (folder / "result.json").write_text(json.dumps(result))
        return id


def write_run(folder: RunFolder) -> None:
    """The files of a run that has ended."""
    artifact = folder.artifacts / "hf"
    artifact.mkdir(parents=True)
    folder.recipe_json.write_text(spam().to_json())
    folder.lineage_json.write_text(json.dumps({"data": [], "recipe": None}))
    folder.report_json.write_text(json.dumps({"base": {"loss": 2.0}, "tuned": {"loss": 1.0}}))
    folder.report_md.write_text("# Report\n")
    row = {"row": 2, "prompt": "=HYPERLINK(1)", "expected": "ham", "nats": 0.5, "tokens": 2}
    folder.predictions.write_text(json.dumps(row) + "\n")
    (artifact / "parity.json").write_text(json.dumps({"passed": True, "max_abs_diff": 0.0}))
    (artifact / "model.safetensors").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    lineage = {"artifact": {"files": {"model.safetensors": digest}}}
    (artifact / "lineage.json").write_text(json.dumps(lineage))
    write_events(folder, steps=2)


def spam() -> Recipe:
    return load_recipe("spam_classifier")


def write_events(folder: RunFolder, *, steps: int, first: int = 1, attempt: int = 1) -> None:
    folder.path.mkdir(parents=True, exist_ok=True)
    with EventWriter(folder.events, attempt) as events:
        events(RunStarted(name="made-up", resumed_from=first - 1))
        for step in range(first, first + steps):
            events(a_step(step))
        events(RunEnded(status="done", step=first + steps - 1))


def a_step(step: int) -> Step:
    return Step(
        step=step,
        total_steps=100,
        epoch=0.0,
        loss=1.0,
        tokens=10,
        answer_tokens=2,
        learning_rate=1e-4,
        grad_norm=1.0,
        seconds=0.1,
        tokens_per_s=100.0,
    )


async def _hasty_store(url: str) -> Store:
    store = await open_store(url)

    @event.listens_for(store.engine.sync_engine, "connect")
    def hurry(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    await store.engine.dispose()
    return store


def _fake_supervisor(*args: Any, warm: object = None, **more: Any) -> Supervisor:
    more |= {"command": FAKE_WORK, "patience": HASTY}
    return Supervisor(*args, warm={}, **more)


@asynccontextmanager
async def open_world(root: Path, *, is_real: bool = False) -> AsyncIterator[World]:
    """The world; `is_real`: with the real child.

    Args:
        root: The data root.
        is_real: Whether jobs are done by the real child.
    """
    with ExitStack() as patches:
        patches.enter_context(patch.object(app_module, "_mount_pages", lambda _: None))
        patches.enter_context(patch.object(Clients, "install", lambda _: None))
        patches.enter_context(patch.object(os, "fsync", lambda _: None))
        patches.enter_context(patch.object(passwords, "_MEMORY_KIB", 64))
        patches.enter_context(patch.object(parts_module, "open_store", _hasty_store))
        if not is_real:
            patches.enter_context(patch.object(parts_module, "Supervisor", _fake_supervisor))
        app = create_app(Settings(root=root, jobs={"disk_reserve_bytes": 2**20}))
        async with app.router.lifespan_context(app):
            _without_rate_limit(app)
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url=ORIGIN) as http:
                world = World(app, http, app.state.parts.identity.workspace_id)
                await _settle(world)
                yield world


def _without_rate_limit(app: FastAPI) -> None:
    parts: Parts = app.state.parts
    identity = replace(parts.identity, api_limits=ApiLimits(10**9))
    app.state.parts = replace(parts, identity=identity)


async def _settle(world: World) -> None:
    identity = world.parts.identity
    code = identity.setup.renew()
    first = await identity.setup.create_first_admin(
        code, name="root", display_name="Root", password=PASSWORD
    )
    root = Person("root", first.id, world.here, Role.OWNER, is_server_admin=True)
    root.cookie = await identity.sessions.open(first.id, world.here, address="", agent="test")
    world.people["root"] = root
    world.people["nobody"] = Person("nobody")
    world.there = await identity.members.create(root.principal, "Elsewhere")
    await world.person("eve", Role.OWNER, world.there)
    for role in Role:
        await world.person(role.label, role)


def copy_of(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target

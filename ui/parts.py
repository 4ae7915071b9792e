"""All parts of a running server: opened in order, and closed in the opposite one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Literal

from fastapi import Request

from . import backups, data_root
from .gate.clients import Clients
from .gate.upload_quota import UploadLimits
from .gate.uploads import Uploads
from .health import Health
from .identity.access import Role
from .identity.oidc import OidcConfig
from .identity.service import Identity, open_identity
from .jobs.credentials import credentials_in
from .jobs.queue import Queue
from .jobs.quotas import Limits
from .jobs.runs import Runs
from .jobs.slots import find_devices, make_slots
from .jobs.supervisor import Supervisor
from .logs import logger
from .metrics import Metrics
from .notices.opened import Notices, open_notices
from .overview import Overviews
from .settings import Settings
from .settings_sources import client_secret, database_url
from .store.engine import Store, open_store

_SWEEP_S = 3600.0


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What pages, routes and the gate work with."""

    settings: Settings
    store: Store
    identity: Identity
    queue: Queue
    supervisor: Supervisor
    runs: Runs
    uploads: Uploads
    clients: Clients
    health: Health
    metrics: Metrics
    overviews: Overviews
    notices: Notices

    @property
    def same_site(self) -> Literal["lax", "strict"]:
        """Who may lead a browser here with its session: with single sign-on another site does."""
        return "lax" if self.settings.oidc.issuer else "strict"


def parts_of(request: Request) -> Parts:
    """The parts of the server that answers a request."""
    parts: Parts = request.app.state.parts
    return parts


@asynccontextmanager
async def open_parts(
    settings: Settings, metrics: Metrics, clients: Clients
) -> AsyncIterator[Parts]:
    """The parts, at work until the block ends. Child processes outlive it.

    Raises:
        TuneError: If the root, its lock, the keys or the database can't be had.
    """
    root, given = settings.root, settings.database.url
    data_root.prepare(root, holds_database=given is None)
    async with AsyncExitStack() as stack:
        stack.enter_context(data_root.held(root))
        data_root.keep_ballast(root)
        store = await open_store(database_url(settings))
        stack.push_async_callback(store.close)
        metrics.watch(store)
        identity = await open_identity(
            store,
            root,
            idle=timedelta(minutes=settings.sessions.idle_minutes),
            longest=timedelta(hours=settings.sessions.absolute_hours),
            oidc=_oidc(settings),
        )
        supervisor = _supervisor(settings, store, identity)
        health = Health(
            store,
            root=root,
            is_supervising=lambda: supervisor.is_working,
            reserve_bytes=settings.jobs.disk_reserve_bytes,
        )
        parts = Parts(
            settings=settings,
            store=store,
            identity=identity,
            queue=supervisor.queue,
            supervisor=supervisor,
            runs=Runs(store, root),
            uploads=Uploads(store, root, limits=_upload_limits(settings)),
            clients=clients,
            health=health,
            metrics=metrics,
            overviews=Overviews(store),
            notices=open_notices(settings, store, identity, supervisor.silent),
        )
        await _start(parts, stack)
        yield parts


def _oidc(settings: Settings) -> OidcConfig | None:
    oidc, secret = settings.oidc, client_secret(settings)
    if oidc.issuer is None or oidc.client_id is None or secret is None:
        return None  # the settings refuse one without the others
    return OidcConfig(
        issuer=oidc.issuer,
        client_id=oidc.client_id,
        client_secret=secret,
        domains=oidc.domains,
        creates_accounts=oidc.creates_accounts,
        new_role=Role[oidc.new_role.upper()],
    )


def _upload_limits(settings: Settings) -> UploadLimits:
    return UploadLimits(
        file_bytes=settings.uploads.file_bytes,
        user_bytes=settings.uploads.user_bytes,
        user_files=settings.uploads.user_files,
        reserve_bytes=settings.jobs.disk_reserve_bytes,
    )


def _supervisor(settings: Settings, store: Store, identity: Identity) -> Supervisor:
    jobs = settings.jobs
    limits = Limits(running_jobs=jobs.user_running, queued_jobs=jobs.user_queued)
    data = ("--memory-bytes", str(jobs.data_memory_bytes), "--seconds", str(jobs.data_seconds))
    return Supervisor(
        Queue(store, defaults=limits),
        settings.root,
        slots=make_slots(find_devices(), light=jobs.data_workers, at_once=jobs.slots),
        warm={"data": data, "plan": (), "generate": ()},
        reserve_bytes=jobs.disk_reserve_bytes,
        credentials_of=credentials_in(identity.vault),
    )


async def _start(parts: Parts, stack: AsyncExitStack) -> None:
    """Starts what works by itself; what was started last is stopped first."""
    settings = parts.settings
    await parts.supervisor.start()
    stack.push_async_callback(parts.supervisor.stop)
    parts.clients.start()
    stack.push_async_callback(parts.clients.stop)
    parts.identity.sessions.on_revoked(parts.clients.session_revoked)
    _keep_doing(stack, "runs", parts.runs.keep_mirroring())
    _keep_doing(stack, "loop lag", parts.metrics.measure_lag())
    _keep_doing(stack, "notices", parts.notices.outbox.keep_telling())
    _keep_doing(stack, "old sessions", _every(_SWEEP_S, parts.identity.sessions.sweep))
    _keep_doing(stack, "old uploads", _every(_SWEEP_S, parts.uploads.collect))
    _keep_doing(stack, "trash", _every(_SWEEP_S, partial(data_root.empty_trash, settings.root)))
    if parts.store.is_sqlite:
        _keep_doing(
            stack, "backups", backups.keep_making(parts.store, settings.root, settings.backup)
        )


def _keep_doing(stack: AsyncExitStack, name: str, work: Awaitable[None]) -> None:
    """Runs something until the stack closes; its end by an error is logged."""

    async def do() -> None:
        try:
            await work
        except Exception:  # noqa: BLE001  # the edge of a task: nobody awaits it
            logger("server").exception("task_failed", task=name)

    task = asyncio.create_task(do(), name=name)

    async def stop() -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    stack.push_async_callback(stop)


async def _every(seconds: float, do: Callable[[], Awaitable[object]]) -> None:
    while True:
        await do()
        await asyncio.sleep(seconds)

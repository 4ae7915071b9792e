"""What `/metrics` says, for Prometheus. Each app has a registry of its own."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from sqlalchemy import event, func, select
from sqlalchemy.engine import ExceptionContext

from .logs import logger
from .store.engine import Store
from .store.tables import jobs, sessions

CONTENT_TYPE = CONTENT_TYPE_LATEST
LAG_ALARM_S = 0.25
_LAG_EVERY_S = 0.5
_WARN_EVERY_S = 60.0
_FAST = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The counts of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        about: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter(
            "gkt_http_requests", "Requests answered.", ["method", "route", "status"], **about
        )
        self._seconds = Histogram(
            "gkt_http_request_seconds", "Time to answer.", ["route"], buckets=_FAST, **about
        )
        self._sockets = Counter(
            "gkt_sockets", "Sockets that were opened, by what became of them.", ["status"], **about
        )
        self._lag = Histogram(
            "gkt_loop_lag_seconds", "How late the event loop was.", buckets=_FAST, **about
        )
        self._database_errors = Counter(
            "gkt_database_errors", "Errors of the database, by class.", ["error"], **about
        )
        self._jobs = Gauge("gkt_jobs", "Jobs, by kind and state.", ["kind", "state"], **about)
        self._waiting = Gauge(
            "gkt_queue_wait_seconds", "How long the oldest queued job has waited.", **about
        )
        self._children = Gauge("gkt_children", "Child processes at work.", **about)
        self._sessions = Gauge("gkt_sessions", "Sessions that are signed in.", **about)

    def request(
        self, method: str, route: str, status: int, seconds: float, *, is_socket: bool
    ) -> None:
        """Counts one answered request, or one socket that has ended."""
        if is_socket:
            self._sockets.labels(str(status)).inc()
            return
        self._requests.labels(_known_method(method), route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def watch(self, store: Store) -> None:
        """Counts the errors of a database from now on."""

        @event.listens_for(store.engine.sync_engine, "handle_error")
        def count(context: ExceptionContext) -> None:
            self._database_errors.labels(type(context.original_exception).__name__).inc()

    async def measure_lag(self) -> None:
        """Watches the event loop until it is cancelled."""
        loop, warned = asyncio.get_running_loop(), float("-inf")
        while True:
            before = loop.time()
            await asyncio.sleep(_LAG_EVERY_S)
            lag = max(0.0, loop.time() - before - _LAG_EVERY_S)
            self._lag.observe(lag)
            if lag > LAG_ALARM_S and before - warned > _WARN_EVERY_S:
                warned = before
                logger("loop").warning("loop_is_late", lag_ms=round(lag * 1000))

    async def text(self, store: Store, *, children: int) -> bytes:
        """Everything in the format that Prometheus reads; what the database knows is asked now."""
        async with store.begin() as connection:
            counts = await connection.execute(
                select(jobs.c.kind, jobs.c.state, func.count()).group_by(jobs.c.kind, jobs.c.state)
            )
            oldest = await connection.scalar(
                select(func.min(jobs.c.created_at)).where(jobs.c.state == "queued")
            )
            now = datetime.now(UTC)
            alive = await connection.scalar(
                select(func.count())
                .select_from(sessions)
                .where(sessions.c.revoked_at.is_(None), sessions.c.expires_at > now)
            )
        self._jobs.clear()
        for kind, state, count in counts:
            self._jobs.labels(kind, state).set(count)
        self._waiting.set((now - oldest).total_seconds() if oldest is not None else 0)
        self._sessions.set(alive or 0)
        self._children.set(children)
        return generate_latest(self.registry)


def _known_method(method: str) -> str:
    """A client may send any word as a method; the set of labels stays small."""
    known = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
    return method if method in known else "other"

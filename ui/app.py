"""The app: FastAPI with the gate before it and NiceGUI's pages mounted on it, in one process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import nicegui
from fastapi import FastAPI, Request
from nicegui import ui
from starlette.responses import Response
from starlette.types import Scope

from gemma_keras_tune import __version__
from gemma_keras_tune.errors import TuneError

from . import operator_routes
from .api import router as api
from .gate.answers import answer_refusals
from .gate.clients import Clients
from .gate.middleware import Gate
from .gate.ports import Person, RateLimit
from .gate.rules import PUBLIC_PATHS, GateRules
from .live.broadcast import LiveRuns
from .live.standing import standing_of
from .metrics import Metrics
from .pages import account, configure, data, forms, frame, help, home, result, runs
from .parts import Parts, open_parts
from .proxies import Proxies
from .requests import Failures, RequestLog
from .settings import Settings

_RECONNECT_S = 10.0


def create_app(settings: Settings) -> FastAPI:
    """The app, which opens its parts when it is started; one a process, as NiceGUI wants it.

    `app.state` then has `parts`; `setup_path`, where the first account is made, or None;
    `children_left` after the end; and `failure`, the error that kept it from starting.
    """
    metrics = Metrics()

    app = FastAPI(
        title="Gemma Keras Tune",
        version=__version__,
        lifespan=_lifespan,
        openapi_url=None,  # `api.openapi` has it, behind the gate
    )
    app.state.settings, app.state.metrics = settings, metrics
    app.state.clients = Clients(_Sessions(app), is_https=settings.is_https)
    app.state.setup_path, app.state.children_left, app.state.failure = None, 0, None
    answer_refusals(app)
    operator_routes.register(app)
    forms.register(app)
    api.register(app)
    app.state.live = LiveRuns(
        app.state.api.events, lambda folder: standing_of(app.state.parts.store, folder)
    )
    _mount_pages(app)
    app.state.clients.install()
    _put_gate_before(app, settings, metrics)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state = app.state
    try:
        async with open_parts(state.settings, state.metrics, state.clients) as parts:
            state.parts = parts
            if await parts.identity.setup.is_needed():
                state.setup_path = f"/setup?code={parts.identity.setup.renew()}"
            yield
            state.live.close()
            state.children_left = parts.supervisor.running
    except TuneError as error:
        state.failure = error
        raise


def _mount_pages(app: FastAPI) -> None:
    frame.install(app)
    for one in (home, data, configure, runs, result, account, help):
        one.register(app)
    nicegui.app.add_exception_handler(Exception, _page_failed)
    ui.run_with(
        app,
        title="Gemma Keras Tune",
        dark=None,
        language="en-US",
        binding_refresh_interval=None,  # pages say what has changed; nothing is polled
        reconnect_timeout=_RECONNECT_S,
        show_welcome_message=False,
    )


def _put_gate_before(app: FastAPI, settings: Settings, metrics: Metrics) -> None:
    """From the inside out: what is added last sees a request first."""
    app.add_middleware(Failures)
    app.add_middleware(
        Gate,
        rules=GateRules(
            hosts=settings.hosts,
            is_https=settings.is_https,
            public_paths=PUBLIC_PATHS | {"/readyz"},
        ),
        sessions=_Sessions(app),
        tokens=_Tokens(app),
        rate_limit=_rate_limit(app),
    )
    app.add_middleware(RequestLog, metrics=metrics)
    app.add_middleware(
        Proxies,
        trusted=settings.trusted_proxies,
        only=bool(settings.trusted_proxies) and settings.tls.certificate is None,
    )


class _Sessions:
    """The sessions, which are there only once the app has started."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def principal_of(self, raw_id: str, *, touch: bool = True) -> Person | None:
        """Who holds this session."""
        parts: Parts = self._app.state.parts
        return await parts.identity.sessions.principal_of(raw_id, touch=touch)


class _Tokens:
    """The tokens, which are there only once the app has started."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def principal_of(self, raw: str) -> Person | None:
        """Who holds this token."""
        parts: Parts = self._app.state.parts
        return await parts.identity.tokens.principal_of(raw)


def _rate_limit(app: FastAPI) -> RateLimit:
    async def limit(user_id: str, _: Scope) -> None:
        app.state.parts.identity.api_limits.enter(user_id)

    return limit


async def _page_failed(request: Request, error: Exception) -> Response:
    """NiceGUI's own answer shows the error to whoever asked."""
    raise error

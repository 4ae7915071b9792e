"""Starting and stopping the server: one process, one socket, one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import webbrowser
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from gemma_keras_tune.errors import TuneError

from . import logs
from .collecting import collect_rarely, settle
from .data_root import refuse_second_server
from .listening import address_of, check_certificate, check_exposure, listen
from .settings import Settings

_GRACE_S = 5
_BODY_OF_SOCKET = 2**20  # engine.io takes no larger message either
Say = Callable[[str], None]


def serve(settings: Settings, *, say: Say, open_browser: bool = False) -> None:
    """Runs the server until it is told to stop.

    Args:
        settings: What it goes by.
        say: Where lines for the person at the terminal go.
        open_browser: Whether to open the page in a browser.

    Raises:
        TuneError: `UI_EXPOSED`, `PORT_IN_USE`, `PORT_REFUSED`, `HOST_UNKNOWN`, `TLS_UNUSABLE`,
            `SERVER_RUNNING`, or whatever keeps the database or the keys from being opened.
    """
    check_exposure(settings)
    check_certificate(settings)
    logs.set_up(settings.log)
    from .app import create_app

    refuse_second_server(settings.root)
    listening = listen(settings)
    app = create_app(settings)
    server = _Server(
        _config(settings, app), Voice(settings, listening, app, say=say, open_browser=open_browser)
    )
    try:
        server.run(sockets=[listening])
    except SystemExit:  # uvicorn's word for a start that failed
        raise app.state.failure or TuneError(
            "The server couldn't start; the log above says why.", code="SERVER_FAILED"
        ) from None
    finally:
        listening.close()


class _Server(uvicorn.Server):
    """uvicorn's, which speaks up when it answers, and ends a stop by signal as a success."""

    def __init__(self, config: uvicorn.Config, voice: Voice) -> None:
        super().__init__(config)
        self._voice = voice
        self._collecting: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        settle()
        self._collecting = asyncio.create_task(collect_rarely())
        self._voice.started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._voice.stopping()
        if self._collecting is not None:
            self._collecting.cancel()
        await super().shutdown(sockets)
        self._voice.stopped()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()  # heard, and done as asked


class Voice:
    """What the person at the terminal is told.

    Args:
        settings: What the server goes by.
        listening: Its socket.
        app: The app, started or stopped.
        say: Where lines go.
        open_browser: Whether to open the page in a browser.
    """

    def __init__(
        self,
        settings: Settings,
        listening: socket.socket,
        app: FastAPI,
        *,
        say: Say,
        open_browser: bool = False,
    ) -> None:
        self._settings, self._app, self._say = settings, app, say
        self._port = listening.getsockname()[1]
        self._open_browser = open_browser

    def started(self) -> None:
        """Where the app is, and at the first start how the first account is made."""
        address = address_of(self._settings, self._port)
        self._say(f"Gemma Keras Tune is at {address}")
        path = self._app.state.setup_path
        if path is not None:
            self._say(
                "Nobody has an account yet. Make the administrator's here, within 15 minutes:"
            )
            self._say(f"  {address}{path}")
        self._say("Stop it with Ctrl-C.")
        if self._open_browser:
            webbrowser.open(address + (path or ""))

    def stopping(self) -> None:
        """That the signal was heard."""
        self._say("Stopping.")

    def stopped(self) -> None:
        """That it is over, and what isn't."""
        left = self._app.state.children_left
        if left == 1:
            rest = " 1 job goes on by itself; the next start takes it over again."
        elif left:
            rest = f" {left} jobs go on by themselves; the next start takes them over again."
        else:
            rest = ""
        self._say("Stopped." + rest)


def _config(settings: Settings, app: FastAPI) -> uvicorn.Config:
    tls = settings.tls
    return uvicorn.Config(
        app,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `proxies.Proxies` knows whom to believe
        timeout_graceful_shutdown=_GRACE_S,
        ws_max_size=_BODY_OF_SOCKET,
        ssl_certfile=tls.certificate,
        ssl_keyfile=tls.key,
        ssl_version=ssl.PROTOCOL_TLS_SERVER,
    )

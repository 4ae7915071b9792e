"""NiceGUI's sockets, bound to the session that asked for their page.

NiceGUI takes whoever knows a page's client id for its owner, on any socket. Here a socket may join
a page only with the session that the page was made for, and each event must come from a socket of
that page, whose session is looked up again. A session that ends takes its sockets along and sends
their pages to the sign-in page.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import urllib.parse
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from nicegui import Client, core
from socketio import AsyncServer
from socketio.exceptions import ConnectionRefusedError as SocketRefused
from sqlalchemy.exc import SQLAlchemyError

from .cookies import session_id
from .ports import Person, SessionReader

log = logging.getLogger(__name__)

EVENTS = frozenset(
    {"connect", "handshake", "disconnect", "event", "javascript_response", "ack", "log"}
)
"""Every event that NiceGUI listens to; another one would pass unseen, so it stops the start."""

_GUARDED = ("event", "javascript_response", "ack", "log")
_BY_HAND = "event"  # what a person did; the others the browser sends by itself
_MOST_WAITING = 500
_REFUSED = "Implicit handshake failed"  # NiceGUI's script reloads the page on this text
_LOG_LEVELS = ("debug", "info", "warning", "error")
_LOG_LENGTH = 500

# A page whose socket is refused asks once whether it must sign in again, and reloads if so.
_RELOAD = """
<script>
  addEventListener("load", () => {
    const wait = setInterval(() => {
      if (!window.socket) return;
      clearInterval(wait);
      window.socket.on("connect_error", async () => {
        const ask = { method: "HEAD", redirect: "manual" };
        const answer = await fetch(location.href, ask).catch(() => null);
        if (answer?.type === "opaqueredirect") location.reload();
      });
    }, 100);
  });
</script>
"""

Handler = Callable[..., Any]


@dataclass
class _Socket:
    raw_id: str
    session_hash: str
    waiting: int = 0
    order: asyncio.Lock = field(default_factory=asyncio.Lock)


class Clients:
    """Guards the sockets of NiceGUI.

    Args:
        sessions: Knows who holds a session.
        is_https: Whether browsers come by TLS; it decides the cookie's name.
        every_s: How often open sockets are checked for sessions that have expired, in seconds.
        sio: The server of the sockets; NiceGUI's own if left out.
    """

    def __init__(
        self,
        sessions: SessionReader,
        *,
        is_https: bool = False,
        every_s: float = 30.0,
        sio: AsyncServer | None = None,
    ) -> None:
        self._sessions = sessions
        self._is_https = is_https
        self._every_s = every_s
        self._sio = sio or core.sio
        self._sockets: dict[str, _Socket] = {}
        self._watch: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def install(self) -> None:
        """Puts the guard before every handler of NiceGUI's socket; once, after NiceGUI is imported.

        Raises:
            RuntimeError: If this NiceGUI listens to other events than those that are known here.
        """
        handlers = self._sio.handlers
        if set(handlers) != {"/"} or set(handlers["/"]) != EVENTS or self._sio.namespace_handlers:
            found = sorted(event for events in handlers.values() for event in events)
            raise RuntimeError(f"NiceGUI listens to {found}; the gate knows {sorted(EVENTS)}")
        known = handlers["/"]
        known["connect"] = self._on_connect(known["connect"])
        known["handshake"] = self._on_handshake(known["handshake"])
        known["disconnect"] = self._on_disconnect(known["disconnect"])
        for event in _GUARDED:
            known[event] = self._on_event(event, known[event])
        core.app.config.socket_io_js_transports = ["websocket"]
        Client.shared_head_html += _RELOAD

    def start(self) -> None:
        """Begins to look for sessions that expire while their page is open."""
        self._watch = asyncio.create_task(self._keep_checking(), name="gate: expired sessions")

    async def stop(self) -> None:
        """Ends what `start` began."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None

    async def end_session(self, session_hash: str) -> None:
        """Sends every page of a session to the sign-in page and drops its sockets."""
        sockets = self._sockets.items()
        await self._end_all([sid for sid, one in sockets if one.session_hash == session_hash])

    def session_revoked(self, session_hash: str) -> None:
        """Does what `end_session` does, soon: a listener for `Sessions.on_revoked`."""
        task = asyncio.get_running_loop().create_task(self.end_session(session_hash))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def check_sessions(self) -> None:
        """Ends the sockets of all sessions that are over. Doesn't count as a sign of life."""
        for raw_id in {socket.raw_id for socket in self._sockets.values()}:
            if await self._sessions.principal_of(raw_id, touch=False) is None:
                sockets = self._sockets.items()
                await self._end_all([sid for sid, one in sockets if one.raw_id == raw_id])

    async def _keep_checking(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            try:
                await self.check_sessions()
            except (SQLAlchemyError, OSError):
                log.exception("sessions can't be checked; trying again")

    def _on_connect(self, handler: Handler) -> Handler:
        async def connect(sid: str, environ: dict[str, Any], auth: Any = None) -> None:
            scope = environ["asgi.scope"]
            person: Person | None = scope.get("state", {}).get("principal")
            raw_id = session_id(scope, is_https=self._is_https)
            if person is None or person.session_hash is None or raw_id is None:
                raise SocketRefused(_REFUSED)
            query = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""))
            for client_id in query.get("client_id", []):
                if not _owns(person.session_hash, client_id):
                    raise SocketRefused(_REFUSED)
            self._sockets[sid] = _Socket(raw_id, person.session_hash)
            try:
                await handler(sid, environ, auth)
            except BaseException:
                self._sockets.pop(sid, None)
                raise

        return connect

    def _on_handshake(self, handler: Handler) -> Handler:
        async def handshake(sid: str, data: Any = None) -> bool:
            socket = self._sockets.get(sid)
            if socket is None or not _is_message(data):
                return False
            if not _owns(socket.session_hash, data["client_id"]):
                return False
            if await self._person(sid, socket, touch=False) is None:
                return False
            return bool(await handler(sid, data))

        return handshake

    def _on_disconnect(self, handler: Handler) -> Handler:
        async def disconnect(sid: str, *reason: Any) -> None:
            self._sockets.pop(sid, None)
            await _called(handler, sid)

        return disconnect

    def _on_event(self, event: str, handler: Handler) -> Handler:
        async def guarded(sid: str, msg: Any = None) -> None:
            socket = self._sockets.get(sid)
            if (
                socket is None
                or not _is_message(msg)
                or msg["client_id"] not in self._sio.rooms(sid)
            ):
                return
            if socket.waiting >= _MOST_WAITING:
                await self._sio.disconnect(sid)
                return
            socket.waiting += 1
            try:
                async with socket.order:  # looking the session up must not let events overtake
                    await self._pass_on(event, handler, sid, socket, msg)
            finally:
                socket.waiting -= 1

        return guarded

    async def _pass_on(
        self, event: str, handler: Handler, sid: str, socket: _Socket, msg: dict[str, Any]
    ) -> None:
        person = await self._person(sid, socket, touch=event == _BY_HAND)
        client = Client.instances.get(msg["client_id"])
        if person is None or client is None:
            return
        client.request.scope["state"]["principal"] = person
        await _called(handler, sid, _printable(msg) if event == "log" else msg)

    async def _person(self, sid: str, socket: _Socket, *, touch: bool) -> Person | None:
        """Who holds the socket's session now; if nobody does, the socket is dropped."""
        person = await self._sessions.principal_of(socket.raw_id, touch=touch)
        if person is None or person.session_hash != socket.session_hash:
            await self._end(sid)
            return None
        return person

    async def _end_all(self, sids: list[str]) -> None:
        await asyncio.gather(*(self._end(sid) for sid in sids))

    async def _end(self, sid: str) -> None:
        if self._sockets.pop(sid, None) is not None:
            await self._sio.emit("try_reconnect", to=sid)  # NiceGUI's script reloads the page
            await self._sio.disconnect(sid)


def current_person(client: Client) -> Person:
    """Who holds the session of a page, as looked up for its last event.

    Raises:
        RuntimeError: If the page was not made for a session.
    """
    person: Person | None = client.request.scope.get("state", {}).get("principal")
    if person is None:
        raise RuntimeError("this page belongs to no session")
    return person


def _owns(session_hash: str, client_id: str) -> bool:
    """Whether the page was made for this session; also false if there is no such page."""
    client = Client.instances.get(client_id)
    if client is None:
        return False
    person: Person | None = client.request.scope.get("state", {}).get("principal")
    return person is not None and person.session_hash == session_hash


def _is_message(data: Any) -> bool:
    return isinstance(data, dict) and isinstance(data.get("client_id"), str)


def _printable(msg: dict[str, Any]) -> dict[str, Any]:
    """A browser's log message that can't forge a line, fill the disk, or raise."""
    level = msg.get("level") if msg.get("level") in _LOG_LEVELS else "info"
    text = str(msg.get("message", ""))[:_LOG_LENGTH]
    return {**msg, "level": level, "message": f"browser: {text!r}"}


async def _called(handler: Handler, *args: Any) -> Any:
    result = handler(*args)
    return await result if inspect.isawaitable(result) else result


__all__ = ["EVENTS", "Clients", "current_person"]

"""One open page: who looks at it, what they may, and how they write numbers and times."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from nicegui import Client, ui

from gemma_keras_tune.errors import TuneError

from ..api.asking import Asking, Services
from ..api.naming import Shown
from ..api.problems import status_of
from ..gate.clients import current_person
from ..identity.access import Action, Principal, may
from ..identity.refusals import NotFound
from ..live.broadcast import LiveRuns
from ..parts import Parts
from ..reader import Reader, reader_of
from ..words import common

if TYPE_CHECKING:
    from .browser_notices import BrowserNotices


class Visit:
    """A page that somebody has open. Everything that it shows or does is asked through here.

    Args:
        app: The outer app.
        client: NiceGUI's page.
    """

    def __init__(self, app: FastAPI, client: Client) -> None:
        self.app, self.client = app, client
        self.parts: Parts = app.state.parts
        self.services: Services = app.state.api
        self.live: LiveRuns = app.state.live
        self.reader: Reader = reader_of(client.request.headers, client.request.cookies)
        self.title: ui.label  # put there by the frame, as what follows
        self.notices: BrowserNotices

    @property
    def principal(self) -> Principal:
        """Who looks at the page, as looked up for the last event."""
        person = current_person(self.client)
        if not isinstance(person, Principal):
            raise TypeError("a page is looked at by an account")
        return person

    @property
    def origin(self) -> str:
        """Under which address the reader sees this server."""
        return str(self.client.request.base_url).rstrip("/")

    def may(self, action: Action) -> bool:
        """Whether to show what does `action` in the open workspace."""
        return may(self.principal, action, self.principal.workspace_id)

    def asked(self, action: Action) -> Asking:
        """The page's request, as the API's functions want it, once it is known to be allowed.

        Raises:
            Forbidden: If `action` isn't allowed here.
        """
        asking = Asking(
            principal=self.principal,
            parts=self.parts,
            services=self.services,
            request=self.client.request,
        )
        asking.authorize(action)
        return asking

    async def asked_now(self, action: Action) -> Asking:
        """As `asked`, for what a timer or a task does: who it is is looked up again.

        Raises:
            Forbidden: If `action` isn't allowed here.
            NotFound: If the session is over.
        """
        asking = Asking(
            principal=self.principal,
            parts=self.parts,
            services=self.services,
            request=self.client.request,
        )
        now = await asking.principal_now()
        if now is None:
            raise NotFound("The session is over. Sign in again.", code="SESSION_OVER")
        self.client.request.scope["state"]["principal"] = now
        return self.asked(action)

    def text_of(self, error: TuneError) -> str:
        """What to tell of an error: its own words, without the server's paths."""
        if status_of(error) == 500:
            return common.SERVER_ERROR
        return self.without_paths(str(error))

    def without_paths(self, text: str) -> str:
        """A text with names in the place of the server's paths."""
        return Shown(self.parts.settings.root).text(text)

    def tells(self, handler: Callable[..., Any]) -> Callable[..., Any]:
        """The handler of an event, which tells of a `TuneError` instead of only logging it."""

        @wraps(handler)
        async def told(*args: Any) -> None:
            try:
                result = handler(*args)
                if inspect.isawaitable(result):
                    await result
            except TuneError as error:
                self.tell(error)

        return told

    def tell(self, error: TuneError) -> None:
        """Shows an error until it is closed."""
        ui.notify(
            self.text_of(error),
            type="negative",
            multi_line=True,
            timeout=0,
            close_button=common.CLOSE,
            classes="gkt-multiline",
        )

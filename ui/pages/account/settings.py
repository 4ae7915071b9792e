"""One's own account: password, sessions, access tokens, and which workspace is open."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from nicegui import ui

from gemma_keras_tune.errors import TuneError

from ...api.session import (
    NewPassword,
    NewToken,
    OpenWorkspace,
    change_password,
    create_token,
    end_session,
    get_session,
    list_sessions,
    list_tokens,
    open_workspace,
    revoke_token,
)
from ...identity.access import SCOPES, Action
from ...identity.sessions import SessionInfo
from ...identity.tokens import TokenInfo
from ...words import account as words
from ...words import common
from ..frame import page
from ..visit import Visit
from ..widgets import card, code, heading, note, primary, secondary
from .browsers import browser_name
from .notices import NoticeTargets
from .parts import Part, asked_first, field, line


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(
        app,
        "/settings",
        title=words.SETTINGS_TITLE,
        nav=common.SETTINGS,
        icon="settings",
        needs=Action.OWN_ACCOUNT,
    )
    async def show(visit: Visit) -> None:
        await _profile(visit)
        _password(visit)
        await NoticeTargets(visit).show()
        await _Sessions(visit).show()
        await _Tokens(visit).show()


async def _profile(visit: Visit) -> None:
    who = await get_session(visit.asked(Action.OWN_ACCOUNT))
    names = {one.id: one.name for one in who.workspaces}
    with card(words.PROFILE, term="role"):
        here = names.get(who.workspace_id, "")
        ui.label(words.SIGNED_IN_AS.format(name=who.name))
        ui.label(words.ROLE_HERE.format(role=words.ROLES[who.role], workspace=here))
        if who.is_server_admin:
            ui.label(words.SERVER_ADMIN).classes("gkt-soft")
        if len(names) > 1:

            async def switch(event: Any) -> None:
                asked = visit.asked(Action.OWN_ACCOUNT)
                await open_workspace(asked, OpenWorkspace(workspace_id=event.value))
                ui.navigate.to("/")

            select = ui.select(names, label=words.WORKSPACE, value=who.workspace_id)
            select.props("outlined dense").classes("w-64 max-w-full").mark("workspace")
            select.on_value_change(visit.tells(switch))


def _password(visit: Visit) -> None:
    with card(words.PASSWORD), ui.column().classes("gap-3"):
        fields = [
            field(label, password=True)
            for label in (words.PASSWORD_NOW, words.PASSWORD_NEW, words.PASSWORD_AGAIN)
        ]

        async def change() -> None:
            now, new, again = (one.value or "" for one in fields)
            if new != again:
                raise TuneError(words.PASSWORD_DIFFER, code="PASSWORDS_DIFFER")
            asked = visit.asked(Action.OWN_ACCOUNT)
            await change_password(asked, NewPassword(current=now or " ", new=new or " "))
            for one in fields:
                one.value = ""
            ui.notify(words.PASSWORD_CHANGED, type="positive")

        primary(words.PASSWORD_CHANGE, visit.tells(change)).mark("change-password")


class _Sessions:
    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._part = Part(visit, words.SESSIONS, words.SESSIONS_TEXT)

    async def show(self) -> None:
        await self._part.draw(self._build)

    async def _build(self) -> None:
        found = await list_sessions(self._visit.asked(Action.OWN_ACCOUNT))
        for one in found:
            self._line(one)
        if len(found) > 1:
            secondary(words.END_OTHERS, self._visit.tells(self._end_others)).mark("end-others")

    def _line(self, one: SessionInfo) -> None:
        reader = self._visit.reader
        title = browser_name(one.agent)
        if one.is_current:
            title = f"{title} ({words.SESSION_HERE})"
        when = reader.time(one.seen_at)
        detail = words.SESSION_DETAIL.format(address=one.address, when=when)
        buttons = () if one.is_current else ((words.END, self._end(one)),)
        line(title, detail, *buttons, tooltip=one.agent)

    def _end(self, one: SessionInfo) -> Any:
        async def do() -> None:
            await end_session(self._visit.asked(Action.OWN_ACCOUNT), one.public_id)
            ui.notify(words.ENDED)
            await self.show()

        return self._visit.tells(do)

    async def _end_others(self) -> None:
        asked = self._visit.asked(Action.OWN_ACCOUNT)
        await asked.identity.sessions.revoke_others(asked.principal)
        ui.notify(words.ENDED)
        await self.show()


class _Tokens:
    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._part = Part(visit, words.TOKENS, words.TOKENS_TEXT, term="token_api")
        with self._part.card, ui.row().classes("w-full items-end gap-3"):
            self._name = field(words.TOKEN_NAME)
            named = {scope: words.SCOPES[scope] for scope in SCOPES}
            self._scopes = ui.select(named, label=words.TOKEN_SCOPES, value=["read"], multiple=True)
            self._scopes.props("outlined dense use-chips").classes("w-64 max-w-full")
            self._days = ui.number(words.TOKEN_DAYS, value=30, min=1, max=366, precision=0)
            self._days.props("outlined dense").classes("w-40")
            primary(words.TOKEN_MAKE, visit.tells(self._make)).mark("make-token")

    async def show(self) -> None:
        await self._part.draw(self._build)

    async def _build(self) -> None:
        found = await list_tokens(self._visit.asked(Action.OWN_ACCOUNT))
        now = [one for one in found if one.revoked_at is None]
        if not now:
            ui.label(words.TOKENS_NONE).classes("gkt-soft")
        for one in now:
            self._line(one)

    def _line(self, one: TokenInfo) -> None:
        reader = self._visit.reader
        until = reader.time(one.expires_at)
        used = words.TOKEN_UNUSED
        if one.used_at is not None:
            used = words.TOKEN_USED.format(when=reader.time(one.used_at))
        detail = words.TOKEN_STATE.format(scopes=", ".join(one.scopes), until=until)

        async def revoke() -> None:
            await revoke_token(self._visit.asked(Action.OWN_ACCOUNT), one.id)
            await self.show()

        handler = asked_first(
            self._visit, words.REVOKE_TITLE, words.REVOKE_TEXT, yes=words.REVOKE, do=revoke
        )
        line(one.name, f"{detail}; {used}", (words.REVOKE, handler))

    async def _make(self) -> None:
        new = NewToken.model_construct(
            name=(self._name.value or "").strip()[:80],
            scopes=list(self._scopes.value or []),
            days=int(self._days.value or 0),
        )
        made = await create_token(self._visit.asked(Action.OWN_ACCOUNT), new)
        self._name.value = ""
        await self.show()
        with ui.dialog() as dialog, ui.card().classes("gkt-dialog"):
            heading(words.TOKENS, level=2)
            note(words.TOKEN_MADE, kind="warning")
            code(made.token)
            ui.button(common.CLOSE, on_click=dialog.close).props("flat no-caps").mark("close")
        dialog.on("hide", dialog.delete)
        dialog.open()

"""What administrators decide about: members, secrets, quotas, accounts, the server; the log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from nicegui import ui

from ...identity.access import Action, Principal
from ...store.tables import audit
from ...words import account as words
from ...words import common
from ..frame import page
from ..tables import Column, Line, PagedTable, Wanted
from ..visit import Visit
from ..widgets import card, secondary
from .people import Accounts, Invitations, Members
from .secrets import Quotas, Secrets
from .server import Backups, Storage

_COLUMNS = (
    Column(words.AUDIT_COLUMNS[0], sort="seq"),
    Column(words.AUDIT_COLUMNS[1], sort="action"),
    Column(words.AUDIT_COLUMNS[2], sort="actor"),
    Column(words.AUDIT_COLUMNS[3]),
    Column(words.AUDIT_COLUMNS[4]),
)


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(
        app,
        "/admin",
        title=words.ADMIN_TITLE,
        nav=common.ADMIN,
        icon="admin_panel_settings",
        needs=Action.VIEW_AUDIT,
        wide=True,
    )
    async def show(visit: Visit) -> None:
        await Members(visit).show()
        await Secrets(visit).show()
        await Quotas(visit).show()
        if visit.may(Action.MANAGE_USERS):
            await Accounts(visit).show()
            await Invitations(visit).show()
        if visit.may(Action.MANAGE_STORAGE):
            await Storage(visit).show()
        if visit.may(Action.MAKE_BACKUP):
            await Backups(visit).show()
        await _Audit(visit).show()


class _Audit:
    def __init__(self, visit: Visit) -> None:
        self._visit, self._names = visit, dict[str, str]()
        with card(words.AUDIT, term="audit"):
            with ui.row().classes("w-full items-end gap-3"):
                self._action = ui.input(words.AUDIT_ACTION).props(
                    "outlined dense clearable debounce=300"
                )
                self._action.on_value_change(visit.tells(self._filter)).classes("w-64 max-w-full")
                if visit.may(Action.VERIFY_AUDIT):
                    secondary(words.AUDIT_VERIFY, visit.tells(self._verify)).mark("verify")
            self._table = PagedTable(words.AUDIT, _COLUMNS, self._load, sort="-seq")

    async def show(self) -> None:
        await self._table.refresh()

    async def _filter(self) -> None:
        await self._table.refresh(first=True)

    async def _load(self, wanted: Wanted) -> tuple[Sequence[Line], int]:
        asked = await self._visit.asked_now(Action.VIEW_AUDIT)
        action = (self._action.value or "").strip()
        rows, total = await asked.rows.page(
            audit,
            sort=wanted.sort.removeprefix("-") or "seq",
            descending=wanted.sort.startswith("-") or not wanted.sort,
            filters={"action": action} if action else {},
            limit=wanted.limit,
            offset=wanted.offset,
        )
        await self._learn_names(asked.principal)
        return [self._line(row) for row in rows], total

    async def _learn_names(self, principal: Principal) -> None:
        found = await self._visit.parts.identity.members.members(principal)
        self._names |= {member.user_id: member.name for member in found}

    def _line(self, row: Any) -> Line:
        who = self._names.get(row["actor"], row["actor"])
        when = self._visit.reader.time(row["time"], seconds=True)
        return Line(str(row["seq"]), (when, row["action"], who, row["object"], row["address"]))

    async def _verify(self) -> None:
        asked = self._visit.asked(Action.VERIFY_AUDIT)
        verdict = await asked.identity.audit.verify()
        count = self._visit.reader.number(verdict.checked)
        if verdict.is_sound:
            ui.notify(words.AUDIT_SOUND.format(count=count), type="positive")
        else:
            why = f"{verdict.reason} ({verdict.seq})"
            ui.notify(words.AUDIT_BROKEN.format(why=why), type="negative", timeout=0,
                      close_button=common.CLOSE)  # fmt: skip

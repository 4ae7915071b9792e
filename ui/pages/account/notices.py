"""Where one is told that one's work has ended, failed or stands still."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from ...api.notices import NewTarget, add_target, delete_target, list_targets, try_target
from ...identity.access import Action
from ...notices.targets import Target
from ...store.tables import NOTICE_EVENTS
from ...words import notices as words
from ..visit import Visit
from ..widgets import primary
from .parts import Part, line


class NoticeTargets:
    """The list of places, and another one."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._part = Part(visit, words.TITLE, words.TEXT)
        kinds = visit.parts.notices.targets.kinds
        with self._part.card, ui.column().classes("w-full gap-2"):
            with ui.row().classes("w-full items-end gap-3"):
                named = {kind: words.KINDS[kind] for kind in kinds}
                self._kind = ui.select(named, label=words.KIND, value=kinds[0])
                self._kind.props("outlined dense").classes("w-64 max-w-full").mark("notice-kind")
                self._address = ui.input(words.ADDRESS).props("outlined dense")
                self._address.classes("w-96 max-w-full").mark("notice-address")
                self._events = ui.select(
                    words.EVENTS, label=words.WHEN, value=[*NOTICE_EVENTS], multiple=True
                )
                self._events.props("outlined dense use-chips").classes("w-80 max-w-full")
                primary(words.ADD, visit.tells(self._add)).mark("add-notice")
            self._help = ui.label().classes("gkt-note")
            if "email" not in kinds:
                ui.label(words.NO_MAIL).classes("gkt-note")
        self._kind.on_value_change(self._show_kind)
        self._show_kind()

    async def show(self) -> None:
        """Shows the places as they are now."""
        await self._part.draw(self._build)

    def _show_kind(self) -> None:
        kind = self._kind.value
        self._help.text = words.HELP.get(kind, "")
        self._address.set_visibility(kind != "browser")
        self._address.props["placeholder"] = words.ADDRESSES.get(kind, "")
        self._address.update()

    async def _build(self) -> None:
        found = await list_targets(self._visit.asked(Action.OWN_ACCOUNT))
        if not found:
            ui.label(words.NONE).classes("gkt-soft")
        for one in found:
            title = f"{words.KINDS[one.kind]}: {one.shown}" if one.shown else words.KINDS[one.kind]
            buttons = ((words.TRY, self._tries(one)), (words.DELETE, self._deletes(one)))
            line(title, self._detail(one), *buttons)

    def _detail(self, one: Target) -> str:
        parts = [", ".join(words.EVENTS[event] for event in one.events)]
        if one.sent_at is not None:
            parts.append(words.LAST_SENT.format(when=self._visit.reader.time(one.sent_at)))
        if one.problem:
            parts.append(words.LAST_FAILED.format(why=one.problem))
        return "; ".join(parts)

    async def _add(self) -> None:
        kind = self._kind.value
        new = NewTarget.model_construct(
            kind=kind,
            address="" if kind == "browser" else (self._address.value or "")[:2000],
            events=list(self._events.value or []),
        )
        await add_target(self._visit.asked(Action.OWN_ACCOUNT), new)
        self._address.value = ""
        await self.show()
        if kind == "browser":
            await self._visit.notices.ask()

    def _tries(self, one: Target) -> Any:
        async def do() -> None:
            await try_target(self._visit.asked(Action.OWN_ACCOUNT), one.id)
            ui.notify(words.TRIED, type="positive")

        return self._visit.tells(do)

    def _deletes(self, one: Target) -> Any:
        async def do() -> None:
            await delete_target(self._visit.asked(Action.OWN_ACCOUNT), one.id)
            await self.show()

        return self._visit.tells(do)

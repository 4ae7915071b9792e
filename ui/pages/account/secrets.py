"""Secrets and quotas of the workspace."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from ...api.members import NewQuota, QuotaView, list_quotas, put_quota
from ...identity.access import Action
from ...words import account as words
from ..visit import Visit
from ..widgets import primary
from .parts import Part, asked_first, field, line

_GIGABYTE = 10**9
_NAMES = (words.QUOTA_RUNNING, words.QUOTA_QUEUED, words.QUOTA_DISK)


class Secrets:
    """What jobs are handed; a value goes in and never comes out."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._part = Part(visit, words.SECRETS, words.SECRETS_TEXT)
        if visit.may(Action.PUT_SECRET):
            with self._part.card, ui.row().classes("w-full items-end gap-3"):
                self._name = field(words.SECRET_NAME)
                self._value = field(words.SECRET_VALUE, password=True)
                primary(words.SECRET_PUT, visit.tells(self._put)).mark("put-secret")

    async def show(self) -> None:
        """Shows their names."""
        await self._part.draw(self._build)

    async def _build(self) -> None:
        asked = self._visit.asked(Action.VIEW_SECRET_NAMES)
        found = await asked.identity.vault.names(asked.principal)
        if not found:
            ui.label(words.SECRETS_NONE).classes("gkt-soft")
        for one in found:
            when = self._visit.reader.time(one.changed_at)
            title = words.DELETE_SECRET_TITLE.format(name=one.name)
            delete = asked_first(
                self._visit, title, words.DELETE_SECRET_TEXT, yes=words.DELETE,
                do=self._deleter(one.name),
            )  # fmt: skip
            buttons = ((words.DELETE, delete),) if self._visit.may(Action.DELETE_SECRET) else ()
            line(one.name, words.SECRET_CHANGED.format(when=when), *buttons)

    async def _put(self) -> None:
        asked = self._visit.asked(Action.PUT_SECRET)
        name, value = (self._name.value or "").strip(), self._value.value or ""
        await asked.identity.vault.put(asked.principal, name, value)
        self._name.value = self._value.value = ""
        ui.notify(words.DONE, type="positive")
        await self.show()

    def _deleter(self, name: str) -> Any:
        async def delete() -> None:
            asked = self._visit.asked(Action.DELETE_SECRET)
            await asked.identity.vault.delete(asked.principal, name)
            await self.show()

        return delete


class Quotas:
    """What each member may use."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._part = Part(visit, words.QUOTAS, words.QUOTAS_TEXT, term="quota")

    async def show(self) -> None:
        """Shows what holds for everybody in the workspace."""
        await self._part.draw(self._build)

    async def _build(self) -> None:
        listed = await list_quotas(self._visit.asked(Action.VIEW_QUOTAS))
        all_of_us = next((one for one in listed if one.user_id is None), None)
        with ui.row().classes("items-end gap-3"):
            fields = [
                ui.number(label, value=value, min=0).props("outlined dense clearable")
                for label, value in zip(_NAMES, _values(all_of_us), strict=True)
            ]
            if not self._visit.may(Action.MANAGE_QUOTAS):
                for one in fields:
                    one.disable()
                return

            async def save() -> None:
                running, queued, disk = (one.value for one in fields)
                new = NewQuota(
                    running_jobs=None if running is None else int(running),
                    queued_jobs=None if queued is None else int(queued),
                    disk_bytes=None if disk is None else int(disk * _GIGABYTE),
                )
                await put_quota(self._visit.asked(Action.MANAGE_QUOTAS), new)
                ui.notify(words.DONE, type="positive")

            primary(words.SAVE, self._visit.tells(save)).mark("save-quota")


def _values(quota: QuotaView | None) -> tuple[float | None, float | None, float | None]:
    if quota is None:
        return None, None, None
    disk = None if quota.disk_bytes is None else quota.disk_bytes / _GIGABYTE
    return quota.running_jobs, quota.queued_jobs, disk

"""A button on a run at work: its owner is told in the browser when it ends."""

from __future__ import annotations

from nicegui import ui

from ...api.notices import NewTarget, add_target, list_targets
from ...identity.access import Action
from ...words import runs as words
from ..visit import Visit

_ENDS = ("done", "stopped", "failed", "died")


class TellMe:
    """The button; it isn't there for who is told already, nor for the runs of others.

    Args:
        visit: The open page.
        owner_id: Whose run it is; None: one of a terminal.
    """

    def __init__(self, visit: Visit, owner_id: str | None) -> None:
        self._visit = visit
        self._is_mine = owner_id == visit.principal.user_id
        self._is_told = True
        self._button = ui.button(
            words.NOTIFY, icon="notifications", on_click=visit.tells(self._ask)
        )
        self._button.props("flat no-caps color=primary").mark("notify")
        self._button.set_visibility(False)

    async def start(self) -> None:
        """Looks whether the reader is told somewhere."""
        if self._is_mine:
            self._is_told = bool(await list_targets(self._visit.asked(Action.OWN_ACCOUNT)))

    def show(self, state: str) -> None:
        """Puts it there or away, as the run's state asks."""
        self._button.set_visibility(not self._is_told and state not in _ENDS)

    async def _ask(self) -> None:
        answer = await self._visit.notices.ask()
        new = NewTarget(kind="browser")
        await add_target(self._visit.asked(Action.OWN_ACCOUNT), new)
        self._is_told = True
        self._button.set_visibility(False)
        ui.notify(words.NOTIFY_ON if answer == "granted" else words.NOTIFY_ON_PAGES)

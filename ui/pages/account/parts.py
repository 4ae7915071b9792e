"""What the parts of these pages have in common: a list that is drawn anew when it has changed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from nicegui import ui

from ...words import account as words
from ..visit import Visit
from ..widgets import card, confirm


class Part:
    """A framed part with a list.

    Args:
        visit: The open page.
        title: Its title.
        text: A line below it.
        term: What explains it.
    """

    def __init__(self, visit: Visit, title: str, text: str = "", *, term: str = "") -> None:
        self.visit = visit
        with card(title, term=term) as self.card:
            if text:
                ui.label(text).classes("gkt-soft max-w-prose")
            self.place = ui.column().classes("w-full gap-3")

    async def draw(self, build: Callable[[], Awaitable[None]]) -> None:
        """Draws the list anew."""
        self.place.clear()
        with self.place:
            await build()


def line(
    title: str, detail: str, *buttons: tuple[str, Callable[..., Any]], tooltip: str = ""
) -> None:
    """One thing of a list, with what can be done to it; a tooltip says more of its title."""
    with ui.row().classes("w-full items-center gap-3 gkt-line"):
        with ui.column().classes("gap-0 flex-1 min-w-0"):
            named = ui.label(title).classes("gkt-multiline")
            if tooltip:
                named.tooltip(tooltip)
            ui.label(detail).classes("gkt-note gkt-multiline")
        for name, do in buttons:
            button = ui.button(name, on_click=do).props("flat no-caps color=primary")
            button._props["aria-label"] = f"{name}: {title}"  # any sign may be in it


def asked_first(
    visit: Visit, title: str, text: str, *, yes: str, do: Callable[[], Awaitable[None]]
) -> Callable[..., Any]:
    """A handler that asks before it does what can't be taken back."""

    async def handle() -> None:
        if await confirm(title, text, yes=yes, destroys=True):
            await do()
            ui.notify(words.DONE, type="positive")

    return visit.tells(handle)


def field(label: str, *, password: bool = False) -> ui.input:
    """An input of these pages."""
    made = ui.input(label, password=password, password_toggle_button=password)
    return made.props("outlined dense").classes("w-64 max-w-full")

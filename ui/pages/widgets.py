"""What pages are built of: headings, cards, explained terms, empty states, questions, code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from nicegui import ui

from ..words import common
from ..words.glossary import TERMS
from .live_news import LiveText


def heading(text: str, *, level: int) -> ui.label:
    """A heading that screen readers find by its level."""
    return ui.label(text).classes(f"gkt-h{level}").props(f"role=heading aria-level={level}")


@contextmanager
def card(title: str = "", *, level: int = 2, term: str = "") -> Iterator[ui.column]:
    """A framed part of a page, with a title of its own."""
    with ui.column().classes("gkt-card") as column:
        if title:
            with ui.row().classes("items-center gap-1 no-wrap"):
                heading(title, level=level)
                if term:
                    explain(term)
        yield column


def explain(term: str) -> None:
    """A small button that says in plain words what a term of the trade means.

    Args:
        term: A key of `words.glossary.TERMS`.
    """
    found = TERMS[term]
    label = common.EXPLAIN.format(term=found.name)
    with ui.button(icon="help_outline").props(
        f'flat round dense size=sm aria-label="{label}"'
    ) as b:
        b.classes("gkt-explain").mark(f"explain-{term}")
        with ui.menu().props("max-width=20rem"), ui.column().classes("gap-2 p-4 max-w-xs"):
            ui.label(found.name).classes("font-semibold")
            ui.label(found.plain)
            ui.link(common.READ_MORE, f"/help#{term}")


def labelled(text: str, *, term: str = "") -> None:
    """A name for what stands below it, with its explanation."""
    with ui.row().classes("items-center gap-1 no-wrap min-h-6"):
        ui.label(text).classes("gkt-label")
        if term:
            explain(term)


class Figure:
    """A figure that matters, with its name and, where it helps, a line below it.

    Args:
        name: What it is.
        value: The figure as text.
        note: A line below it.
        term: What explains its name.
        text: What shows its texts.
    """

    def __init__(
        self,
        name: str,
        value: str = common.NONE,
        note: str = "",
        *,
        term: str = "",
        text: Callable[[str], ui.label | LiveText] = ui.label,
    ) -> None:
        with ui.column().classes("gkt-figure"):
            labelled(name, term=term)
            self._value = text(value).classes("gkt-figure-value")
            self._note = text(note).classes("gkt-note")
            self._note.set_visibility(bool(note))

    def show(self, value: str, note: str = "") -> None:
        """Puts in another figure."""
        if self._value.text != value:
            self._value.text = value
        if self._note.text != note:
            self._note.text = note
            self._note.set_visibility(bool(note))


def empty_state(icon: str, title: str, text: str) -> ui.column:
    """What stands where there is nothing yet: what it is, and what to do. Buttons go into it."""
    with ui.column().classes("gkt-empty") as column:
        ui.icon(icon, size="2.5rem").classes("gkt-soft").props("aria-hidden=true")
        ui.label(title).classes("font-semibold")
        if text:
            ui.label(text).classes("gkt-soft text-center max-w-prose")
    return column


def note(text: str, *, kind: str = "info") -> ui.row:
    """A remark: `info`, `warning`, `bad` or `good`; its icon says so too, not only its colour."""
    icons = {"info": "info", "warning": "warning", "bad": "error", "good": "check_circle"}
    with (
        ui.row()
        .classes(f"gkt-remark gkt-{kind}")
        .props(f"role={'alert' if kind == 'bad' else 'note'}") as row
    ):
        ui.icon(icons[kind], size="1.25rem").props("aria-hidden=true")
        ui.label(text).classes("gkt-multiline flex-1")
    return row


def show_share(bar: ui.linear_progress, share: float | None) -> None:
    """Makes a bar as long as a share, between 0 and 1; None, which nobody knows, lets it move."""
    bar.value = share or 0.0
    if share is None:
        bar.props("indeterminate")
    else:
        bar.props(remove="indeterminate")


def code(text: str) -> None:
    """A command or a text to copy, with the button that does it."""
    with ui.row().classes("gkt-code no-wrap items-start"):
        ui.label(text).classes("gkt-code-text flex-1").mark("code")

        def copy() -> None:
            ui.clipboard.write(text)
            ui.notify(common.COPIED, type="positive")

        ui.button(icon="content_copy", on_click=copy).props(
            f'flat round dense size=sm aria-label="{common.COPY}"'
        )


def primary(text: str, do: Callable[..., Any] | None = None, *, icon: str = "") -> ui.button:
    """The one button of a page or part that leads on."""
    return ui.button(text, icon=icon or None, on_click=do).props("unelevated no-caps color=primary")


def secondary(text: str, do: Callable[..., Any] | None = None, *, icon: str = "") -> ui.button:
    """Any other button."""
    return ui.button(text, icon=icon or None, on_click=do).props("outline no-caps color=primary")


def link_button(text: str, target: str, *, icon: str = "") -> ui.button:
    """A button that is a link: it opens in a new tab when somebody asks for that."""
    button = ui.button(text, icon=icon or None).props("unelevated no-caps color=primary")
    return button.props(f'href="{target}"')


async def confirm(title: str, text: str, *, yes: str, destroys: bool = False) -> bool:
    """Whether somebody said yes to a question; Escape and a click beside it mean no."""
    with (
        ui.dialog() as dialog,
        ui.card().classes("gkt-dialog").props(f'role=alertdialog aria-label="{title}"'),
    ):
        dialog.props["aria-label"] = title
        heading(title, level=2)
        ui.label(text).classes("gkt-multiline")
        with ui.row().classes("w-full justify-end gap-2"):
            ui.button(common.CANCEL, on_click=lambda: dialog.submit(False)).props(
                "flat no-caps autofocus"
            )
            button = ui.button(yes, on_click=lambda: dialog.submit(True)).mark("confirm")
            button.props(f"unelevated no-caps color={'negative' if destroys else 'primary'}")
    answer = await dialog
    dialog.delete()
    return bool(answer)

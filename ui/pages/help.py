"""How to come to a model of one's own, and the glossary that all explanations lead to."""

from __future__ import annotations

from fastapi import FastAPI
from nicegui import ui

from ..words import common
from ..words import help as words
from ..words.glossary import TERMS
from .frame import page
from .visit import Visit
from .widgets import card, code, heading


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(app, "/help", title=words.TITLE, nav=common.HELP, icon="help_outline")
    def show(visit: Visit) -> None:
        _how_to()
        _others()
        _glossary()


def _how_to() -> None:
    with card(words.HOW_TO), ui.element("ol").classes("gkt-steps"):
        for title, text, name, path in words.STEPS:
            with ui.element("li"):
                ui.label(title).classes("font-semibold")
                ui.label(text).classes("max-w-prose")
                ui.link(words.GO_TO.format(page=name), path).mark("step")


def _others() -> None:
    with card(words.OTHERS) as part:
        part.props("id=others")
        ui.label(words.OTHERS_TEXT).classes("max-w-prose")
        code(words.OTHERS_FILE)
        ui.label(words.OTHERS_MORE).classes("max-w-prose")


def _glossary() -> None:
    heading(words.TERMS, level=2)
    with ui.column().classes("gkt-card gap-6"):
        for key, term in sorted(TERMS.items(), key=lambda item: item[1].name.lower()):
            with ui.column().classes("gap-1").props(f"id={key}"):
                heading(term.name, level=3)
                ui.label(term.plain).classes("max-w-prose")

"""The glossary: where the explanations on the other pages lead."""

from __future__ import annotations

from fastapi import FastAPI
from nicegui import ui

from ..words import common
from ..words import help as words
from ..words.glossary import TERMS
from .frame import page
from .visit import Visit
from .widgets import heading


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(app, "/help", title=words.TITLE, nav=common.HELP, icon="help_outline")
    def show(visit: Visit) -> None:
        ui.label(words.LEAD).classes("gkt-soft")
        with ui.column().classes("gkt-card gap-6"):
            for key, term in sorted(TERMS.items(), key=lambda item: item[1].name.lower()):
                with ui.column().classes("gap-1").props(f"id={key}"):
                    heading(term.name, level=2).classes(remove="gkt-h2", add="gkt-h3")
                    ui.label(term.plain).classes("max-w-prose")

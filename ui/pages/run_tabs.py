"""What stands above every page of one run: its name, how it stands, and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui

from ..words import common
from ..words import runs as words
from .states import StateChip
from .visit import Visit

_PARTS = (
    ("", words.LIVE, "show_chart"),
    ("/result", words.RESULT, "fact_check"),
    ("/playground", words.PLAYGROUND, "forum"),
    ("/table", words.TABLE, "table_chart"),
    ("/export", words.EXPORT, "download"),
)


def run_tabs(visit: Visit, row: Mapping[Any, Any], *, at: str) -> StateChip:
    """The chip of the run's state, below its name and above the links to its parts.

    Args:
        visit: The open page.
        row: The run's row.
        at: Which part the page is: "" (the run as it works), "/result", "/playground", "/table" or
            "/export".
    """
    visit.title.text = row["name"]
    ui.page_title(f"{row['name']} - {common.PRODUCT}")
    with ui.row().classes("items-center gap-3"):
        chip = StateChip(row["state"])
        for tag in row["tags"]:
            ui.link(tag, runs_with(tag)).classes("gkt-chip")
    with ui.element("nav").classes("gkt-tabs").props(f'aria-label="{words.PARTS}"'):
        for path, name, icon in _PARTS:
            link = ui.link(target=f"/runs/{row['id']}{path}")
            link.classes("gkt-tab" + (" gkt-here" if path == at else ""))
            with link:
                ui.icon(icon, size="1.125rem").props("aria-hidden=true")
                ui.label(name)
            if path == at:
                link.props("aria-current=page")
    return chip


def runs_with(tag: str) -> str:
    """The address of the list of runs that have a tag."""
    return f"/runs?tag={quote(tag, safe='')}"

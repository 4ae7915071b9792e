"""What stands on a page while a job finds something out."""

from __future__ import annotations

from nicegui import ui


def waiting(text: str) -> None:
    """A quiet sign that something is being found out."""
    with ui.row().classes("items-center gap-2 p-4").props("role=status"):
        ui.spinner(size="1.25rem").props("aria-hidden=true")
        ui.label(text).classes("gkt-soft")

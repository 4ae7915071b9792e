"""How jobs and runs stand, in a word and a colour."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nicegui import ui

from ..words import home as words
from .tables import Chip, Tone

TONES: Mapping[str, Tone] = MappingProxyType(
    {
        "running": "busy",
        "done": "good",
        "failed": "bad",
        "quarantined": "bad",
        "died": "bad",
        "missing": "bad",
        "stopped": "warning",
        "paused": "warning",
        "suspect": "warning",
    }
)


def state_chip(state: str, code: str | None = None) -> Chip:
    """A cell of a table that says how a job or run stands."""
    text = words.STATES.get(state, state)
    return Chip(f"{text} ({code})" if code else text, TONES.get(state, "plain"))


class StateChip:
    """The same on a page, changed in place.

    Args:
        state: The state to begin with.
    """

    def __init__(self, state: str) -> None:
        self._label, self._state = ui.label().classes("gkt-chip").mark("state"), ""
        self.show(state)

    def show(self, state: str) -> None:
        """Says another state."""
        if state == self._state:
            return
        old, new = TONES.get(self._state, "plain"), TONES.get(state, "plain")
        self._label.classes(add=f"gkt-{new}", remove=f"gkt-{old}" if old != new else None)
        self._state, self._label.text = state, words.STATES.get(state, state)

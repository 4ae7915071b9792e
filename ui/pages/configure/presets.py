"""What one click sets: how long a run learns, and how much memory it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from ...words import common
from ...words import configure as words
from ..widgets import card, secondary
from .draft import Draft
from .fields import label_of

_LIMITS = {"train.max_steps": None, "train.patience": None}
PRESETS: Mapping[str, Mapping[str, dict[str, Any]]] = {
    "effort": {
        "quick": {**_LIMITS, "train.max_steps": 10, "train.epochs": 10,
                  "train.learning_rate": 2e-4, "model.lora.rank": 8, "evaluate.samples": 3},
        "balanced": {**_LIMITS, "train.epochs": 2,
                     "train.learning_rate": 2e-4, "model.lora.rank": 8, "evaluate.samples": 5},
        "thorough": {**_LIMITS, "train.patience": 3, "train.epochs": 5,
                     "train.learning_rate": 1e-4, "model.lora.rank": 16, "evaluate.samples": 5},
    },
    "memory": {
        "usual": {"train.micro_batch_tokens": 1024, "train.remat": "dots", "train.loss_chunk": 128},
        "little": {"train.micro_batch_tokens": 256, "train.remat": "full", "train.loss_chunk": 32},
    },
}  # fmt: skip
"""What each click changes; those of a group set the same settings, so one takes another's place."""


class Presets:
    """The groups of buttons; the one whose settings are chosen now is marked.

    Args:
        draft: What they change.
    """

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._buttons: dict[tuple[str, str], ui.button] = {}
        with card(words.PRESETS):
            ui.label(words.PRESET_TEXT).classes("gkt-soft")
            for group, presets in PRESETS.items():
                title = words.PRESET_GROUPS[group]
                ui.label(title).classes("gkt-label")
                part = ui.element("div").classes("gkt-thirds")
                with part.props(f'role=group aria-label="{title}"'):
                    for key in presets:
                        self._add(group, key)
        self.show()

    def _add(self, group: str, key: str) -> None:
        name, text = words.PRESET_NAMES[key]
        with ui.column().classes("gap-1"):
            button = secondary(name, lambda: self._choose(group, key)).mark(f"preset-{key}")
            ui.label(text).classes("gkt-note")
        self._buttons[group, key] = button

    def show(self) -> None:
        """Marks what the draft says now."""
        for (group, key), button in self._buttons.items():
            chosen = all(self._draft.get(n) == v for n, v in PRESETS[group][key].items())
            button.props(f"aria-pressed={str(chosen).lower()}")
            button.props(
                add="unelevated icon=check" if chosen else "outline",
                remove="outline" if chosen else "unelevated icon",
            )

    def _choose(self, group: str, key: str) -> None:
        changes = {n: v for n, v in PRESETS[group][key].items() if self._draft.get(n) != v}
        said = [f"{label_of(n)}: {common.NONE if v is None else v}" for n, v in changes.items()]
        self._draft.update(changes)
        ui.notify(
            words.PRESET_SET.format(
                name=words.PRESET_NAMES[key][0],
                changes=", ".join(said) or words.PRESET_NOTHING,
            ),
            multi_line=True,
        )

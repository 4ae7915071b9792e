"""What one click sets: how long a run learns, and how much memory it takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from gemma_keras_tune.recipe_files import parse_assignments

from ...words import configure as words
from ..widgets import card, note, secondary
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

    What was raised for a small table is told below them, and a preset stays chosen with it.

    Args:
        draft: What they change.
    """

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._buttons: dict[tuple[str, str], ui.button] = {}
        self._set: dict[str, ui.label] = {}
        self._clicked: dict[str, tuple[str, list[str]]] = {}
        with card(words.PRESETS):
            ui.label(words.PRESET_TEXT).classes("gkt-soft")
            for group, presets in PRESETS.items():
                title = words.PRESET_GROUPS[group]
                ui.label(title).classes("gkt-label")
                part = ui.element("div").classes("gkt-thirds")
                with part.props(f'role=group aria-label="{title}"'):
                    for key in presets:
                        self._add(group, key)
                self._set[group] = ui.label().classes("gkt-note").props("role=status")
                self._set[group].mark(f"set-{group}")
                if group == "effort":
                    self._more = ui.column().classes("w-full")
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
            chosen = self._is_chosen(group, key)
            button.props(f"aria-pressed={str(chosen).lower()}")
            button.props(
                add="unelevated icon=check" if chosen else "outline",
                remove="outline" if chosen else "unelevated icon",
            )
        for group, label in self._set.items():
            label.text = self._set_by_click(group)
            label.set_visibility(bool(label.text))
        if not self._draft.raised:
            self._more.clear()

    def _set_by_click(self, group: str) -> str:
        """What the fields have by the last click, as long as its preset is the chosen one."""
        key, changed = self._clicked.get(group, ("", []))
        if not key or not self._is_chosen(group, key):
            return ""
        raised = self._draft.raised if group == "effort" else ()
        said = [
            words.PRESET_ONE.format(setting=label_of(name), value=_value(self._draft.get(name)))
            for name in dict.fromkeys((*changed, *raised))
        ]
        name = words.PRESET_NAMES[key][0]
        return words.PRESET_SET.format(name=name, changes=", ".join(said) or words.PRESET_NOTHING)

    def take_more(self, few: Mapping[str, Any] | None) -> bool:
        """Whether settings were raised, as a plan says that a table is too small for a preset's.

        Args:
            few: What the plan says about too few steps.
        """
        is_usual = any(self._is_chosen("effort", key) for key in PRESETS["effort"])
        if few is None or not few["set"] or not self._draft.kept.may_raise or not is_usual:
            return False
        self._draft.take_more(parse_assignments(few["set"].split()))
        return True

    def tell_steps(self, steps: str) -> None:
        """Says what was raised, and how many steps that makes."""
        self._more.clear()
        if raised := self._draft.raised:
            text = words.RAISED.format(changes=raised_in_words(raised), steps=steps)
            with self._more, note(text).classes("gkt-asks").mark("raised"):
                button = secondary(words.TAKE_BACK, self._draft.take_back, icon="undo")
                button.props("dense padding='4px 12px'").mark("take-back")
                with ui.expansion(words.RAISED_DETAILS).classes("w-full gkt-expansion"):
                    for key, (before, after) in raised.items():
                        ui.label(
                            words.RAISED_ONE.format(
                                setting=label_of(key), before=before, after=after
                            )
                        ).classes("gkt-note")

    def _is_chosen(self, group: str, key: str) -> bool:
        return all(self._draft.usual(n) == v for n, v in PRESETS[group][key].items())

    def _choose(self, group: str, key: str) -> None:
        preset = PRESETS[group][key]
        changed = [name for name, value in preset.items() if self._draft.usual(name) != value]
        self._clicked[group] = key, changed
        if changed:
            self._draft.choose(preset)
        else:
            self.show()


def _value(value: Any) -> str:
    return words.NO_VALUE if value is None else str(value)


def raised_in_words(raised: Mapping[str, tuple[Any, Any]]) -> str:
    """What the model does otherwise with what was raised, in plain words."""
    told = [
        words.RAISED_HOW[key].format(before=before, after=after)
        for key, (before, after) in raised.items()
    ]
    return words.AND.join(dict.fromkeys(told))

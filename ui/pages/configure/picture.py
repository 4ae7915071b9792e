"""A picture of the model, in which what is trained is coloured."""

from __future__ import annotations

from collections.abc import Sequence

from nicegui import ui

from gemma_keras_tune.recipe import LORA_TARGETS

from ...words import configure as words

_GROUPS = (
    (words.ATTENTION, ("q_proj", "k_proj", "v_proj", "o_proj")),
    (words.FEED_FORWARD, ("gate_proj", "up_proj", "down_proj")),
)


class Picture:
    """The picture, changed in place."""

    def __init__(self) -> None:
        self._parts: dict[str, ui.label] = {}
        self._trained: set[str] | None = None
        with ui.column().classes("w-full gap-2 items-center").props("role=img") as self._whole:
            ui.label(words.EMBEDDING).classes("gkt-part")
            with ui.column().classes("gkt-layer"):
                self._title = ui.label(words.LAYER).classes("gkt-label")
                with ui.element("div").classes("gkt-halves"):
                    for name, parts in _GROUPS:
                        with ui.column().classes("gap-1 min-w-0"):
                            ui.label(name).classes("gkt-note")
                            with ui.row().classes("gap-1"):
                                for part in parts:
                                    self._parts[part] = ui.label(part).classes("gkt-part")
            ui.label(words.OUTPUT).classes("gkt-part")
        with ui.row().classes("gap-3"):
            ui.label(words.TRAINED).classes("gkt-part gkt-trained")
            ui.label(words.FROZEN).classes("gkt-part")

    def show(self, targets: Sequence[str], layers: int | None) -> None:
        """Colours the targets.

        Args:
            targets: Names of projections, or `all-linear`.
            layers: How many layers the model has, if that is known.
        """
        trained = set(LORA_TARGETS) if "all-linear" in targets else set(targets)
        title = words.LAYER if layers is None else words.LAYERS.format(count=layers)
        if self._title.text != title:
            self._title.text = title
        if trained == self._trained:
            return
        self._trained = trained
        for name, part in self._parts.items():
            if name in trained:
                part.classes(add="gkt-trained")
            else:
                part.classes(remove="gkt-trained")
        label = words.PICTURE_LABEL.format(targets=", ".join(sorted(trained)))
        self._whole.props(f'aria-label="{label}"')

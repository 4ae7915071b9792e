"""The models that a run can start from, each with what decides about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
from nicegui import ui

from gemma_keras_tune.catalogue import DEMO, GEMMA_TERMS_URL, ModelEntry, catalogue, is_here

from ...words import configure as words
from ..visit import Visit

_BYTES_A_PARAMETER = 4  # float32, as on a processor
_FIRST = (DEMO, "gemma3_instruct_270m", "gemma3_instruct_1b", "gemma3_instruct_4b_text")


class Models:
    """The cards, of which one is chosen.

    Args:
        visit: The open page.
        chosen: The preset that is chosen.
        choose: Called with another one.
    """

    def __init__(self, visit: Visit, chosen: str, choose: Callable[[str], Any]) -> None:
        self._visit, self._choose, self._chosen = visit, choose, ""
        self._memory = psutil.virtual_memory().total
        self._cards: dict[str, tuple[ui.column, ui.button]] = {}
        known = {entry.name: entry for entry in catalogue()}
        first = sorted(_FIRST, key=lambda name: not is_here(name))
        with ui.element("div").classes("gkt-grid"):
            for name in first:
                self._card(known[name], is_best=name == first[0] and is_here(name))
        with ui.expansion(words.MORE_MODELS).classes("w-full"):
            with ui.element("div").classes("gkt-grid"):
                for name, entry in known.items():
                    if name not in _FIRST:
                        self._card(entry)
            self._other = ui.input(words.OTHER_MODEL, on_change=self._typed)
            self._other.props("outlined dense debounce=500").classes("w-full mt-4").mark(
                "other-model"
            )
        self.show(chosen)

    def show(self, chosen: str) -> None:
        """Marks the card of the chosen preset."""
        self._chosen = chosen
        for name, (card, button) in self._cards.items():
            is_chosen = name == chosen
            card.classes(add="gkt-chosen" if is_chosen else "", remove="gkt-chosen")
            if is_chosen:
                card.classes(add="gkt-chosen")
            button.text = words.CHOSEN if is_chosen else words.CHOOSE
            button.set_enabled(not is_chosen)
        other = "" if chosen in self._cards else chosen
        if self._other.value != other:
            self._other.value = other

    def _typed(self, event: Any) -> None:
        name = (event.value or "").strip()
        if name and name != self._chosen:
            self._choose(name)

    def _card(self, entry: ModelEntry, *, is_best: bool = False) -> None:
        reader = self._visit.reader
        fits = entry.parameters * _BYTES_A_PARAMETER < self._memory
        with ui.column().classes("gkt-card gap-1") as card:
            with ui.row().classes("w-full items-center justify-between gap-2"):
                _name(entry.name)
                if is_best:
                    ui.label(words.RECOMMENDED).classes("gkt-chip gkt-busy").mark("recommended")
            if entry.name == DEMO:
                ui.label(words.DEMO_IS)
            size = words.PARAMETERS.format(count=_short(entry.parameters, self._visit))
            ui.label(f"{size}, {words.CONTEXT.format(count=reader.number(entry.context))}")
            kind = words.INSTRUCT if entry.instruct else words.PRETRAINED
            ui.label(kind).classes("gkt-soft")
            ui.label(_where(entry)).classes("gkt-soft")
            with ui.row().classes("gap-2 items-center"):
                room = words.FITS if fits else words.TOO_LARGE
                ui.label(room).classes(f"gkt-chip gkt-{'good' if fits else 'warning'}")
                if entry.licence == "gemma":
                    ui.link(words.GEMMA_TERMS, GEMMA_TERMS_URL, new_tab=True).classes("gkt-note")
                else:
                    ui.label(entry.licence).classes("gkt-note")
            button = ui.button(on_click=lambda: self._choose(entry.name))
            button.props(f'outline no-caps color=primary aria-label="{entry.name}"')
            button.mark(f"model-{entry.name}")
        self._cards[entry.name] = card, button


def _name(name: str) -> None:
    """A heading that breaks after its underscores."""
    whole = ui.element("div").classes("gkt-h3").props("role=heading aria-level=3")
    whole.props["aria-label"] = name
    with whole:
        for part in name.replace("_", "_ ").split():
            ui.label(part).classes("inline-block")


def _where(entry: ModelEntry) -> str:
    """Whether the model is here, or how it comes here."""
    if is_here(entry.name):
        return words.IS_HERE
    if not entry.handle:
        return words.NOT_INSTALLED
    return words.NEEDS_ACCOUNT if entry.needs_account else words.FETCHED


def _short(count: int, visit: Visit) -> str:
    """A number of parameters in millions or billions."""
    if count >= 950_000_000:
        return f"{visit.reader.number(count / 1e9, digits=1)} B"
    return f"{visit.reader.number(count / 1e6)} M"

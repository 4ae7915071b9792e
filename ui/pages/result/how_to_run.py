"""How to use an export: code with real names in it, asking as the run was trained."""

from __future__ import annotations

import json

from nicegui import ui

from gemma_keras_tune.recipe import DataRecipe
from gemma_keras_tune.text.as_trained import turns_as_trained

from ...api.artifacts import ArtifactView
from ...words import export as words
from ..widgets import code


def show_how_to_run(one: ArtifactView, data: DataRecipe | None) -> None:
    """Puts in the steps.

    Args:
        one: The export.
        data: What the run was trained on; None if its recipe can't be read.
    """
    ui.label(words.UNPACK).classes("gkt-soft mb-2 max-w-prose")
    code(words.INSTALL[one.format])
    base = one.base_on_hub or words.BASE_FOLDER
    if one.format == "peft" and one.base_on_hub is None:
        name = one.base_model or words.BASE_UNKNOWN
        ui.label(words.NEEDS_BASE.format(name=name)).classes("gkt-soft my-2 max-w-prose")
        code(words.MAKE_BASE.format(name=name))
    ui.label(words.THEN).classes("gkt-soft my-2")
    code(words.CODE[one.format].format(folder=one.format, base=base, messages=_messages(data)))
    ui.label(words.OWN_TEXT).classes("gkt-note mt-2 max-w-prose")


def _messages(data: DataRecipe | None) -> str:
    """A conversation as Python writes it, with a place for the reader's own text."""
    turns = [] if data is None else turns_as_trained(data, words.YOUR_TEXT)
    said = [{"role": turn.role, "content": turn.text} for turn in turns]
    return json.dumps(said or [{"role": "user", "content": words.YOUR_TEXT}], ensure_ascii=False)

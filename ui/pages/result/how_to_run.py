"""How to use an export: code with real names in it, asking as the run was trained."""

from __future__ import annotations

from nicegui import ui

from gemma_keras_tune.recipe import ASKED_PART, DataRecipe
from gemma_keras_tune.text.as_trained import turns_as_trained
from gemma_keras_tune.text.how_to_ask import INSTALL, YOUR_TEXT, asking_code, make_base

from ...api.artifacts import ArtifactView
from ...words import export as words
from ..widgets import code, link_button


def show_how_to_run(one: ArtifactView, data: DataRecipe | None, *, table: str) -> None:
    """Puts in the steps, and before them the way that needs none.

    Args:
        one: The export.
        data: What the run was trained on; None if its recipe can't be read.
        table: Where the page is on which the run answers a table.
    """
    if data is not None and data.task in ASKED_PART:
        ui.label(words.NO_CODE).classes("max-w-prose")
        button = link_button(words.USE_TABLE, table, icon="table_chart")
        button.props("outline").classes("my-2")
    ui.label(words.UNPACK).classes("gkt-soft mb-2 max-w-prose")
    code(INSTALL[one.format])
    if one.format == "peft" and one.base_on_hub is None:
        name = one.base_model or words.BASE_UNKNOWN
        ui.label(words.NEEDS_BASE.format(name=name)).classes("gkt-soft my-2 max-w-prose")
        code(make_base(name))
    ui.label(words.THEN).classes("gkt-soft my-2")
    turns = [] if data is None else turns_as_trained(data, YOUR_TEXT)
    text = asking_code(
        one.format, turns, folder=one.format, base=one.base_on_hub, stop_ids=one.stop_ids
    )
    code(text)
    ui.label(words.OWN_TEXT.format(place=YOUR_TEXT)).classes("gkt-note mt-2 max-w-prose")

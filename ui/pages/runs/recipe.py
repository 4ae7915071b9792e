"""The settings of a run, to read, to copy, and to begin another one with."""

from __future__ import annotations

import json
from urllib.parse import quote

from nicegui import ui

from gemma_keras_tune.recipe import Recipe
from gemma_keras_tune.recipe_files import parse_recipe
from gemma_keras_tune.run_folder import RunFolder

from ...api.naming import Shown
from ...identity.access import Action
from ...words import runs as words
from ..visit import Visit
from ..widgets import card, code, link_button


def show_recipe(visit: Visit, folder: RunFolder, recipe: Recipe | None) -> None:
    """The tab: the recipe with names for files, its files, and the way to another run.

    Args:
        visit: The open page.
        folder: The run's folder.
        recipe: Its recipe; None if there is none, or it can't be read.
    """
    with card(words.RECIPE, term="recipe"):
        if recipe is None:
            ui.label(words.NO_RECIPE).classes("gkt-soft")
            return
        ui.label(words.RECIPE_TEXT).classes("gkt-soft max-w-prose")
        named = Shown(visit.parts.settings.root).value(json.loads(recipe.to_json()))
        code(parse_recipe(named, where=folder.id).to_toml())
        if folder.recipe_json.is_file():  # not before it has begun
            ui.label(words.RECIPE_COMMAND_TEXT).classes("gkt-soft max-w-prose")
            code(words.RECIPE_COMMAND.format(run=folder.id))
        if visit.may(Action.SUBMIT_TRAIN):
            again = link_button(words.ANOTHER, f"/configure?run={quote(folder.id)}", icon="tune")
            again.props("outline")
        if visit.may(Action.DOWNLOAD):
            files = {folder.recipe_json: words.RECIPE_FILE, folder.lineage_json: words.LINEAGE_FILE}
            for path, text in files.items():
                if path.is_file():
                    ui.link(text, f"/api/v1/runs/{folder.id}/files/{path.name}").props("download")

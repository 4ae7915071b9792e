"""Looking without training: the data's health, its tokens, and the doctor's checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError
from ..recipe import ModelRecipe, Recipe
from ..run_folder import RunFolder
from . import reports, screen, sources, tokens

if TYPE_CHECKING:
    from ..text.template import Template


@dataclass(frozen=True)
class Wish:
    """Which data to look at.

    Attributes:
        source: A data file or a recipe.
        settings: Overrides by dotted key.
        task: Of a data file.
        columns: Column by part of the task, for a data file.
        model: Whose tokens; None for the recipe's model.
    """

    source: str
    settings: Mapping[str, Any]
    task: str | None
    columns: Mapping[str, str]
    model: str | None

    def recipe(self) -> Recipe:
        """The recipe that is meant, its preset replaced by `model`.

        Raises:
            TuneError: As `sources.named_recipe`.
        """
        settings = dict(self.settings)
        if self.model is not None:
            settings["model.preset"] = self.model
        return sources.named_recipe(self.source, settings, task=self.task, columns=self.columns)


def check(wish: Wish, *, json_output: bool) -> bool:
    """Whether the data has no error, after the report was shown.

    Raises:
        RecipeError: If the recipe can't be used.
        ModelError: If the model can't be looked at.
    """
    from ..data.check import DataReport, check_data

    try:
        recipe = wish.recipe()
    except DataError as error:
        if not error.findings:
            raise
        report = DataReport(rows=0, score=0, findings=error.findings)
    else:
        measured = wish.model is not None or (
            not sources.is_data_file(wish.source) and sources.is_local(recipe.model.preset)
        )
        template = _template(recipe.model) if measured else None
        report = check_data(recipe.data, template=template)
    if json_output:
        screen.print_json(report.to_json())
    else:
        reports.show_data(screen.out(), report)
        if report.tokens is None and report.rows:
            screen.say(screen.err(), "For lengths in tokens name a model, such as --model demo.")
    return report.usable


def preview(wish: Wish, *, rows: int, json_output: bool) -> None:
    """The first rows token by token.

    Raises:
        TuneError: If the data or the model can't be read.
    """
    from ..data.preview import preview_data

    recipe = wish.recipe()
    shown = preview_data(recipe.data, _template(recipe.model), rows=rows)
    if json_output:
        screen.print_json({"rows": [asdict(row) for row in shown]})
    else:
        tokens.show_rows(screen.out(), shown)


def examine(name: str | None, *, root: Path, json_output: bool) -> bool:
    """Whether no check of the doctor's failed, after all were shown.

    Raises:
        TuneError: If the run or model can't be found or read.
    """
    from ..doctor import check_machine
    from ..doctor_model import check_model
    from ..doctor_run import check_run
    from ..model.load import describe_model
    from ..recipe_files import load_recipe

    checks = check_machine()
    if name is not None:
        found = sources.named_model(name, root)
        if isinstance(found, RunFolder):
            recipe = load_recipe(found.recipe_json)
            checks += check_run(found, recipe, describe_model(recipe.model))
        else:
            checks += check_model(describe_model(ModelRecipe(preset=found.preset)))
    healthy = all(item.status != "fail" for item in checks)
    if json_output:
        screen.print_json({"ok": healthy, "checks": [item.to_json() for item in checks]})
    else:
        reports.show_checks(screen.out(), checks)
    return healthy


def _template(recipe: ModelRecipe) -> Template:
    from ..model.load import describe_model  # loads JAX, which reading a table doesn't need

    return describe_model(recipe).template

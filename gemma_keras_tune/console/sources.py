"""What a person names on the command line: recipes, data files, runs and models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import RecipeError, TuneError
from ..recipe import ModelRecipe, Recipe
from ..recipe_files import load_recipe, shipped_recipes
from ..run_folder import RunFolder, find_run
from . import screen

_DATA_SUFFIXES = {".csv", ".tsv", ".txt", ".jsonl", ".ndjson"}
_LARGEST_RECIPE = 1_000_000  # bytes; a larger .json is data


def named_recipe(
    source: str,
    overrides: Mapping[str, Any],
    *,
    task: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Recipe:
    """The recipe that is meant: one that ships, a recipe file, or the defaults for a data file.

    Args:
        source: A recipe's name or file, or a data file.
        overrides: Values by dotted key, as for `load_recipe`.
        task: Of a data file, where its columns don't tell.
        columns: Column by part of the task, for a data file.

    Raises:
        RecipeError: If it doesn't exist, or settings are wrong.
        DataError: If a data file can't be read, or its columns fit no task.
    """
    if not is_data_file(source):
        if task or columns:
            raise RecipeError(
                "--task and the columns are for data files; a recipe has its own. Use --set "
                'data.task=... and --set data.columns.text="..." to change them.',
                code="NOT_A_DATA_FILE",
            )
        return load_recipe(source, overrides)
    from ..data.for_file import recipe_for_file

    return recipe_for_file(source, overrides, task=task, columns=columns)


def is_data_file(source: str) -> bool:
    """Whether `source` is a file of rows rather than a recipe."""
    path = Path(source).expanduser()
    if source in shipped_recipes() or path.suffix == ".toml":
        return False
    if path.suffix == ".json" and path.is_file():
        return not _holds_recipe(path)
    return path.suffix.lower() in _DATA_SUFFIXES or path.is_file()


def named_model(name: str, root: Path) -> RunFolder | ModelRecipe:
    """The run or the model that is meant: a run's folder, a model, or a run's name or id.

    Raises:
        TuneError: If it is neither; `RUN_AMBIGUOUS` if it is several runs.
    """
    from ..catalogue import find

    path = Path(name).expanduser()
    if "://" in name or find(name) is not None or path.suffix == ".gguf" or _is_model_folder(path):
        return ModelRecipe(preset=name)
    try:
        return find_run(root, name)
    except TuneError as error:
        if error.code != "RUN_NOT_FOUND":
            raise
        raise TuneError(
            f"{error}\nA model can be named, too: see {screen.command('models')}", code=error.code
        ) from None


def run_argument(folder: RunFolder, root: Path) -> list[str]:
    """How the run is named on another command line: its id, or its path where it lies elsewhere."""
    if folder.path == (root / "runs" / folder.id).resolve() and _is_default(root):
        return [folder.id]
    return [screen.path_name(folder.path)]


def is_local(preset: str) -> bool:
    """Whether the model can be read without a network."""
    from ..catalogue import find, is_here

    return is_here(preset) if find(preset) else Path(preset).expanduser().exists()


def _holds_recipe(path: Path) -> bool:
    try:
        if path.stat().st_size > _LARGEST_RECIPE:
            return False
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and "data" in values


def _is_model_folder(path: Path) -> bool:
    return (path / "config.json").is_file()


def _is_default(root: Path) -> bool:
    from ..run_folder import data_root

    return root.resolve() == data_root().resolve()

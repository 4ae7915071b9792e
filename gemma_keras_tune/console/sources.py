"""What a person names on the command line: recipes, data files, runs and models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DataError, RecipeError, TuneError
from ..recipe import TASK_COLUMNS, ModelRecipe, Recipe
from ..recipe_files import load_recipe, parse_recipe, shipped_recipes
from ..run_folder import RunFolder, find_run, slug
from . import screen

if TYPE_CHECKING:
    pass

_DATA_SUFFIXES = {".csv", ".tsv", ".txt", ".jsonl", ".ndjson"}
_LARGEST_RECIPE = 1_000_000  # bytes; a larger .json is data
_FOR_READING = ("format", "encoding", "delimiter")


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
    return _recipe_for_file(source, overrides, task=task, columns=dict(columns or {}))


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
    from ..model.catalogue import find

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
    from ..model.catalogue import find, is_here

    return is_here(preset) if find(preset) else Path(preset).expanduser().exists()


def _holds_recipe(path: Path) -> bool:
    try:
        if path.stat().st_size > _LARGEST_RECIPE:
            return False
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and "data" in values


def _recipe_for_file(
    source: str, overrides: Mapping[str, Any], *, task: str | None, columns: dict[str, str]
) -> Recipe:
    from ..data.guess import guess_recipe

    path = str(Path(source).expanduser().absolute())
    name = slug(Path(source).stem)
    prefix = "data.columns."
    for key in [key for key in overrides if key.startswith(prefix)]:
        columns.setdefault(key.removeprefix(prefix), overrides[key])
    given = {key.removeprefix("data."): value for key, value in overrides.items()}
    reading = {key: given[key] for key in _FOR_READING if isinstance(given.get(key), str)}
    task = task or given.get("task") or _task_of(columns)
    data: dict[str, Any] = {"path": path, "task": task, "columns": columns}
    if not columns:
        # checked first, so that a wrong setting is told as such
        check = {"path": path, "task": task or "text", **reading}
        reading = parse_recipe({"name": name, "data": check}, where=source).data.model_dump(
            include=set(reading)
        )
        known = {"task": task} if task else {}
        data = guess_recipe(path, **known, **reading).model_dump(exclude_defaults=True)
    settings: dict[str, Any] = {"name": name, "data": data}
    for key, value in overrides.items():
        _put(settings, key, value)
    return parse_recipe(settings, where=source)


def _task_of(columns: Mapping[str, str]) -> str | None:
    """The task that has these parts, where only one does.

    Raises:
        DataError: `TASK_UNCLEAR`.
    """
    if not columns:
        return None
    if "label" in columns:
        return "classification"
    fitting = [task for task, parts in TASK_COLUMNS.items() if set(columns) <= set(parts)]
    if len(fitting) == 1:
        return fitting[0]
    raise DataError(
        f"The columns given ({', '.join('--' + part for part in columns)}) leave open what the "
        f"task is. Say it with --task: {', '.join(fitting or TASK_COLUMNS)}.",
        code="TASK_UNCLEAR",
    )


def _put(settings: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    place: Any = settings
    for name in sections:
        place = place.setdefault(name, {})
        if not isinstance(place, dict):
            raise RecipeError(f"{key}: {name!r} holds no settings of its own.", code="RECIPE_KEY")
    if sections == ["data"] and last.endswith("path") and isinstance(value, str):
        value = str(Path(value).expanduser().absolute())  # a run may be resumed from elsewhere
    place[last] = value


def _is_model_folder(path: Path) -> bool:
    return (path / "config.json").is_file()


def _is_default(root: Path) -> bool:
    from ..run_folder import data_root

    return root.resolve() == data_root().resolve()

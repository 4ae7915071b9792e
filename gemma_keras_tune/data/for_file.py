"""A recipe for people who name nothing but a data file, and perhaps some settings."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError, RecipeError
from ..recipe import TASK_COLUMNS, Recipe
from ..recipe_files import parse_recipe
from ..run_folder import slug
from .guess import guess_recipe

_FOR_READING = ("format", "encoding", "delimiter")


def recipe_for_file(
    source: str,
    overrides: Mapping[str, Any],
    *,
    task: str | None = None,
    columns: Mapping[str, str] | None = None,
) -> Recipe:
    """The defaults for a data file, with what its columns say about its task.

    Args:
        source: The file.
        overrides: Values by dotted key, as for `load_recipe`.
        task: Where the columns don't tell.
        columns: Column by part of the task; without any, the usual names are looked for.

    Raises:
        RecipeError: If settings are wrong.
        DataError: `TASK_UNCLEAR`; if the file can't be read, or its columns fit no task.
    """
    columns = dict(columns or {})
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

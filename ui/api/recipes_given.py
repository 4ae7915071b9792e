"""A recipe as a request gives it: by the name of one that ships, or whole, with names for files."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Awaitable, Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from gemma_keras_tune.errors import RecipeError
from gemma_keras_tune.recipe import Recipe
from gemma_keras_tune.recipe_files import (
    listed_problems,
    load_recipe,
    nearest_key,
    parse_recipe,
    recipe_keys,
    shipped_recipes,
)

from .naming import Names, Shown

DATA_KEYS = ("path", "validation_path", "test_path")
LONGEST_TOML = 200_000  # characters
_WHERE = "The recipe"


@dataclass(frozen=True)
class Given:
    """One recipe, twice.

    Attributes:
        shown: With names, as people read it.
        real: With paths, as a job takes it.
    """

    shown: Recipe
    real: Recipe


def shipped(name: str, shown: Shown) -> Recipe:
    """A recipe that ships, with names for its files.

    Raises:
        RecipeError: `RECIPE_NOT_FOUND`.
    """
    known = shipped_recipes()
    if name not in known:
        raise RecipeError(
            f"No recipe of this name ships. There are: {', '.join(known)}.", code="RECIPE_NOT_FOUND"
        )
    recipe = load_recipe(known[name])
    return parse_recipe(shown.value(json.loads(recipe.to_json())), where=name)


def from_toml(text: str) -> dict[str, Any]:
    """The settings in a text of TOML.

    Raises:
        RecipeError: `RECIPE_SYNTAX`.
    """
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RecipeError(f"The recipe is no valid TOML: {error}.", code="RECIPE_SYNTAX") from None


def with_changes(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with values put in by dotted key.

    Raises:
        RecipeError: `RECIPE_KEY` if a key leads into something that holds no settings.
    """
    changed = deepcopy(dict(settings))
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = changed
        for name in sections:
            inner = place.setdefault(name, {})
            if not isinstance(inner, dict):
                hint = nearest_key(key, list(recipe_keys()))
                raise RecipeError(f"{key}: {name!r} holds no settings.{hint}", code="RECIPE_KEY")
            place = inner
        place[last] = value
    return changed


async def check_recipe(settings: Mapping[str, Any], names: Names) -> Given:
    """The checked recipe.

    Args:
        settings: With names for files.
        names: Knows the workspace's files.

    Raises:
        RecipeError: `RECIPE_INVALID`, with all that is wrong by dotted key, names included.
    """
    real, problems = await _with_paths(settings, names)
    try:
        recipe = parse_recipe(real, where=_WHERE)
        shown = parse_recipe(settings, where=_WHERE)
    except RecipeError as error:
        problems += [line.strip() for line in str(error).split("\n")[1:]] or [str(error)]
    if problems:
        raise RecipeError(listed_problems(_WHERE, problems), code="RECIPE_INVALID")
    return Given(shown=shown, real=recipe)


async def _with_paths(
    settings: Mapping[str, Any], names: Names
) -> tuple[dict[str, Any], list[str]]:
    """The settings with paths, and what is wrong with the names; those are left as they are."""
    real, problems = deepcopy(dict(settings)), []

    async def put(
        section: object, name: str, key: str, find: Callable[[str, object], Awaitable[str]]
    ) -> None:
        if isinstance(section, dict) and section.get(key) is not None:
            try:
                section[key] = await find(f"{name}.{key}", section[key])
            except RecipeError as error:
                problems.append(str(error))
                section[key] = "demo" if key == "preset" else "/"  # nothing else is wrong with it

    for key in DATA_KEYS:
        await put(real.get("data"), "data", key, names.data)
    await put(real.get("model"), "model", "preset", names.model)
    await put(real.get("model"), "model", "adapter", names.adapter)
    return real, problems

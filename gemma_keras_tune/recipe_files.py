"""Recipes from files, names and overrides, and what is wrong with them in a person's words."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Container, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from .errors import RecipeError
from .recipe import Recipe

_PATH_KEYS = ("path", "validation_path", "test_path")
_RECIPES_PACKAGE = "gemma_keras_tune_recipes"


def load_recipe(source: str | Path, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """The checked recipe of that name or file, with the overrides applied.

    Args:
        source: The name of a recipe that ships (`spam_classifier`), or a path to a `.toml` or
            `.json` file. Paths inside it are relative to its folder.
        overrides: Values by dotted key, such as `{"train.epochs": 2}`. Paths among them are
            relative to the working folder.

    Raises:
        RecipeError: If it doesn't exist or can't be read, or settings are wrong: all are listed.
    """
    path = _find(source)
    settings = _read(path)
    _resolve_paths(settings, path.parent)
    for key, value in (overrides or {}).items():
        _override(settings, key, value)
    return parse_recipe(settings, where=str(source))


def parse_recipe(settings: Mapping[str, Any], *, where: str = "recipe") -> Recipe:
    """The checked recipe made of plain values.

    Args:
        settings: Nested dictionaries, lists and scalars.
        where: What the error text calls them.

    Raises:
        RecipeError: If settings are wrong; all of them are listed by dotted key.
    """
    try:
        text = json.dumps(settings, allow_nan=False, default=str)
    except ValueError as error:
        raise RecipeError(
            f"{where}: NaN and infinity are no settings; write a finite number.",
            code="RECIPE_VALUE",
        ) from error
    try:
        return Recipe.model_validate_json(text)
    except ValidationError as error:
        found = problems(error, known=list(recipe_keys()))
        raise RecipeError(listed_problems(where, found), code="RECIPE_INVALID") from error


def problems(
    error: ValidationError, *, known: Sequence[str], secret: Container[str] = ()
) -> list[str]:
    """One line for each thing that is wrong, by dotted key.

    Args:
        error: What pydantic found.
        known: Every dotted key that there is, for the nearest to a misspelt one.
        secret: Keys whose values are not shown.
    """
    return [_problem(entry, known, secret) for entry in _innermost(error.errors())]


def listed_problems(where: str, found: Sequence[str]) -> str:
    """A message that says how many problems `where` has, and each on its line."""
    lines = "\n".join(f"  {line}" for line in found)
    return f"{where} has {len(found)} problem{'s' if len(found) > 1 else ''}:\n{lines}"


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Overrides from `key=value` texts; a value is read as TOML, or else kept as text.

    Raises:
        RecipeError: If a text has no `=`.
    """
    overrides: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise RecipeError(
                f"--set {text!r}: write it as key=value, such as train.epochs=2.", code="RECIPE_SET"
            )
        try:
            overrides[key.strip()] = tomllib.loads(f"value = {value.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            overrides[key.strip()] = value.strip()
    return overrides


def shipped_recipes() -> dict[str, Path]:
    """Path by name of every recipe that ships with the package."""
    folder = Path(str(resources.files(_RECIPES_PACKAGE)))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def recipe_keys(section: type[BaseModel] = Recipe, prefix: str = "") -> Iterator[str]:
    """Every dotted key that a recipe may hold."""
    for name, field in section.model_fields.items():
        key = prefix + (field.alias or name)
        inner = _section_of(field.annotation)
        if inner is None:
            yield key
        else:
            yield from recipe_keys(inner, key + ".")


def _section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, alone or in a tuple."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _find(source: str | Path) -> Path:
    shipped = shipped_recipes()
    if str(source) in shipped:
        return shipped[str(source)]
    path = Path(source).expanduser()
    if path.is_file():
        return path.resolve()
    near = difflib.get_close_matches(str(source), shipped, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise RecipeError(
        f"No recipe {str(source)!r}: it is neither a file nor one that ships "
        f"({', '.join(shipped)}).{hint}",
        code="RECIPE_NOT_FOUND",
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
        settings = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: can't be read: {error}.", code="RECIPE_UNREADABLE") from error
    except (tomllib.TOMLDecodeError, json.JSONDecodeError) as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise RecipeError(f"{path}: is no valid {kind}: {error}.", code="RECIPE_SYNTAX") from error
    if not isinstance(settings, dict):
        raise RecipeError(f"{path}: a recipe is a table of settings.", code="RECIPE_SYNTAX")
    return settings


def _resolve_paths(settings: dict[str, Any], folder: Path) -> None:
    data = settings.get("data")
    if isinstance(data, dict):
        for key in _PATH_KEYS:
            if isinstance(data.get(key), str):
                data[key] = str((folder / Path(data[key]).expanduser()).resolve())
    model = settings.get("model")
    if isinstance(model, dict) and isinstance(model.get("preset"), str):
        model["preset"] = _resolve_name(model["preset"], folder)
    if isinstance(model, dict) and isinstance(model.get("adapter"), str):
        model["adapter"] = _resolve_name(model["adapter"], folder)


def _resolve_name(name: str, folder: Path) -> str:
    """A path below the recipe's folder where there is one; else the name as it is."""
    if "://" in name or not name.startswith((".", "/", "~")):
        return name
    return str((folder / Path(name).expanduser()).resolve())


def _override(settings: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    place = settings
    for name in sections:
        inner = place.setdefault(name, {})
        if not isinstance(inner, dict):
            raise RecipeError(
                f"{key}: {name!r} holds no settings of its own."
                f"{nearest_key(key, list(recipe_keys()))}",
                code="RECIPE_KEY",
            )
        place = inner
    if sections == ["data"] and last in _PATH_KEYS and isinstance(value, str):
        value = str(Path(value).expanduser().resolve())
    if key in ("model.preset", "model.adapter") and isinstance(value, str):
        value = _resolve_name(value, Path.cwd())
    place[last] = value


def _innermost(entries: Sequence[Any]) -> Iterator[Any]:
    """The entries without those that only repeat that something inside them is wrong."""
    places = [entry["loc"] for entry in entries]
    for entry in entries:
        size = len(entry["loc"])
        if not any(len(place) > size and place[:size] == entry["loc"] for place in places):
            yield entry


def _problem(entry: Mapping[str, Any], known: Sequence[str], secret: Container[str]) -> str:
    """One line for a person, from one of pydantic's errors."""
    key = ".".join(str(part) for part in entry["loc"])
    if entry["type"] == "extra_forbidden":
        return f"{key}: no such setting.{nearest_key(key, known)}"
    if entry["type"] == "missing":
        return f"{key}: is missing."
    if key == "name" and entry["type"] == "string_pattern_mismatch":
        return (
            f"{key}: a run's name has letters without accents, digits, dots, dashes and "
            "underscores, no spaces, at most 64 of them, and begins with a letter or a digit."
        )
    message = str(entry["msg"]).removeprefix("Value error, ")
    if entry["type"] == "value_error":
        return f"{key}.{message}." if key else f"{message}."
    return f"{key}: {message}" + ("." if key in secret else f"; got {entry['input']!r}.")


def nearest_key(key: str, known: Sequence[str]) -> str:
    """A sentence that names the known key most like a wrong one, or where all are listed."""
    plain = ".".join(part for part in key.split(".") if not part.isdigit())
    near = difflib.get_close_matches(plain, known, n=1, cutoff=0.6)
    if not near:
        tails = [name.rpartition(".")[2] for name in known]
        alike = difflib.get_close_matches(plain.rpartition(".")[2], tails, n=1, cutoff=0.7)
        near = [name for name in known if name.rpartition(".")[2] in alike][:1]
    return f" Did you mean {near[0]!r}?" if near else " `docs/reference` lists all settings."

"""The page of every setting that a recipe may hold, from the fields' own schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from docs.markdown_text import one_line, table
from gemma_keras_tune.recipe import Recipe
from gemma_keras_tune.recipe_files import shipped_recipes

_INTRO = """\
# Recipe

A recipe is a TOML file. It lists only what differs from the defaults below, and the settings that
are marked as required. Unknown keys are refused, and all problems are reported at once. Any setting
can be changed for one run: `--set train.epochs=3` on the command line,
`load_recipe("spam_classifier", {"train.epochs": 3})` in Python."""

_BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "pattern": "matches `{}`",
}


def page() -> str:
    """The page as Markdown."""
    schema = Recipe.model_json_schema()
    shipped = ", ".join(f"`{name}`" for name in sorted(shipped_recipes()))
    parts = [_INTRO, f"Recipes that ship: {shipped}."]
    for title, help_text, section in _sections(schema, schema, name=""):
        required = section.get("required", [])
        rows = [
            _row(name, field, is_required=name in required)
            for name, field in section["properties"].items()
            if not _inner(field, schema)
        ]
        if rows:
            parts.append(f"## {title}\n\n{help_text}")
            parts.append(table(["setting", "type", "default", "bounds", "what it does"], rows))
    return "\n\n".join(parts)


def _sections(
    schema: dict[str, Any], section: dict[str, Any], *, name: str
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """`(title, help, schema)` of a section and, after it, of those inside it."""
    several = name == "export"
    title = "Top level" if not name else f"`[[{name}]]`" if several else f"`[{name}]`"
    help_text = one_line(section.get("description", ""))
    if several:
        help_text += " Write one such block for each format."
    yield title, help_text, section
    for key, field in section["properties"].items():
        inner = _inner(field, schema)
        if inner:
            yield from _sections(schema, inner, name=f"{name}.{key}".strip("."))


def _inner(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any] | None:
    """The section that a field holds, alone or in a list."""
    reference = field.get("$ref") or field.get("items", {}).get("$ref")
    inner: dict[str, Any] | None = schema["$defs"][reference.split("/")[-1]] if reference else None
    return inner


def _row(name: str, field: dict[str, Any], *, is_required: bool) -> list[str]:
    default = "**required**" if is_required else _default(field.get("default"))
    unit = f" {field['unit']}" if "unit" in field else ""
    return [
        f"`{name}`",
        _type(field) + unit,
        default,
        bounds(field),
        one_line(field.get("description", "")),
    ]


def _type(field: dict[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_type(one) for one in field["anyOf"] if one.get("type") != "null")
    if "enum" in field or "const" in field:
        values = field.get("enum") or [field["const"]]
        return ", ".join(f"`{json.dumps(value)}`" for value in values)
    if field["type"] == "array":
        return f"list of: {_type(field['items'])}" if "enum" in field["items"] else "list of texts"
    if field["type"] == "object":
        return "table of texts"
    names = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false"}
    return names[field["type"]]


def _default(value: Any) -> str:
    return "none" if value is None else f"`{json.dumps(value)}`"


def bounds(field: dict[str, Any]) -> str:
    """The limits of a field, from its JSON schema."""
    places = [field, *field.get("anyOf", [])]
    found = ["not empty"] if "minLength" in field or "minItems" in field else []
    found += [
        text.format(f"{place[key]:,}" if isinstance(place[key], int) else place[key])
        for place in places
        for key, text in _BOUNDS.items()
        if key in place
    ]
    return ", ".join(found)

"""Jobs of the kind `data`: a file that somebody uploaded, read without JAX.

Nothing that a file says becomes a key of what is handed back where a page would take it for the
name of a column: columns have made-up ids, `c0`, `c1`, ..., and their names are values.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .data.check import DataReport, check_data
from .data.for_file import recipe_for_file
from .data.preview import PreviewRow, preview_data
from .data.read import scan_table
from .errors import DataError
from .job_spec import DataArgs
from .model.inspect_files import inspect_model
from .model.load import describe_model
from .recipe import ModelRecipe, Recipe
from .recipe_files import parse_recipe
from .text.template import Template

Templates = dict[str, Template]
"""By the model's name; what is in it needs no reading."""

_READING = ("format", "encoding", "delimiter", "bad_rows")
_LONGEST_CELL = 2_000  # characters of a cell that `columns` shows
_TOKENS_OF_A_ROW = 5_000  # of a longer row, `preview` shows the first
_TOKENS_OF_A_PAGE = 100_000
_PREVIEW_MODEL = "demo"


def look_at_data(args: DataArgs, templates: Templates) -> dict[str, Any]:
    """What the action found, as plain JSON values.

    Args:
        args: Which action, on which file.
        templates: Of models that are known already.

    Raises:
        TuneError: If the file can't be used, or the model not be found.
    """
    return _ACTIONS[args.action](args, templates)


def template_of(preset: str, templates: Templates) -> Template:
    """The model's template with its tokenizer; its weights are not read.

    Raises:
        ModelError: If the model can't be found or read.
    """
    known = templates.get(preset)
    return known or describe_model(ModelRecipe(preset=preset)).template


def _check(args: DataArgs, templates: Templates) -> dict[str, Any]:
    """The same as `data check --json`."""
    try:
        recipe = _recipe(args)
    except DataError as error:
        if not error.findings:
            raise
        return DataReport(rows=0, score=0, findings=error.findings).to_json()
    template = None if args.model is None else template_of(args.model, templates)
    return check_data(recipe.data, template=template).to_json()


def _preview(args: DataArgs, templates: Templates) -> dict[str, Any]:
    """The same as `data preview --json`, a page of it."""
    recipe = _recipe(args)
    template = template_of(args.model or _PREVIEW_MODEL, templates)
    found = preview_data(recipe.data, template, rows=args.rows, offset=args.offset)
    rows, room = [], _TOKENS_OF_A_PAGE
    for row in found:
        room -= min(len(row.tokens), _TOKENS_OF_A_ROW)
        if room < 0:
            break
        rows.append(_shown(row))
    after = args.offset + len(rows)
    return {"rows": rows, "next_offset": after if rows else None}


def _shown(row: PreviewRow) -> dict[str, Any]:
    first = row.tokens[:_TOKENS_OF_A_ROW]
    return {
        **asdict(row),
        "file": Path(row.file).name,
        "tokens": [asdict(token) for token in first],
        "not_shown": len(row.tokens) - len(first),
    }


def _columns(args: DataArgs, templates: Templates) -> dict[str, Any]:
    """The file as a table, and which task its columns fit."""
    reading = {key: args.data[key] for key in _READING if key in args.data}
    how = parse_recipe(
        {"name": "table", "data": {"path": args.path, "task": "text", **reading}}, where="data"
    ).data
    limit = args.offset + args.rows
    table = scan_table(
        how.path,
        format=how.format,
        encoding=how.encoding,
        delimiter=how.delimiter,
        bad_rows=how.bad_rows,
        limit=limit,
    )
    ids = {name: f"c{number}" for number, name in enumerate(table.columns)}
    chosen = list(zip(table.lines, table.rows, strict=True))[args.offset :]
    return {
        "format": table.format,
        "encoding": table.encoding,
        "delimiter": table.delimiter,
        "size_bytes": table.size_bytes,
        "sha256": table.sha256,
        "columns": [{"id": made, "name": name} for name, made in ids.items()],
        "rows": [
            {"row": line, "cells": {made: _cell(row.get(name)) for name, made in ids.items()}}
            for line, row in chosen
        ],
        "next_offset": limit if len(table.rows) == limit else None,
        "guess": _guess(args),
        "findings": [item.to_json() for item in table.findings],
    }


def _guess(args: DataArgs) -> dict[str, Any] | None:
    """Task and columns, where the file's columns have the usual names; else None."""
    try:
        data = _recipe(args).data
    except DataError:
        return None
    columns = [{"part": part, "column": column} for part, column in data.columns.items()]
    return {"task": data.task, "columns": columns}


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 1] + "\u2026"


def _inspect(args: DataArgs, templates: Templates) -> dict[str, Any]:
    return inspect_model(Path(args.path))


def _recipe(args: DataArgs) -> Recipe:
    settings = {f"data.{key}": value for key, value in args.data.items() if key != "columns"}
    columns = args.data.get("columns") or {}
    return recipe_for_file(args.path, settings, columns=_texts(columns))


def _texts(columns: Any) -> Mapping[str, str]:
    """The columns by their parts.

    Raises:
        DataError: `WRONG_COLUMNS`.
    """
    if isinstance(columns, dict) and all(isinstance(name, str) for name in columns.values()):
        return columns
    raise DataError('data.columns: write it as {"part": "column"}.', code="WRONG_COLUMNS")


_ACTIONS: dict[str, Callable[[DataArgs, Templates], dict[str, Any]]] = {
    "check": _check,
    "preview": _preview,
    "columns": _columns,
    "inspect_model": _inspect,
}

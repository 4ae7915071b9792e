"""Jobs of the kind `data`: a file that somebody uploaded, read without JAX.

Nothing that a file says becomes a key of what is handed back where a page would take it for the
name of a column: columns have made-up ids, `c0`, `c1`, ..., and their names are values.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

from .data.check import DataReport, check_data
from .data.examples import Example, Split, load_examples
from .data.for_file import recipe_for_file
from .data.guess_contents import LOOKED_AT, columns_by_contents
from .data.packed import packed_rows
from .data.parts import tokenize_parts
from .data.preview import PreviewRow, preview_data
from .data.read import Table, scan_table
from .data.tokenize import TokenSet
from .data_codes import CODES
from .errors import DataError
from .job_spec import DataArgs
from .model.inspect_files import inspect_model
from .model.load import describe_model
from .recipe import DataRecipe, ModelRecipe, Recipe
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
    found = preview_data(
        recipe.data, template, rows=args.rows, offset=args.offset, lines=args.lines
    )
    rows, room = [], _TOKENS_OF_A_PAGE
    for row in found:
        room -= min(len(row.tokens), _TOKENS_OF_A_ROW)
        if room < 0:
            break
        rows.append(_shown(row))
    after = args.offset + len(rows)
    return {"rows": rows, "next_offset": after if rows and not args.lines else None}


def _split(args: DataArgs, templates: Templates) -> dict[str, Any]:
    """How many rows a run uses of each part of the split, and its first ones.

    Without a model nobody knows which rows are too long: then they are among them.
    """
    examples = load_examples(_recipe(args).data)
    parts = {"train": examples.train, "validation": examples.validation, "test": examples.test}
    used: dict[str, Sequence[int]] = {name: range(len(split)) for name, split in parts.items()}
    if args.model is not None:
        tokens = tokenize_parts(examples, template_of(args.model, templates))
        for name in parts:
            found: TokenSet | None = getattr(tokens, name)
            used[name] = [] if found is None else found.rows.tolist()
    page = slice(args.offset, args.offset + args.rows)
    return {
        "parts": [
            {
                "part": name,
                "rows": len(used[name]),
                "labels": _labels_of(split, used[name]),
                "first": [_said(split[place]) for place in used[name][page]],
            }
            for name, split in parts.items()
        ],
        "findings": [item.to_json() for item in examples.findings],
    }


def _labels_of(split: Split, used: Sequence[int]) -> list[dict[str, Any]]:
    counts = Counter(split[place].label for place in used)
    return [{"label": label, "rows": counts[label]} for label in split.labels]


def _said(row: Example) -> dict[str, Any]:
    """What a row gives the model to read, and what it is to answer."""
    *given, answer = row.turns
    return {
        "file": Path(row.file).name,
        "row": row.row,
        "given": _cell("\n\n".join(turn.text for turn in given)),
        "answer": _cell(answer.text),
    }


def _pack(args: DataArgs, templates: Templates) -> dict[str, Any]:
    """Rows as training packs them: the examples in each, and its padding."""
    template = template_of(args.model or _PREVIEW_MODEL, templates)
    train = load_examples(_recipe(args).data).train
    found = packed_rows(train, template, seed=args.seed, rows=args.rows, offset=args.offset)
    rows: list[dict[str, Any]] = []
    room = _TOKENS_OF_A_PAGE
    for row in found.rows:
        room -= found.row_length
        if rows and room < 0:
            break
        segments = [_shown(segment) for segment in row.segments]
        rows.append({"segments": segments, "padding": row.padding})
    return {
        "rows": rows,
        "total": found.total,
        "examples": found.examples,
        "row_length": found.row_length,
        "waste": found.waste,
    }


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
    limit = max(args.lines) if args.lines else args.offset + args.rows
    table = scan_table(
        how.path,
        format=how.format,
        encoding=how.encoding,
        delimiter=how.delimiter,
        bad_rows=how.bad_rows,
        limit=limit,
        count_all=args.count,
    )
    ids = {name: f"c{number}" for number, name in enumerate(table.columns)}
    chosen = list(zip(table.lines, table.rows, strict=True))
    if args.lines:  # no row stands before the line of its number
        chosen = [(line, row) for line, row in chosen if line in args.lines]
    else:
        chosen = chosen[args.offset :]
    return {
        "format": table.format,
        "encoding": table.encoding,
        "delimiter": table.delimiter,
        "size_bytes": table.size_bytes,
        "sha256": table.sha256,
        "total": table.total,
        "columns": [{"id": made, "name": name} for name, made in ids.items()],
        "rows": [
            {"row": line, "cells": {made: _cell(row.get(name)) for name, made in ids.items()}}
            for line, row in chosen
        ],
        "next_offset": limit if len(table.rows) == limit and not args.lines else None,
        "unread": _unread(how, table, args.lines, {line for line, _ in chosen}),
        "unreadable": sum(item.count for item in table.findings if CODES[item.code].by_row),
        "guess": _guess(args, how),
        "findings": [item.to_json() for item in table.findings],
    }


def _unread(
    how: DataRecipe, table: Table, lines: Sequence[int], read: Set[int]
) -> list[dict[str, Any]]:
    """The wanted lines that gave no row, as they stand in the file."""
    missing = set(lines) - read
    found: list[dict[str, Any]] = []
    if not missing:
        return found
    with open(how.path, encoding=table.encoding, errors="replace", newline="") as file:
        for number, line in enumerate(islice(file, max(missing)), start=1):
            if number in missing:
                found.append({"row": number, "text": _cell(line.rstrip("\r\n"))})
    return found


def _guess(args: DataArgs, how: DataRecipe) -> dict[str, Any] | None:
    """Task and columns by the usual names, else as far as the cells tell; else None.

    Names that only say which column is a text leave it to the cells whether there is a label.
    """
    named = _by_names(args)
    told = _by_contents(how) if named is None or named.task == "text" else {}
    if named is None or ("label" in told and told["text"] == named.column("text")):
        task, found, by = "classification", told, "contents"
    else:
        task, found, by = named.task, named.columns, "names"
    columns = [{"part": part, "column": column} for part, column in found.items()]
    return {"task": task, "columns": columns, "by": by} if columns else None


def _by_names(args: DataArgs) -> DataRecipe | None:
    try:
        return _recipe(args).data
    except DataError:
        return None


def _by_contents(how: DataRecipe) -> dict[str, str]:
    reading = {key: getattr(how, key) for key in _READING} | {"bad_rows": "skip"}
    try:
        return columns_by_contents(scan_table(how.path, **reading, limit=LOOKED_AT))
    except DataError:  # a fault behind the rows that were asked for
        return {}


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
    "split": _split,
    "pack": _pack,
    "inspect_model": _inspect,
}

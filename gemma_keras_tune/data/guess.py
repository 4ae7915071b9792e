"""What a file's columns say about its task, for people who name nothing but a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ..recipe import DataRecipe
from .findings import fatal, place
from .read import scan_table

# For every task, its parts and the names that the usual data sets give them. The first task
# whose parts are all there is the one, so that a labelled text is not taken for raw text.
_NAMES: dict[str, dict[str, tuple[str, ...]]] = {
    "chat": {"messages": ("messages", "conversations", "conversation")},
    "instruction": {
        "prompt": ("prompt", "instruction", "question", "input", "query"),
        "response": ("response", "output", "completion", "answer", "reply"),
    },
    "classification": {
        "text": ("text", "message", "sentence", "review", "body", "content", "comment", "tweet"),
        "label": ("label", "class", "category", "target", "sentiment", "intent"),
    },
    "text": {"text": ("text", "content", "body")},
}


def guess_recipe(path: str | os.PathLike[str], **settings: Any) -> DataRecipe:
    """A data section for a file of which only the path, and perhaps some settings, are known.

    Args:
        path: The file.
        settings: Fields of `DataRecipe` that are known; with `task`, only columns are looked for,
            and with `columns` nothing is.

    Raises:
        DataError: `MISSING_COLUMN`, if the columns fit no task; or what reading raises.
    """
    name = os.fspath(path)
    if "task" in settings and settings.get("columns"):
        return DataRecipe(path=name, **settings)
    reading = {key: settings[key] for key in ("format", "encoding", "delimiter") if key in settings}
    table = scan_table(name, **reading, bad_rows="skip", limit=100)
    wish = settings.get("task")
    for task, parts in _NAMES.items():
        if wish not in (None, task):
            continue
        columns = _matching(parts, table.columns)
        if len(columns) == len(parts):
            return DataRecipe(**{"path": name, "task": task, "columns": columns} | settings)
    tasks = [wish] if wish else list(_NAMES)
    needs = "; ".join(f"{task}: {', '.join(_NAMES[task])}" for task in tasks)
    raise fatal(
        "MISSING_COLUMN",
        f"The columns {', '.join(map(repr, table.columns[:20]))} fit no task ({needs})."
        f"{_nearly(tasks, table.columns)}",
        where=place(name, 1),
    )


def _nearly(tasks: Sequence[str], columns: tuple[str, ...]) -> str:
    """What was found of the task that lacks the least, and what it lacks; or nothing."""
    found = {task: _matching(_NAMES[task], columns) for task in tasks}
    task = max(tasks, key=lambda task: len(found[task]))
    if not found[task]:
        return ""
    have = ", ".join(f"{column!r} as its {part}" for part, column in found[task].items())
    lack = " and ".join(part for part in _NAMES[task] if part not in found[task])
    return f" The task {task!r} would take {have}; say which column is its {lack}."


def _matching(parts: dict[str, tuple[str, ...]], columns: tuple[str, ...]) -> dict[str, str]:
    """Part to the file's column, by the first usual name that the file has, in any case."""
    there = {column.lower(): column for column in reversed(columns)}
    found = {}
    for part, names in parts.items():
        name = next((name for name in names if name in there), None)
        if name is not None:
            found[part] = there[name]
    return found

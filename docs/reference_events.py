"""The page of every event that a run may write into its `events.jsonl`."""

from __future__ import annotations

import ast
from typing import Any

from docs.markdown_text import one_line, summary, table
from docs.source import Source
from gemma_keras_tune import event_types

_INTRO = """\
# Events

A run says what it does in `events.jsonl`, one JSON object a line, and hands the same events to
`on_event`. Each line has `seq` (rising over the whole run), `attempt` (which start of the run wrote
it, from 1), `time` (ISO 8601, UTC), `kind`, and the fields of that kind.

`gemma_keras_tune.events.read_events(path)` reads the file as typed values, and `resolved(records)`
drops what an older attempt did again. `step` always counts the optimizer steps that are done."""


# What the code's own names for types mean to a reader of JSON.
_TYPES = {
    "Text": "text",
    "str": "text",
    "Number": "number",
    "Number | None": "number or null",
    "Text | None": "text or null",
    "int | None": "integer or null",
    "StepCount | None": "integer or null",
    "dict[Text, Number] | None": "table of numbers or null",
    "StepCount": "integer",
    "int": "integer",
    "bool": "true or false",
    "JsonValue": "anything",
    "dict[str, str]": "table of texts",
}


def page() -> str:
    """The page as Markdown."""
    parts = [_INTRO]
    for event in _event_classes():
        kind = event.model_fields["kind"].default
        parts.append(f"## `{kind}`\n\n`{event.__name__}`. {summary(event.__doc__)}")
        rows = _fields(event)
        if rows:
            parts.append(table(["field", "type", "default"], rows))
    return "\n\n".join(parts)


def _event_classes() -> list[Any]:
    """The events' classes, in the order of the file."""
    source = Source.of_module("gemma_keras_tune.event_types")
    classes = [node.name for node in source.tree.body if isinstance(node, ast.ClassDef)]
    return [getattr(event_types, name) for name in classes if not name.startswith("_")]


def _fields(event: Any) -> list[list[str]]:
    source = Source.of_module("gemma_keras_tune.event_types")
    node = source.definition(event.__name__)
    rows = []
    for item in node.body if isinstance(node, ast.ClassDef) else ():
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            name = item.target.id
            if name != "kind":
                default = source.text(item.value).replace("None", "null") if item.value else ""
                rows.append(
                    [f"`{name}`", _type(source.text(item.annotation)), default and f"`{default}`"]
                )
    return rows


def _type(annotation: str) -> str:
    """A type as JSON has it; of a `Literal` its values."""
    if annotation.startswith("Literal["):
        return one_line(annotation.removeprefix("Literal[").removesuffix("]")).replace('"', "`")
    return _TYPES[annotation]

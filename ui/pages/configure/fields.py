"""Forms drawn from the recipe's fields: kind, bounds, unit, choices and help stand there."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

from nicegui import ui
from nicegui.elements.mixins.validation_element import ValidationElement
from pydantic.fields import FieldInfo

from gemma_keras_tune.recipe import Recipe

from ...words import configure as words
from ..widgets import explain
from .draft import Draft

TERMS: Mapping[str, str] = {
    "data.max_length": "max_length", "train.epochs": "epoch",
    "train.learning_rate": "learning_rate",
    "train.batch_tokens": "batch", "train.micro_batch_tokens": "micro_batch",
    "train.schedule": "schedule", "train.warmup_share": "warmup", "train.seed": "seed",
    "train.weight_decay": "weight_decay", "train.patience": "patience", "train.remat": "remat",
    "model.lora.rank": "rank", "model.lora.alpha": "alpha", "model.lora.dropout": "dropout",
    "model.lora.targets": "targets", "model.dtype": "dtype", "model.template": "template",
    "evaluate.temperature": "temperature", "evaluate.top_k": "top_k", "evaluate.top_p": "top_p",
    "train.checkpoint_every_s": "checkpoint", "data.validation_share": "validation",
    "data.test_share": "held_back", "data.too_long": "truncated",
}  # fmt: skip
"""Which term of the glossary explains a setting."""

_NOT_HERE = ("path", "validation_path", "test_path", "task", "columns", "preset", "lora")


def field_of(key: str) -> FieldInfo:
    """The recipe's field of a dotted key."""
    fields: Any = Recipe.model_fields
    *sections, last = key.split(".")
    for name in sections:
        fields = fields[name].annotation.model_fields
    found: FieldInfo = fields[last]
    return found


def label_of(key: str) -> str:
    """What a setting is called on its field."""
    return key.rpartition(".")[2].replace("_", " ").capitalize()


def keys_of(section: str, *, without: Sequence[str] = ()) -> list[str]:
    """The dotted keys of a section's settings that a form has a field for."""
    fields: Any = Recipe.model_fields
    for name in section.split("."):
        fields = fields[name].annotation.model_fields
    keys = [f"{section}.{name}" for name in fields if name not in _NOT_HERE]
    return [key for key in keys if key not in without]


class Fields:
    """The fields on a page, by dotted key.

    Args:
        draft: Whose settings they show and change.
    """

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._shown: dict[str, tuple[Any, Callable[[Any], Any]]] = {}
        self._is_filling = False

    def add(self, key: str, *, label: str = "") -> None:
        """Puts a field where the page is built now, with its help below it."""
        field = field_of(key)
        name = label or label_of(key)
        unit = (field.json_schema_extra or {}).get("unit")  # type: ignore[union-attr]
        name = f"{name} ({unit})" if unit else name
        with ui.column().classes("gkt-field gap-1"):
            with ui.row().classes("w-full items-start no-wrap gap-1"):
                element, show = self._input(key, name, field)
                if key in TERMS:
                    explain(TERMS[key])
            text = " ".join((field.description or "").replace("`", "").split())
            ui.label(f"{text} {_bounds(field)}".strip()).classes("gkt-note")
        element.mark(f"field-{key}")
        self._shown[key] = element, show
        self.fill()

    def fill(self) -> None:
        """Shows what the draft says now."""
        self._is_filling = True
        for key, (element, show) in self._shown.items():
            value = show(self._draft.get(key))
            if element.value != value:
                element.value = value
        self._is_filling = False

    def tell(self, flaws: Mapping[str, str]) -> None:
        """Shows what is wrong beside the fields."""
        for key, (element, _) in self._shown.items():
            if isinstance(element, ValidationElement):
                element.error = flaws.get(key)

    def _input(self, key: str, name: str, field: FieldInfo) -> tuple[Any, Callable[[Any], Any]]:
        kind, choices, is_optional = _kind_of(field.annotation)
        change = self._changes(key, kind)
        if kind == "bool":
            return ui.switch(name, on_change=change), bool
        element: Any
        if kind == "choice":
            named = {choice: str(choice) for choice in choices}
            element = ui.select(named, label=name, on_change=change)
            element.props("outlined dense").classes("w-full")
            return element, lambda value: value
        if kind == "choices":
            element = ui.select(list(choices), label=name, multiple=True, on_change=change)
            element.props("outlined dense use-chips").classes("w-full")
            return element, lambda value: list(value or [])
        if kind == "table":
            element = ui.textarea(name, on_change=change).props(
                f'outlined dense autogrow debounce=400 hint="{words.TABLE_HINT}"'
            )
            return element.classes("w-full"), _table_text
        if kind == "list":
            element = ui.textarea(name, on_change=change).props(
                f'outlined dense autogrow debounce=400 hint="{words.LIST_HINT}"'
            )
            return element.classes("w-full"), lambda value: "\n".join(value or [])
        element = ui.input(name, on_change=change).props("outlined dense debounce=400")
        if is_optional:
            element.props(f'placeholder="{words.NO_VALUE}" stack-label')
        return element.classes("w-full"), _text_of

    def _changes(self, key: str, kind: str) -> Callable[[Any], None]:
        def change(event: Any) -> None:
            if not self._is_filling:
                self._draft.set(key, _value_of(event.value, kind))

        return change


def _kind_of(annotation: Any) -> tuple[str, tuple[Any, ...], bool]:
    """What kind of field fits a type, its choices, and whether it may be empty."""
    is_optional = False
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [one for one in get_args(annotation) if one is not type(None)]
        annotation, is_optional = inner[0], True
    if get_origin(annotation) is Literal:
        return "choice", get_args(annotation), is_optional
    if get_origin(annotation) is tuple:
        inner_type = get_args(annotation)[0]
        if get_origin(inner_type) is Literal:
            return "choices", get_args(inner_type), is_optional
        return "list", (), is_optional
    if get_origin(annotation) is dict:
        return "table", (), is_optional
    names = {bool: "bool", int: "int", float: "float"}
    return names.get(annotation, "text"), (), is_optional


def _value_of(value: Any, kind: str) -> Any:
    """What somebody typed, as the recipe takes it; what is no number is left for the check."""
    if kind == "list":
        return [line for line in str(value or "").split("\n") if line.strip()]
    if kind == "table":
        lines = [line for line in str(value or "").split("\n") if line.strip()]
        parts = (line.partition(" = " if " = " in line else "=") for line in lines)
        return {name.strip(): one.strip() for name, _, one in parts}
    if kind not in ("int", "float") or not isinstance(value, str):
        return value
    text = value.strip()
    if not text:
        return None
    try:
        return int(text) if kind == "int" else float(text)
    except ValueError:
        return text


def _table_text(value: Mapping[str, str] | None) -> str:
    return "\n".join(f"{name} = {one}" for name, one in (value or {}).items())


def _text_of(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _bounds(field: FieldInfo) -> str:
    signs = {"ge": "\u2265", "gt": ">", "le": "\u2264", "lt": "<"}
    found = [
        f"{sign} {getattr(bound, name):,}"
        for bound in field.metadata
        for name, sign in signs.items()
        if getattr(bound, name, None) is not None
    ]
    return f"({', '.join(found)})" if found else ""

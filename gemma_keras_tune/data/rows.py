"""One row to turns, for every task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..recipe import DataRecipe
from ..text.turns import Role, Turn
from .jsonl_rows import RowFault, parse_json

# What the usual formats call the two sides (OpenAI, Gemma, ShareGPT).
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "model",
    "model": "model",
    "gpt": "model",
}
_NOT_A_LABEL = {"nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"}


class RowTurns(NamedTuple):
    """What a row says: its turns, its label if it has one, and the text around the prompt."""

    turns: tuple[Turn, ...]
    label: str | None = None
    frame: tuple[str, str] = ("", "")


def wanted_columns(recipe: DataRecipe) -> tuple[str, ...]:
    """The columns without which the task can't be done.

    `system` is needed only where the recipe names a column for it.
    """
    parts = {
        "classification": ("text", "label"),
        "instruction": ("prompt", "response"),
        "chat": ("messages",),
        "text": ("text",),
    }[recipe.task]
    if "system" in recipe.columns:
        parts = (*parts, "system")
    return tuple(recipe.column(part) for part in parts)


def turns_of(row: Mapping[str, Any], recipe: DataRecipe, *, labels: tuple[str, ...]) -> RowTurns:
    """The turns of one row.

    Args:
        row: Column to value.
        recipe: Task, columns, prompt format and system text.
        labels: The allowed labels; empty allows any.

    Raises:
        RowFault: With one of the row codes of `data_codes.CODES`.
    """
    match recipe.task:
        case "classification":
            label = _label(row, recipe, labels)
            return _exchange(row, recipe, part="text", answer=label, label=label)
        case "instruction":
            answer = _text(row, recipe.column("response"), empty="EMPTY_ANSWER")
            return _exchange(row, recipe, part="prompt", answer=answer)
        case "chat":
            return _chat(row, recipe)
        case "text":
            return RowTurns((Turn("text", _text(row, recipe.column("text"))),))


def _exchange(
    row: Mapping[str, Any], recipe: DataRecipe, *, part: str, answer: str, label: str | None = None
) -> RowTurns:
    before, after = recipe.prompt_format.split("{prompt}")
    prompt = before + _text(row, recipe.column(part)) + after
    system = _system(row, recipe)
    turns = (Turn("user", prompt), Turn("model", answer))
    if system:
        frame = (f"{system.strip()}\n\n{before.lstrip()}", after.rstrip())
        return RowTurns((Turn("system", system), *turns), label, frame)
    return RowTurns(turns, label, (before.lstrip(), after.rstrip()))


def _system(row: Mapping[str, Any], recipe: DataRecipe) -> str:
    """The row's own system text, else the recipe's."""
    column = recipe.column("system")
    own = row.get(column) if recipe.task == "instruction" else None
    if own is not None and not isinstance(own, str):
        raise RowFault("WRONG_TYPE", f"Column {column!r} holds {_shown(own)}, not a text.")
    return own if own and own.strip() else recipe.system.strip()


def _text(row: Mapping[str, Any], column: str, *, empty: str = "EMPTY_TEXT") -> str:
    value = row.get(column)
    if value is None:
        raise RowFault("MISSING_VALUE", f"Column {column!r} has no value.")
    if not isinstance(value, str):
        raise RowFault("WRONG_TYPE", f"Column {column!r} holds {_shown(value)}, not a text.")
    if not value.strip():
        raise RowFault(empty, f"Column {column!r} is empty.")
    return value


def _label(row: Mapping[str, Any], recipe: DataRecipe, labels: tuple[str, ...]) -> str:
    """The label as a text: whole numbers and true/false are spelt as JSON spells them.

    What counts as another label is read as that one.
    """
    column = recipe.column("label")
    value = row.get(column)
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, int):
        value = str(value)
    if value is None:
        raise RowFault("MISSING_VALUE", f"Column {column!r} has no value.")
    if not isinstance(value, str):
        raise RowFault("WRONG_TYPE", f"Column {column!r} holds {_shown(value)}, not a label.")
    label = value.strip()
    if not label:
        raise RowFault("EMPTY_ANSWER", f"Column {column!r} is empty.")
    label = recipe.same_labels.get(label, label)
    if label.lower() in _NOT_A_LABEL and label not in labels:
        raise RowFault("NAN_LABEL", f"Column {column!r} holds {label!r}, which is no label.")
    if labels and label not in labels:
        allowed = ", ".join(map(repr, labels[:20])) + (", ..." if len(labels) > 20 else "")
        raise RowFault("UNKNOWN_LABEL", f"The label {label!r} is none of {allowed}.")
    return label


def _chat(row: Mapping[str, Any], recipe: DataRecipe) -> RowTurns:
    column = recipe.column("messages")
    value = row.get(column)
    if value is None or value == "":
        raise RowFault("MISSING_VALUE", f"Column {column!r} has no value.")
    messages = parse_json(value) if isinstance(value, str) else value
    if not isinstance(messages, list):
        raise RowFault("BAD_MESSAGES", f"Column {column!r} holds no list of messages.")
    turns = tuple(_turn(message, number) for number, message in enumerate(messages, start=1))
    _check_order(turns)
    if turns[0].role != "system" and recipe.system.strip():
        turns = (Turn("system", recipe.system), *turns)
    if turns[0].role != "system":
        return RowTurns(turns)
    return RowTurns(turns, None, (f"{turns[0].text.strip()}\n\n", ""))


def _turn(message: Any, number: int) -> Turn:
    if not isinstance(message, dict):
        raise RowFault("BAD_MESSAGES", f"Message {number} is {_shown(message)}, not an object.")
    role = message.get("role", message.get("from"))
    content = message.get("content", message.get("value"))
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        if any(part.get("type") != "text" for part in content):
            raise RowFault("BAD_MESSAGES", f"Message {number} has parts that are not text.")
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise RowFault("UNKNOWN_ROLE", f"Message {number} has the role {_shown(role)}.")
    if not isinstance(content, str):
        raise RowFault("BAD_MESSAGES", f"The content of message {number} is {_shown(content)}.")
    if not content.strip():
        raise RowFault("EMPTY_TURN", f"Message {number} ({role}) is empty.")
    return Turn(_ROLES[role.lower()], content)


def _check_order(turns: tuple[Turn, ...]) -> None:
    talk = [turn.role for turn in turns]
    if talk and talk[0] == "system":
        talk = talk[1:]
    if not talk:
        raise RowFault("NO_TURNS", "There is no message of a user.")
    for index, role in enumerate(talk):
        expected = "model" if index % 2 else "user"
        if role != expected:
            number = index + 1 + len(turns) - len(talk)
            due, given = ("assistant" if one == "model" else one for one in (expected, role))
            raise RowFault("ROLE_ORDER", f"Message {number} is {given!r} where {due!r} is due.")
    if talk[-1] != "model":
        raise RowFault("NO_ANSWER", "The last message is the user's: there is no answer to learn.")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."

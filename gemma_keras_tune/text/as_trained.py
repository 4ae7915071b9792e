"""A prompt within the text that a recipe puts around every prompt, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..recipe import DataRecipe
from .turns import Turn


def turns_as_trained(recipe: DataRecipe, prompt: str) -> list[Turn]:
    """The prompt within the text that the recipe puts around every prompt, for `generate`.

    Where texts were learned that stand in no turn, it is the beginning of one.

    Args:
        recipe: What the model was trained on: a recipe's section `data`.
        prompt: The question, as a row of the table would have it.

    Raises:
        Nothing: What can't be asked is refused by `generate`.
    """
    if recipe.task == "text":
        return [Turn("text", prompt)]
    system = [Turn("system", recipe.system)] if recipe.system.strip() else []
    before, after = _around(recipe)
    return [*system, Turn("user", f"{before}{prompt}{after}")]


def bare_prompt(recipe: DataRecipe, question: str) -> str | None:
    """The prompt that `turns_as_trained` makes the same question of.

    Args:
        recipe: The recipe of the run.
        question: A question as a report shows it: the user's turn, turns with their roles, or the
            beginning of a text.

    Returns:
        The prompt; None where no single prompt asks it: of a longer conversation, and of a row with
        a system text of its own.
    """
    if recipe.task == "text":
        return question or None
    text, system = question, recipe.system.strip()
    if system:
        text = question.removeprefix(f"system: {system}\nuser: ")
        if text == question or "\nmodel: " in text:
            return None
    elif question.startswith(("system: ", "user: ")):
        return None
    before, after = _around(recipe)
    before, after = before.lstrip(), after.rstrip()
    fits = text.startswith(before) and text.endswith(after)
    if not fits or len(text) < len(before) + len(after):
        return None
    return text[len(before) : len(text) - len(after)].strip()


def asked_rows(recipe: DataRecipe, report: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """`(prompt, right answer)` of those held-back rows of a report that a single prompt asks.

    Args:
        recipe: The recipe of the run.
        report: `report.json`'s content; None has no rows.
    """
    samples = (report or {}).get("samples") or []
    asked = ((bare_prompt(recipe, sample["prompt"]), sample["expected"]) for sample in samples)
    return [(prompt, expected) for prompt, expected in asked if prompt]


def _around(recipe: DataRecipe) -> tuple[str, str]:
    """What stands before and after every prompt; only some tasks have it."""
    if recipe.task not in ("classification", "instruction"):
        return "", ""
    before, after = recipe.prompt_format.split("{prompt}")
    return before, after

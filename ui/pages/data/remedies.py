"""What a press of a button can do about what a check-up found: settings, by the finding's code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gemma_keras_tune.data_codes import CODES, SKIP

from ...words import data as words
from ..widgets import secondary

_TOO_LONG: Mapping[str, tuple[str, ...]] = {
    "TOO_LONG": ("truncate", "drop"),
    "ALL_ROWS_TOO_LONG": ("truncate",),
    "ANSWER_TOO_LONG": ("drop",),
}


_MAY_PASS = ("FILE_NOT_FOUND", "FILE_UNREADABLE", "FILE_CHANGED")

Remedy = tuple[str, dict[str, Any]]
"""What a button says, and the settings of the data that it changes."""


def remedies_of(*codes: str) -> list[Remedy]:
    """The remedies that are settings, each once.

    Args:
        codes: Those of findings, or of an error.
    """
    found: dict[str, dict[str, Any]] = {}
    for code in codes:
        found |= {words.LONG_ROWS[way]: {"too_long": way} for way in _TOO_LONG.get(code, ())}
        if code in CODES and CODES[code].by_row:
            found[words.SKIP_BAD_NOW] = {"bad_rows": "skip"}
    return list(found.items())


def label_remedies(finding: Mapping[str, Any]) -> list[Remedy]:
    """A remedy for each label that may be another one, as a finding has them."""
    return [
        (words.COUNT_AS.format(label=label, meant=meant), {"same_labels": {label: meant}})
        for label, meant in finding["settings"].get("same_labels", {}).items()
    ]


def with_remedy(said: Mapping[str, Any], remedy: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the data with those of a remedy.

    A label more counts as another one then, and with it those that counted as it.

    Args:
        said: The settings as they are.
        remedy: Of `remedies_of` or `label_remedies`.
    """
    same = dict(said.get("same_labels", {}))
    for label, meant in remedy.get("same_labels", {}).items():
        same = {one: meant if other == label else other for one, other in same.items()}
        same[label] = meant
    return {**said, **remedy, **({"same_labels": same} if same else {})}


def show_remedies(remedies: Sequence[Remedy], take: Callable[[dict[str, Any]], Any]) -> None:
    """Puts a button for each remedy onto the page.

    Args:
        remedies: What can be done.
        take: Called with the settings of the chosen one.
    """
    for title, settings in remedies:
        button = secondary(title, lambda settings=settings: take(settings), icon="build")
        button.props("dense size=sm padding='4px 12px'").mark("remedy")


def in_plain_words(text: str, code: str = "") -> str:
    """Advice as a page gives it: where a button does it, no setting is named.

    Args:
        text: The advice, or a message that ends with it.
        code: Of the finding, if the text is its advice alone.
    """
    return words.FIXES.get(code, text.replace(SKIP, words.SKIP_ADVICE))


def is_lasting(code: str) -> bool:
    """Whether a run that ended with this would end so again: what is wrong stands in its data."""
    return is_about_data(code) and code not in _MAY_PASS


def is_about_data(code: str) -> bool:
    """Whether an error's code says that the data can't be used as it is."""
    return code in CODES or code == "LABELS_ALIKE"  # which needs a model's tokens to be found

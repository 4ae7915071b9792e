"""What a press of a button can do about what a check-up found: settings, by the finding's code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gemma_keras_tune.data_codes import CODES, SKIP

from ...words import data as words
from ..widgets import secondary

_TOO_LONG: Mapping[str, tuple[str, ...]] = {
    "TOO_LONG": ("truncate", "drop"),
    "ALL_ROWS_TOO_LONG": ("truncate",),
    "ANSWER_TOO_LONG": ("drop",),
}


def remedies_of(code: str) -> list[tuple[str, dict[str, str]]]:
    """`(what a button says, settings of the data)` for each remedy that is a setting.

    Args:
        code: A finding's code, or an error's.
    """
    if code in _TOO_LONG:
        return [(words.LONG_ROWS[way], {"too_long": way}) for way in _TOO_LONG[code]]
    kind = CODES.get(code)
    if kind is not None and kind.by_row:
        return [(words.SKIP_BAD_NOW, {"bad_rows": "skip"})]
    return []


def show_remedies(code: str, take: Callable[[dict[str, str]], Any]) -> None:
    """Puts a button for each remedy onto the page.

    Args:
        code: A finding's code, or an error's.
        take: Called with the settings of the chosen one.
    """
    for title, settings in remedies_of(code):
        button = secondary(title, lambda settings=settings: take(settings), icon="build")
        button.props("dense size=sm padding='4px 12px'").mark("remedy")


def in_plain_words(text: str, code: str = "") -> str:
    """Advice as a page gives it: where a button does it, no setting is named.

    Args:
        text: The advice, or a message that ends with it.
        code: Of the finding, if the text is its advice alone.
    """
    return words.FIXES.get(code, text.replace(SKIP, words.SKIP_ADVICE))


def is_about_data(code: str) -> bool:
    """Whether an error's code says that the data can't be used as it is."""
    return code in CODES

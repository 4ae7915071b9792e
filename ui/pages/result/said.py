"""An answer's text, piece by piece, with how sure the model was of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

from ...words import playground as words


class Said(ui.element, component="said.js"):
    """An answer whose pieces can be chosen, with the probability of the chosen one.

    Args:
        tokens: Of each its `text`, its `probability`, and the `others` that could have stood there,
            as pairs of text and probability.
        percent: Writes a share as the reader does.
        name: Whose answer it is, for screen readers.
    """

    def __init__(
        self, tokens: Sequence[Mapping[str, Any]], percent: Callable[[float], str], name: str
    ) -> None:
        super().__init__()
        self.props["pieces"] = [
            {
                "text": token["text"],
                "probability": token["probability"],
                "said": _said(token, percent),
            }
            for token in tokens
        ]
        self.props["name"] = name
        self.props["hint"] = words.CHOOSE


def _said(token: Mapping[str, Any], percent: Callable[[float], str]) -> str:
    others = ", ".join(f"{_shown(text)} {percent(share)}" for text, share in token["others"])
    return words.TOKEN.format(
        text=_shown(token["text"]), probability=percent(token["probability"]), others=others
    )


def _shown(text: str) -> str:
    """A token's text with its line breaks and spaces to be seen."""
    return text.replace("\n", "\u21b5").replace(" ", "\u00b7") or "\u2205"

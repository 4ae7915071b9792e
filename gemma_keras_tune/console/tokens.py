"""Rows token by token, coloured by what the model does with each token."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from . import screen

if TYPE_CHECKING:
    from ..data.preview import PreviewRow, PreviewToken

# Kind, meaning, colour, and the marks around a run of tokens where there is no colour.
_KINDS = {
    "supervised": ("learned: the model must predict it", "black on green", ("[+", "+]")),
    "context": ("only read", "", ("", "")),
    "truncated": ("cut away", "strike red", ("[-", "-]")),
}


def show_rows(console: Console, rows: Sequence[PreviewRow]) -> None:
    """The rows, each under its place, after a legend."""
    colours = console.is_terminal and console.color_system is not None
    screen.say(console, _legend(colours=colours))
    for row in rows:
        learned = sum(token.kind == "supervised" for token in row.tokens)
        head = f"\n{screen.path_name(row.file)}:{row.row}  {row.length} tokens, {learned} learned"
        head += f", {row.cut} cut away" if row.cut else ""
        head += "" if row.used else "  TOO LONG: not used as it is"
        screen.say(console, screen.text(head, "bold"), _tokens(row.tokens, colours=colours))


def _legend(*, colours: bool) -> Text:
    legend = Text("Every token: ")
    for index, (kind, (meaning, style, marks)) in enumerate(_KINDS.items()):
        legend.append(", " if index else "")
        shown = kind if colours else f"{marks[0]}{kind}{marks[1]}"
        legend.append(shown, style if colours else "").append(f" ({meaning})")
    return legend.append(". A dot stands between tokens.")


def _tokens(tokens: Sequence[PreviewToken], *, colours: bool) -> Text:
    shown, kind, between = Text(), "context", ""
    for token in tokens:
        if not colours and token.kind != kind:
            shown.append(_KINDS[kind][2][1])
        shown.append(between, "dim")
        if not colours and token.kind != kind:
            shown.append(_KINDS[token.kind][2][0])
        shown.append(_piece(token.text), _KINDS[token.kind][1] if colours else "")
        kind, between = token.kind, "" if token.text.endswith("\n") else "\u00b7"
    return shown if colours else shown.append(_KINDS[kind][2][1])


def _piece(piece: str) -> str:
    """A piece with its line breaks shown and made."""
    return screen.plain(piece).replace("\n", "\u21b5\n")

"""The first rows token by token: what is learned, what is only read, what was cut."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from ..recipe import DataRecipe
from ..text.template import Part, Template
from .examples import Example, read_examples
from .findings import raise_errors
from .tokenize import fit

TokenKind = Literal["supervised", "context", "truncated"]


@dataclass(frozen=True)
class PreviewToken:
    """One token of a row.

    Args:
        id: Token id.
        text: The vocabulary's piece, with spaces for U+2581.
        kind: `supervised` (the model must predict it), `context` (it only reads it), or
            `truncated` (cut away).
        special: Whether it is a marker, which no text can spell, such as `<start_of_turn>`.
    """

    id: int
    text: str
    kind: TokenKind
    special: bool = False


@dataclass(frozen=True, kw_only=True)
class PreviewRow:
    """One row, token by token.

    Args:
        file: The file.
        row: Line number in it.
        tokens: Every token, those cut away included, in order.
        length: Tokens before anything is cut.
        cut: Tokens cut away.
        used: Whether training would use the row; False if it is too long to be used.
    """

    file: str
    row: int
    tokens: tuple[PreviewToken, ...]
    length: int
    cut: int
    used: bool


def preview_data(
    recipe: DataRecipe,
    template: Template,
    *,
    rows: int = 5,
    offset: int = 0,
    lines: Collection[int] = (),
) -> tuple[PreviewRow, ...]:
    """The first rows of a recipe's training file, or those after them, token by token.

    Args:
        recipe: The data section.
        template: The model's.
        rows: How many rows to show; the rest of the file is read only where prompts are shortened,
            for its labels.
        offset: How many rows to pass over before them.
        lines: Line numbers of the only rows to show; those that can't be used are left out.

    Raises:
        DataError: If the file, or one of these rows, can't be used.
    """
    # no row stands before the line of its number
    limit = max(lines) if lines else offset + rows
    read = read_examples(recipe, recipe.path, labels=recipe.labels, limit=limit)
    raise_errors(read.findings)
    chosen = [row for row in read.examples if row.row in lines] if lines else read.examples[offset:]
    return preview_rows(
        chosen,
        template,
        max_length=recipe.max_length,
        too_long=recipe.too_long,
        labels=_every_label(recipe) if recipe.too_long == "truncate" else (),
    )


def _every_label(recipe: DataRecipe) -> Sequence[str]:
    """The labels that there are; where the recipe doesn't name them, in all of its rows."""
    if recipe.task != "classification":
        return ()
    return recipe.labels or tuple(read_examples(recipe, recipe.path).labels)


def preview_rows(
    examples: Sequence[Example],
    template: Template,
    *,
    max_length: int,
    too_long: Literal["error", "truncate", "drop"] = "error",
    labels: Sequence[str] = (),
) -> tuple[PreviewRow, ...]:
    """Examples token by token, exactly as `tokenize_examples` would make them.

    Args:
        examples: What to show.
        template: Turns them into ids.
        max_length: Most tokens of an example.
        too_long: What happens to longer ones.
        labels: As in `tokenize_examples`.

    Raises:
        DataError: What `Template.render` raises, with file and row.
    """
    shown = []
    for example in examples:
        room_for = labels if too_long == "truncate" else ()
        parts, cuts = fit(example, template, max_length=max_length, labels=room_for)
        length = sum(len(part.ids) for part in parts)
        fits = cuts is not None and not any(cuts)
        shortened = cuts is not None and not fits and too_long == "truncate"
        gone = cuts if shortened and cuts is not None else [range(0)] * len(parts)
        shown.append(
            PreviewRow(
                file=example.file,
                row=example.row,
                tokens=_tokens(parts, gone, template),
                length=length,
                cut=sum(map(len, gone)),
                used=fits or shortened,
            )
        )
    return tuple(shown)


def _tokens(
    parts: Sequence[Part], gone: Sequence[range], template: Template
) -> tuple[PreviewToken, ...]:
    tokens, reserved = [], template.tokenizer.reserved_ids
    for part, cut in zip(parts, gone, strict=True):
        kind: TokenKind = "supervised" if part.supervised else "context"
        for index, token in enumerate(part.ids):
            text = template.tokenizer.piece(token).replace("\u2581", " ")
            shown: TokenKind = "truncated" if index in cut else kind
            tokens.append(PreviewToken(token, text, shown, token in reserved))
    return tuple(tokens)

"""The tokens of all parts of a split: what a run would refuse late is refused early."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import DataError
from ..text.template import Template
from .examples import Example, Examples
from .label_answers import label_answers
from .tokenize import TokenSet, tokenize_examples


@dataclass(frozen=True, kw_only=True)
class TokenParts:
    """Tokens of the parts of a split.

    Args:
        train: Those to learn from.
        validation: Those that choose the best step; None where there are none.
        test: Those of the final report; None where there are none.
    """

    train: TokenSet
    validation: TokenSet | None
    test: TokenSet | None


def tokenize_parts(
    examples: Examples, template: Template, *, cache_dir: str | os.PathLike[str] | None = None
) -> TokenParts:
    """The tokens of each part, made as training and the final report make them.

    Args:
        examples: The rows, split.
        template: The model's.
        cache_dir: Where training looks for the tokens that it needs; those of the test rows are
            not kept.

    Raises:
        DataError: What `tokenize_examples` raises of any part, said of all rows at once where it
            holds for all of them; `LABELS_ALIKE`, if the report couldn't tell the labels apart.
        TuneError: As `tokenize_examples`.
    """

    def tokens_of(rows: Sequence[Example], kept: str | os.PathLike[str] | None = None) -> TokenSet:
        how = examples.train
        return tokenize_examples(
            rows, template, max_length=how.max_length, too_long=how.too_long, cache_dir=kept
        )

    try:
        parts = TokenParts(
            train=tokens_of(examples.train, cache_dir),
            validation=tokens_of(examples.validation, cache_dir) if examples.validation else None,
            test=tokens_of(examples.test) if examples.test else None,
        )
    except DataError:
        tokens_of(examples.every)  # says it of all rows, where it isn't true of one part alone
        raise
    if examples.test and examples.task == "classification":
        label_answers(template, examples.labels)
    return parts

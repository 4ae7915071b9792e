"""The tokens of all parts of a split: what a run would refuse late is refused early."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from ..errors import DataError
from ..text.template import Template
from .examples import Examples, Split
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


def tokenize_split(
    split: Split, template: Template, *, cache_dir: str | os.PathLike[str] | None = None
) -> TokenSet:
    """The tokens of a split's rows, within its limits.

    Args:
        split: The rows, and what becomes of those that are too long.
        template: The model's.
        cache_dir: As in `tokenize_examples`.

    Raises:
        DataError: As `tokenize_examples`.
        TuneError: As `tokenize_examples`.
    """
    return tokenize_examples(
        split,
        template,
        max_length=split.max_length,
        too_long=split.too_long,
        labels=split.labels,
        cache_dir=cache_dir,
    )


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
    validation, test = examples.validation, examples.test
    try:
        parts = TokenParts(
            train=tokenize_split(examples.train, template, cache_dir=cache_dir),
            validation=tokenize_split(validation, template, cache_dir=cache_dir)
            if validation
            else None,
            test=tokenize_split(test, template) if test else None,
        )
    except DataError:
        # says it of all rows, where it isn't true of one part alone
        tokenize_split(replace(examples.train, examples=examples.every), template)
        raise
    if test and examples.task == "classification":
        label_answers(template, examples.labels)
    return parts

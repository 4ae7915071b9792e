"""How many optimizer steps a run has: counted in the tokenised data, or estimated from a sample."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import NamedTuple

from ..data.examples import Examples, examine, read_examples
from ..data.findings import Finding, raise_errors
from ..data.label_spellings import judge_spellings
from ..data.pack import packing_plan
from ..data.parts import TokenParts, tokenize_parts
from ..data.tokenize import TokenSet, tokenize_examples
from ..errors import DataError
from ..recipe import Recipe
from ..run_folder import token_cache
from ..text.template import Template
from .values import Steps

COUNTED_BYTES = 20_000_000
"""Larger files are sampled: reading and tokenising them would take longer than a plan should."""

_SAMPLED_ROWS = 2000


class Counted(NamedTuple):
    """The steps of a run, and the warnings and remarks about its data."""

    steps: Steps
    findings: tuple[Finding, ...]


def count_steps(recipe: Recipe, template: Template, *, rows_of_step: int) -> Counted:
    """The steps of a run on the recipe's data, and what was found in it.

    Small files are read and tokenised as a run does it, with the rows that are held back: what it
    would refuse is refused here. What was tokenised is kept for it. Of a large file the first rows
    are, and the rest is taken to be like them.

    Args:
        recipe: Data, epochs and the limit of steps.
        template: The model's, which makes tokens of rows.
        rows_of_step: Packed rows of an optimizer step.

    Raises:
        DataError: If the data can't be used.
        RecipeError: If the recipe asks for what its task doesn't do.
        OSError: If the data file can't be looked at.
    """
    if os.stat(Path(recipe.data.path)).st_size > COUNTED_BYTES:
        return _from_sample(recipe, template, rows_of_step)
    examples = examine(recipe.data)
    parts = _tokens_of(examples, template)
    tokens = parts.train
    length, train = recipe.data.max_length, recipe.train
    packed_rows: list[int] = []
    total = 0
    for epoch in range(train.epochs):
        packed = packing_plan(tokens.lengths, row_length=length, seed=train.seed, epoch=epoch)
        packed_rows.append(len(packed))
        total += math.ceil(len(packed) / rows_of_step)
        if train.max_steps is not None and total >= train.max_steps:
            break
    steps = Steps(
        total=_limited(total, recipe),
        rows=len(tokens),
        tokens=int(tokens.lengths.sum()),
        answer_share=_answer_share(tokens),
        counted="all",
        packed_rows=packed_rows[0],
        validation_rows=len(parts.validation or ()),
        test_rows=len(parts.test or ()),
    )
    return Counted(steps, examples.findings)


def _tokens_of(examples: Examples, template: Template) -> TokenParts:
    """The tokens, unless a run would refuse the data; all that it would refuse is said at once.

    Raises:
        DataError: With what is wrong with rows, and those that are too long.
    """
    try:
        parts = tokenize_parts(examples, template, cache_dir=token_cache())
    except DataError as error:
        raise_errors((*examples.findings, *error.findings))
        raise
    raise_errors(examples.findings)
    return parts


def _from_sample(recipe: Recipe, template: Template, rows_of_step: int) -> Counted:
    path, data, train = recipe.data.path, recipe.data, recipe.train
    found = read_examples(data, path, labels=data.labels, limit=_SAMPLED_ROWS)
    tokens = tokenize_examples(
        found.examples,
        template,
        max_length=data.max_length,
        too_long=data.too_long,
        labels=tuple(found.labels),
        cache_dir=token_cache(),
    )
    rows = _lines(path) * len(found.examples) / max(1, found.examples[-1].row)
    validation = 0.0 if data.validation_path else data.validation_share * rows
    test = 0.0 if data.test_path else data.test_share * rows
    times = (rows - validation - test) / max(1, len(found.examples))
    packed = packing_plan(tokens.lengths, row_length=data.max_length, seed=train.seed, epoch=0)
    steps = Steps(
        total=_limited(train.epochs * math.ceil(len(packed) * times / rows_of_step), recipe),
        rows=round(rows - validation - test),
        tokens=round(float(tokens.lengths.sum()) * times),
        answer_share=_answer_share(tokens),
        counted="sample",
        packed_rows=round(len(packed) * times),
        validation_rows=_lines(data.validation_path) if data.validation_path else round(validation),
        test_rows=_lines(data.test_path) if data.test_path else round(test),
    )
    about_labels = judge_spellings(found.examples, found.labels)
    return Counted(steps, (*found.findings, *about_labels))


def _limited(total: int, recipe: Recipe) -> int:
    limit = recipe.train.max_steps
    return total if limit is None else min(total, limit)


def _answer_share(tokens: TokenSet) -> float:
    return tokens.supervised_tokens / max(1, int(tokens.lengths.sum()))


def _lines(path: str) -> int:
    """Line breaks of a file, read a block at a time."""
    count = 0
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            count += block.count(b"\n")
    return count

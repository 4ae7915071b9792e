"""The health report of a data set: everything that is wrong or odd, and a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..data_codes import CODES
from ..errors import DataError
from ..recipe import DataRecipe
from ..text.template import Template
from .contents import judge_contents
from .examples import Example, Examples, examine
from .findings import Finding
from .tokenize import tokenize_examples

STEPS = 40  # of a histogram of lengths, at most
_NO_LIMIT = 2**31 - 1

Histogram = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What a data set is, and what is wrong with it.

    Args:
        rows: Rows that a run uses, those held back included: no error is about them, and they are
            not left out.
        total: All rows of the files: with those that can't be used, but for blank ones.
        attention: How many of all rows an error or a warning is about, each counted once; those
            that are left out need none.
        left_out: How many can't be used or are too long, and are left out, as the recipe asks.
        train: Rows to learn from.
        validation: Rows that choose the best step.
        test: Rows of the final report.
        labels: Rows of each label of a classification.
        tokens: Lengths in tokens, where a template was given: `total`, `supervised_share`,
            `median`, `p95`, `longest`, `over_limit` (rows longer than `max_length`).
        histogram: With the lengths, `(first, last, rows)`: how many rows have `first` to `last`
            tokens, in steps of one width from 1 to the longest.
        score: 0 to 100, see `score_of`.
        findings: Errors first, then warnings, then remarks.
    """

    rows: int
    total: int = 0
    attention: int = 0
    left_out: int = 0
    train: int = 0
    validation: int = 0
    test: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    tokens: dict[str, float] | None = None
    histogram: Histogram = ()
    score: int
    findings: tuple[Finding, ...]

    @property
    def usable(self) -> bool:
        """Whether no finding is an error."""
        return not any(item.severity == "error" for item in self.findings)

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {
            "rows": self.rows,
            "total": self.total,
            "attention": self.attention,
            "left_out": self.left_out,
            "splits": {"train": self.train, "validation": self.validation, "test": self.test},
            "labels": dict(self.labels),
            "tokens": self.tokens,
            "histogram": [
                {"first": first, "last": last, "rows": rows} for first, last, rows in self.histogram
            ],
            "score": self.score,
            "findings": [item.to_json() for item in self.findings],
        }


def check_data(recipe: DataRecipe, *, template: Template | None = None) -> DataReport:
    """The health report of a recipe's data; data at fault is a finding, never an exception.

    Args:
        recipe: The data section, its paths absolute or relative to the working folder.
        template: The model's, to know lengths in tokens; without it they are left out.

    Raises:
        RecipeError: `SETTING_NOT_USED`, if the recipe asks for what its task doesn't do.
    """
    try:
        examples = examine(recipe)
    except DataError as error:
        count = count_rows(error.findings, usable=0)
        return DataReport(
            rows=0, total=count.total, attention=count.wrong, score=0, findings=error.findings
        )
    every = examples.every
    findings = [*examples.findings, *judge_contents(examples)]
    tokens: dict[str, float] | None = None
    histogram: Histogram = ()
    if template is not None and every:
        tokens, histogram, about_lengths = _lengths(every, template, recipe, examples.labels)
        findings += about_lengths
    order = ("error", "warning", "info")
    findings.sort(key=lambda item: order.index(item.severity))
    count = count_rows(findings, usable=len(every))
    used = _marked(findings, len(every)).used
    train, validation, _ = map(len, (examples.train, examples.validation, examples.test))
    parts = np.split(used, [train, train + validation])
    return DataReport(
        rows=count.used,
        total=count.total,
        attention=count.wrong + count.odd,
        left_out=count.left_out,
        train=int(parts[0].sum()),
        validation=int(parts[1].sum()),
        test=int(parts[2].sum()),
        labels=_label_counts(examples, used),
        tokens=tokens,
        histogram=histogram,
        score=score_of(findings, usable=len(every)),
        findings=tuple(findings),
    )


class RowCount(NamedTuple):
    """How many rows of all there are, and what findings say of them, each counted once.

    Args:
        total: All rows, usable or not.
        wrong: Those that an error is about.
        odd: Others that a warning is about, but for those that are left out.
        left_out: Those that can't be used or are too long, and are left out.
    """

    total: int
    wrong: int
    odd: int
    left_out: int

    @property
    def used(self) -> int:
        """Those that a run uses."""
        return self.total - self.wrong - self.left_out


def count_rows(findings: Sequence[Finding], *, usable: int) -> RowCount:
    """How many rows the findings are about.

    A row that can't be used is in one finding only: it isn't looked at any further.

    Args:
        findings: What was found.
        usable: Rows that can be used.
    """
    unusable = [item for item in findings if CODES[item.code].by_row]
    left_out = sum(item.count for item in unusable if item.is_left_out)
    lost = sum(item.count for item in unusable) - left_out
    rows = _marked(findings, usable)
    return RowCount(
        total=usable + lost + left_out,
        wrong=lost + int(rows.wrong.sum()),
        odd=int((rows.odd & rows.used).sum()),
        left_out=left_out + int((rows.dropped & ~rows.wrong).sum()),
    )


class _Marked(NamedTuple):
    """Which of the usable rows findings are about: `[n]` bool each."""

    wrong: npt.NDArray[np.bool_]
    odd: npt.NDArray[np.bool_]
    dropped: npt.NDArray[np.bool_]

    @property
    def used(self) -> npt.NDArray[np.bool_]:
        """Those that a run uses."""
        return ~(self.wrong | self.dropped)


def _marked(findings: Sequence[Finding], usable: int) -> _Marked:
    rows = _Marked(*(np.zeros(usable, bool) for _ in _Marked._fields))
    for item in findings:
        if item.rows is None or item.severity == "info":
            continue
        if item.severity == "error":
            rows.wrong[item.rows] = True
        else:
            (rows.dropped if item.code == "DROPPED" else rows.odd)[item.rows] = True
    return rows


def score_of(findings: Sequence[Finding], *, usable: int) -> int:
    """The share of rows that are sound, in hundredths, less what is wrong with the whole.

    A row with a warning, or left out, is half sound; one with an error is not. An error about
    the data as a whole costs 30 more, such a warning 5. Remarks cost nothing. At least 0, which a
    data set without a usable row has.

    Args:
        findings: What was found.
        usable: Rows that can be used.
    """
    if usable == 0:
        return 0
    count = count_rows(findings, usable=usable)
    bad = count.wrong + (count.odd + count.left_out) / 2
    cost = {"error": 30, "warning": 5, "info": 0}
    whole = [one for one in findings if one.rows is None and not CODES[one.code].by_row]
    score = 100 * (1 - bad / count.total) - sum(cost[item.severity] for item in whole)
    return max(0, round(score))


def _lengths(
    every: Sequence[Example], template: Template, recipe: DataRecipe, labels: Sequence[str]
) -> tuple[dict[str, float] | None, Histogram, list[Finding]]:
    try:
        tokens = tokenize_examples(every, template, max_length=_NO_LIMIT)
        findings = list(tokens.findings)
    except DataError as error:
        return None, (), list(error.findings)
    lengths = tokens.lengths
    over = int((lengths > recipe.max_length).sum())
    if over:
        try:
            limited = tokenize_examples(
                every,
                template,
                max_length=recipe.max_length,
                too_long=recipe.too_long,
                labels=labels,
            )
            findings = list(limited.findings)
        except DataError as error:
            findings = list(error.findings)
    about = {
        "total": int(lengths.sum()),
        "supervised_share": round(tokens.supervised_tokens / int(lengths.sum()), 6),
        "median": float(np.median(lengths)),
        "p95": float(np.percentile(lengths, 95)),
        "longest": int(lengths.max()),
        "over_limit": over,
    }
    return about, histogram_of(lengths), findings


def histogram_of(lengths: npt.NDArray[np.integer]) -> Histogram:
    """`(first, last, rows)` of steps of 1, 2 or 5 times a power of ten, at most `STEPS` of them.

    Args:
        lengths: `[n]` tokens of each row, at least 1.
    """
    longest = int(lengths.max())
    width = next(
        width
        for power in range(len(str(longest)) + 1)
        for width in (10**power, 2 * 10**power, 5 * 10**power)
        if width * STEPS >= longest
    )
    counts = np.bincount((lengths - 1) // width)
    return tuple(
        (place * width + 1, (place + 1) * width, int(rows)) for place, rows in enumerate(counts)
    )


def _label_counts(examples: Examples, used: npt.NDArray[np.bool_]) -> dict[str, int]:
    counts = dict.fromkeys(examples.labels, 0)
    for example, is_used in zip(examples.every, used, strict=True):
        if is_used and example.label is not None:
            counts[example.label] = counts.get(example.label, 0) + 1
    return counts

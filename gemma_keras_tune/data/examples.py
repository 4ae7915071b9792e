"""Rows to examples: what a row says to the model, and which rows are held back."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt

from ..errors import RecipeError, expect
from ..recipe import DataRecipe
from ..text.turns import Turn
from .findings import Finding, Notes, fatal, finding, finding_about, place, raise_errors
from .jsonl_rows import RowFault
from .kept import Joined, Keeper, Kept
from .label_spellings import judge_spellings
from .read import FileFacts, stream_rows
from .rows import turns_of, wanted_columns
from .split import HASH_BYTES, hash_numbers, input_key, split_rows
from .tokenize import TooLong

LEAKAGE_LIMIT = 0.01  # share of the held-back rows that may also be training rows


@dataclass(frozen=True, slots=True)
class Example:
    """One row, as the model sees it.

    Args:
        turns: What is said; the last turn is the answer (or one `text` turn, all of it learned).
        label: The row's label in a classification, which is also the last turn's text.
        row: Line number in the file, from 1.
        file: The file, as it was named.
        frame: Text before and after the row's own words in the first user turn (the system text
            and `prompt_format`): shortening a prompt spares it.
    """

    turns: tuple[Turn, ...]
    label: str | None
    row: int
    file: str
    frame: tuple[str, str] = ("", "")


@dataclass(frozen=True, kw_only=True, eq=False)
class Split(Sequence[Example]):
    """Some examples, and what the recipe says of them: all that training on them must know.

    Args:
        examples: The rows. Those of a file are kept outside of memory where they are many.
        task: The recipe's task.
        labels: The allowed labels of a classification, in order; else empty.
        max_length: Most tokens of an example.
        too_long: What is done with longer ones: `error`, `truncate` or `drop`.
    """

    examples: Sequence[Example] = field(repr=False)
    task: str
    labels: tuple[str, ...] = ()
    max_length: int = 512
    too_long: TooLong = "error"

    def __len__(self) -> int:
        return len(self.examples)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Split: ...
    def __getitem__(self, index: int | slice) -> Example | Split:
        if isinstance(index, slice):
            return replace(self, examples=self.examples[index])
        return self.examples[index]


@dataclass(frozen=True, kw_only=True, eq=False)
class Examples:
    """The examples of a recipe, split.

    Args:
        train: Those to learn from.
        validation: Those that choose the best step.
        test: Those that the final report is about.
        labels: The allowed labels of a classification, in order; else empty.
        task: The recipe's task.
        sources: Path to SHA-256 of every file that was read.
        findings: Warnings and remarks; errors are raised instead.
    """

    train: Split
    validation: Split
    test: Split
    labels: tuple[str, ...]
    task: str
    sources: dict[str, str]
    findings: tuple[Finding, ...] = ()

    @property
    def every(self) -> Sequence[Example]:
        """Those of all three parts, one after the other."""
        return Joined(self.train, self.validation, self.test)


def load_examples(recipe: DataRecipe) -> Examples:
    """The examples of a data recipe, with some held back.

    The split is a pure function of the rows' words and `split_seed`: rows with the same input
    stay on one side, each label is split by itself, and new rows don't move the old ones far.

    Args:
        recipe: The data section, its paths absolute or relative to the working folder.

    Raises:
        DataError: With every error finding; see `data_codes.CODES`.
        RecipeError: `SETTING_NOT_USED`, if the recipe asks for what its task doesn't do.
        TuneError: `NEEDS_SPACE` or `SCRATCH_FOLDER`, if the rows are too many for memory and the
            disk doesn't take them.
        TypeError: If `recipe` is another part of a recipe, or all of it.
    """
    expect("recipe", recipe, DataRecipe, such_as="recipe.data")
    examples = examine(recipe)
    raise_errors(examples.findings)
    return examples


def examine(recipe: DataRecipe) -> Examples:
    """As `load_examples`, but what is wrong with rows is only noted: for the health report.

    Raises:
        DataError: If a file as a whole can't be used.
        RecipeError: As `load_examples`.
    """
    _check_settings(recipe)
    main = read_examples(recipe, recipe.path, labels=recipe.labels)
    labels = recipe.labels or tuple(sorted(main.labels))
    given = {
        part: read_examples(recipe, path, labels=labels)
        for part, path in (("validation", recipe.validation_path), ("test", recipe.test_path))
        if path is not None
    }
    files = [main, *given.values()]
    findings = [item for file in files for item in file.findings]
    parts = split_rows(
        main.examples,
        validation_share=0.0 if "validation" in given else recipe.validation_share,
        test_share=0.0 if "test" in given else recipe.test_share,
        seed=recipe.split_seed,
    )
    train, validation, test = map(main.examples.take, parts)
    held_back = {"validation": validation, "test": test}
    for part, file in given.items():
        held_back[part] = file.examples
        findings += _leakage(main.examples, file.examples)
    if len(given) == 2:
        findings += _overlap(held_back["validation"], held_back["test"])
    findings += _empty_splits(recipe, held_back)
    every = Joined(train, *held_back.values())
    findings += judge_spellings(every, sum((file.labels for file in files), Counter()))
    split = partial(
        Split,
        task=recipe.task,
        labels=labels,
        max_length=recipe.max_length,
        too_long=recipe.too_long,
    )
    return Examples(
        train=split(examples=train),
        validation=split(examples=held_back["validation"]),
        test=split(examples=held_back["test"]),
        labels=labels,
        task=recipe.task,
        sources={file.path: file.sha256 for file in files},
        findings=tuple(findings),
    )


class FileExamples(NamedTuple):
    """What one file gave: its hash, examples, how many of them have each label, and findings."""

    path: str
    sha256: str
    examples: Kept[Example]
    labels: Counter[str]
    findings: tuple[Finding, ...]


def read_examples(
    recipe: DataRecipe, path: str, *, labels: tuple[str, ...] = (), limit: int | None = None
) -> FileExamples:
    """The examples of one file, unsplit; bad rows are only noted.

    Args:
        recipe: How to read it.
        path: The file.
        labels: The allowed labels; empty allows any.
        limit: Stop after so many rows.

    Raises:
        DataError: If the file as a whole can't be used.
    """
    notes = Notes(skip_rows=recipe.bad_rows == "skip")
    keeper = Keeper(_dump, partial(_load, file=path))
    found: Counter[str] = Counter()

    def take(number: int, row: dict[str, Any]) -> None:
        try:
            made = turns_of(row, recipe, labels=labels)
        except RowFault as fault:
            notes.add(fault.code, str(fault), place(path, number))
            return
        keeper.add(Example(made.turns, made.label, number, path, made.frame))
        if made.label is not None:
            found[made.label] += 1

    facts = stream_rows(
        path,
        take,
        format=recipe.format,
        encoding=recipe.encoding,
        delimiter=recipe.delimiter,
        wanted=wanted_columns(recipe),
        bad_rows=recipe.bad_rows,
        limit=limit,
    )
    _check_columns(recipe, facts)
    findings = facts.findings + notes.findings()
    if not keeper and not any(item.severity == "error" for item in findings):
        what = "The file has no rows that can be used."
        raise fatal("EMPTY_DATASET", what, where=place(path, 1), others=findings)
    return FileExamples(path, facts.sha256, keeper.items(), found, findings)


def _dump(example: Example) -> bytes:
    turns = [(turn.role, turn.text) for turn in example.turns]
    return json.dumps((turns, example.label, example.row, example.frame)).encode()


def _load(stored: bytes, *, file: str) -> Example:
    turns, label, row, (before, after) = json.loads(stored)
    return Example(tuple(Turn(*turn) for turn in turns), label, row, file, (before, after))


def _check_columns(recipe: DataRecipe, facts: FileFacts) -> None:
    """Refuse a file without a column that the task needs.

    Raises:
        DataError: `MISSING_COLUMN`, with the columns that there are.
    """
    missing = [name for name in wanted_columns(recipe) if name not in facts.columns]
    if missing and facts.columns:
        there = ", ".join(map(repr, facts.columns[:20]))
        more = f" and {len(facts.columns) - 20} more" if len(facts.columns) > 20 else ""
        raise fatal(
            "MISSING_COLUMN",
            f"The task {recipe.task!r} needs {', '.join(map(repr, missing))}; "
            f"the file has {there}{more}.",
            where=place(facts.path, 1),
        )


def _check_settings(recipe: DataRecipe) -> None:
    """Refuse settings that the task would pass over in silence.

    Raises:
        RecipeError: `SETTING_NOT_USED`.
    """
    unused = []
    if recipe.task in ("chat", "text") and recipe.prompt_format != "{prompt}":
        unused.append("data.prompt_format")
    if recipe.task == "text" and recipe.system:
        unused.append("data.system")
    if unused:
        raise RecipeError(
            f"{' and '.join(unused)} can't be used with the task {recipe.task!r}. "
            "Remove it, or choose the task 'instruction'.",
            code="SETTING_NOT_USED",
        )


def rows_in_common(rows: Sequence[Example], others: Iterable[Example]) -> npt.NDArray[np.int64]:
    """`[k]` indices of the rows whose input is also one of the others'."""
    return np.flatnonzero(np.isin(_input_hashes(rows), _input_hashes(others)))


def _leakage(main: Iterable[Example], held_back: Sequence[Example]) -> list[Finding]:
    """Held-back rows whose input is also in the training file: an error above one in a hundred.

    In all of it: what is split off from it for validation chooses the best step.
    """
    both = rows_in_common(held_back, main)
    if not len(both):
        return []
    share = len(both) / len(held_back)
    code = "TRAIN_TEST_LEAKAGE" if share > LEAKAGE_LIMIT else "TRAIN_TEST_OVERLAP"
    what = (
        f"{share:.1%} of the held-back rows are also in the training file "
        f"({LEAKAGE_LIMIT:.0%} is allowed)."
    )
    found = finding_about(code, what, held_back, both)
    return [replace(found, rows=None)]  # it is about the files as a whole


def _overlap(validation: Sequence[Example], test: Sequence[Example]) -> list[Finding]:
    """Rows of a test file whose input is also in a validation file."""
    both = rows_in_common(test, validation)
    if not len(both):
        return []
    what = (
        f"{len(both) / len(test):.1%} of the test rows are also validation rows, which choose the "
        "best step: the report on them is a little too good."
    )
    return [replace(finding_about("VALIDATION_TEST_OVERLAP", what, test, both), rows=None)]


def _input_hashes(examples: Iterable[Example]) -> npt.NDArray[np.uint64]:
    hashes = bytearray()
    for example in examples:
        hashes += input_key(example.turns)[:HASH_BYTES]
    return hash_numbers(hashes)


def _empty_splits(recipe: DataRecipe, parts: dict[str, Kept[Example]]) -> list[Finding]:
    asked = {
        "validation": recipe.validation_path or recipe.validation_share,
        "test": recipe.test_path or recipe.test_share,
    }
    return [
        finding("EMPTY_SPLIT", f"There are too few rows to hold any back for {part}.")
        for part, wish in asked.items()
        if wish and not parts[part]
    ]

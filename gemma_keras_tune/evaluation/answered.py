"""A whole table answered: labels with how sure the model is of them, or written answers."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.jsonl_rows import RowFault
from ..data.whole_table import (
    BYTE_ORDER_MARK,
    Cell,
    TableWriter,
    WholeRow,
    WholeTable,
    unused_names,
)
from ..durable import new_file
from ..errors import TuneError
from ..event_types import Event, Progress
from ..model.value import Model
from ..out_of_memory import is_out_of_memory, told_of_memory
from ..recipe import DataRecipe, Recipe
from .generate import generate
from .progress import OnEvent, Reporter
from .score import not_finite, score_labels
from .table_questions import TableQuestion, TableQuestions

STAGE = "answering"
"""What the events of the progress call it."""

_BLOCK = 4096  # rows that are in memory at a time
_DIGITS = 4  # of a confidence
_FIRST_ROWS = 20  # rows that the value shows
_LONGEST_SHOWN = 2000  # characters of a text in them
_SHORTENED = "Its beginning was cut off: longer than the {longest} tokens that the run takes."
_CUT_OFF = "The answer was cut off after {longest} tokens."
_Made = tuple[str, float | None, bool]  # an answer, the confidence, whether it was cut off


@dataclass(frozen=True, kw_only=True)
class TableAnswer:
    """What became of one row.

    Attributes:
        line: Its line in the file, from 1.
        asked: What stands in the column that is read, as text.
        answer: The label or the written answer; None where the row could not be answered.
        confidence: Probability of the label among the labels; None without labels.
        is_doubtful: Whether the confidence is below the bound that was asked for; None without a
            bound or a confidence.
        remark: Why there is no answer, or what was cut off; else empty.
        code: The same for programs: why there is no answer; else empty.
    """

    line: int
    asked: str
    answer: str | None = None
    confidence: float | None = None
    is_doubtful: bool | None = None
    remark: str = ""
    code: str = ""


@dataclass(frozen=True, kw_only=True)
class AnsweredTable:
    """What came of a table.

    Attributes:
        path: The file with the answers.
        rows: Rows of the table, all of which are in the file, in their order.
        columns: The names of the new columns: the answer, with labels the confidence and, if that
            was asked for, whether it is doubtful; the remark.
        counts: With labels: how many rows got each, the most frequent first.
        not_answered: How many rows could not be answered, by code.
        shortened: Rows whose beginning was cut off.
        cut_off: Answers that ran into the longest allowed length.
        guarded: Cells that got an apostrophe, since a program for tables would compute them.
        first: The first rows, twenty at most.
        doubtful: Rows whose confidence is below the bound; None if none was asked for.
    """

    path: Path
    rows: int
    columns: tuple[str, ...]
    counts: dict[str, int]
    not_answered: dict[str, int]
    shortened: int
    cut_off: int
    guarded: int
    first: tuple[TableAnswer, ...] = field(repr=False)
    doubtful: int | None = None

    @property
    def answered(self) -> int:
        """Rows that have an answer."""
        return self.rows - sum(self.not_answered.values())

    def to_json(self) -> dict[str, Any]:
        """Plain values; texts of the table are never keys, and at most 2,000 characters long."""
        return {
            "file": self.path.name,
            "rows": self.rows,
            "answered": self.answered,
            "columns": list(self.columns),
            "counts": [{"answer": name, "rows": rows} for name, rows in self.counts.items()],
            "not_answered": [{"code": code, "rows": n} for code, n in self.not_answered.items()],
            "shortened": self.shortened,
            "cut_off": self.cut_off,
            "guarded": self.guarded,
            "doubtful": self.doubtful,
            "first": [
                {
                    "row": one.line,
                    "asked": one.asked[:_LONGEST_SHOWN],
                    "answer": one.answer and one.answer[:_LONGEST_SHOWN],
                    "confidence": one.confidence,
                    "is_doubtful": one.is_doubtful,
                    "remark": one.remark,
                }
                for one in self.first
            ],
        }


@dataclass(frozen=True, kw_only=True)
class HowToAnswer:
    """What is asked of each row, and how its answer is written.

    Attributes:
        column: What is read of a row.
        labels: The allowed labels of a classification, each of which is scored; else empty, and
            answers are written, always with the likeliest token.
        max_tokens: The longest written answer.
        raw: Write cells that begin as formulas do as they are.
        doubt_below: With labels: a row whose confidence is below it (0 to 1) is marked as doubtful.
    """

    column: str
    labels: tuple[str, ...]
    max_tokens: int
    raw: bool
    doubt_below: float | None = None


@told_of_memory(STAGE)
def answer_rows(
    model: Model,
    recipe: Recipe,
    table: WholeTable,
    out: Path,
    *,
    how: HowToAnswer,
    on_event: OnEvent | None,
) -> AnsweredTable:
    """The table with the model's answers, written whole or not at all.

    Args:
        model: The trained model.
        recipe: Its run's.
        table: The rows.
        out: The file that gets them; an older one is replaced.
        how: What is asked.
        on_event: Receives `Progress` of the stage `answering`, counted in rows.

    Raises:
        DataError: `LABELS_ALIKE`, if the labels can't be told apart.
        ModelError: `LOSS_NOT_FINITE`, with the row.
        TuneError: `ANSWERS_FILE`, if the file can't be written.
        OutOfMemory: If there isn't enough memory.
    """
    added = unused_names(_new_columns(recipe.data, how), table.columns)
    answering = _Answering(model, recipe, how, Reporter(STAGE, len(table.rows), on_event))
    encoding = BYTE_ORDER_MARK if table.format == "csv" else "utf-8"
    first: list[TableAnswer] = []
    with (
        _told_if_unwritable(out),
        new_file(out) as temporary,
        open(temporary, "w", encoding=encoding, newline="") as file,
    ):
        writer = TableWriter(file, table, out, added=added, raw=how.raw)
        for start in range(0, len(table.rows), _BLOCK):
            rows = list(table.rows[start : start + _BLOCK])
            is_last = start + len(rows) == len(table.rows)
            answers = answering.answer(rows, before=start, is_last=is_last)
            for row, one in zip(rows, answers, strict=True):
                writer.write(row.cells, _cells(one, how))
            first += answers[: _FIRST_ROWS - len(first)]
    return AnsweredTable(
        path=out,
        rows=len(table.rows),
        columns=added,
        counts=dict(answering.counts.most_common()),
        not_answered=dict(answering.not_answered.most_common()),
        shortened=answering.shortened,
        cut_off=answering.cut_off,
        guarded=writer.guarded,
        first=tuple(first),
        doubtful=None if how.doubt_below is None else answering.doubtful,
    )


class _Answering:
    """Answers rows, block by block, and counts what became of them."""

    def __init__(self, model: Model, recipe: Recipe, how: HowToAnswer, reporter: Reporter) -> None:
        self._model, self._recipe, self._how, self._reporter = model, recipe, how, reporter
        self._questions = TableQuestions(model, recipe.data, column=how.column, labels=how.labels)
        self.counts, self.not_answered = Counter[str](), Counter[str]()
        self.shortened = self.cut_off = self.doubtful = 0

    def answer(self, rows: Sequence[WholeRow], *, before: int, is_last: bool) -> list[TableAnswer]:
        """What becomes of these rows, after `before` others."""
        found: dict[int, TableAnswer] = {}
        questions: dict[int, TableQuestion] = {}
        for place, row in enumerate(rows):
            try:
                questions[place] = self._questions.ask(row)
            except RowFault as fault:
                found[place] = self._not_answered(row, fault)
        before += len(found)

        def tell(event: Event) -> None:
            if isinstance(event, Progress):  # it knows of unfinished answers as well
                left = event.seconds_left if is_last else None
                self._reporter.report(before + int(event.done), seconds_left=left)

        prompts = [question.prompt_ids for question in questions.values()]
        answers = self._labels(prompts, tell) if self._how.labels else self._texts(prompts, tell)
        for place, (text, confidence, was_cut) in zip(questions, answers, strict=True):
            sure = self._sure(rows[place], confidence)
            found[place] = TableAnswer(
                line=rows[place].line,
                asked=_as_text(rows[place].cells.get(self._how.column)),
                answer=text,
                confidence=sure,
                is_doubtful=self._is_doubtful(sure),
                remark=self._remark(questions[place], was_cut=was_cut),
            )
        return [found[place] for place in range(len(rows))]

    def _labels(self, prompts: Sequence[Sequence[int]], tell: OnEvent) -> Iterator[_Made]:
        """The likeliest label of each prompt."""
        scores = score_labels(
            self._model,
            prompts,
            self._how.labels,
            batch_rows=self._recipe.evaluate.batch_rows,
            on_event=tell,
        )
        for one in scores:
            self.counts[one.predicted] += 1
            yield one.predicted, one.confidence, False

    def _texts(self, prompts: Sequence[Sequence[int]], tell: OnEvent) -> Iterator[_Made]:
        """What the model writes to each prompt."""
        if not prompts:
            return
        written = generate(
            self._model,
            prompts,
            max_tokens=self._how.max_tokens,
            batch_rows=self._recipe.evaluate.batch_rows,
            on_event=tell,
        )
        for one in written:
            yield one.text.strip(), None, one.stop_reason == "length"

    def _not_answered(self, row: WholeRow, fault: RowFault) -> TableAnswer:
        self.not_answered[fault.code] += 1
        asked = _as_text(row.cells.get(self._how.column))
        return TableAnswer(line=row.line, asked=asked, remark=str(fault), code=fault.code)

    def _sure(self, row: WholeRow, confidence: float | None) -> float | None:
        """The confidence, if it is a number.

        Raises:
            ModelError: `LOSS_NOT_FINITE`.
        """
        if confidence is not None and not math.isfinite(confidence):
            raise not_finite(f"line {row.line}")
        return confidence

    def _is_doubtful(self, confidence: float | None) -> bool | None:
        """Whether the confidence, as the file has it, is below the bound."""
        below = self._how.doubt_below
        if below is None or confidence is None:
            return None
        is_doubtful = round(confidence, _DIGITS) < below
        self.doubtful += is_doubtful
        return is_doubtful

    def _remark(self, question: TableQuestion, *, was_cut: bool) -> str:
        self.shortened += question.is_shortened
        self.cut_off += was_cut
        remarks = []
        if question.is_shortened:
            remarks.append(_SHORTENED.format(longest=self._recipe.data.max_length))
        if was_cut:
            remarks.append(_CUT_OFF.format(longest=self._how.max_tokens))
        return " ".join(remarks)


def _new_columns(data: DataRecipe, how: HowToAnswer) -> tuple[str, ...]:
    """What the new columns are called, if the table has no such names already."""
    if how.labels:
        doubt = () if how.doubt_below is None else ("doubtful",)
        return data.column("label"), "confidence", *doubt, "remark"
    return data.column("response") if data.task == "instruction" else "answer", "remark"


def _cells(one: TableAnswer, how: HowToAnswer) -> tuple[Cell, ...]:
    """What the new columns hold."""
    if not how.labels:
        return one.answer, one.remark
    sure = None if one.confidence is None else round(one.confidence, _DIGITS)
    if how.doubt_below is None:
        return one.answer, sure, one.remark
    return one.answer, sure, one.is_doubtful, one.remark


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@contextmanager
def _told_if_unwritable(out: Path) -> Iterator[None]:
    """Says what to do where the disk doesn't take the file.

    Raises:
        TuneError: `ANSWERS_FILE`.
    """
    try:
        yield
    except OSError as error:
        if is_out_of_memory(error):
            raise
        raise TuneError(
            f"{out}: the answers can't be written: {error.strerror or error}. Make room, or choose "
            "another place.",
            code="ANSWERS_FILE",
        ) from error

"""Rows of a table as questions: what the model reads of each, exactly as in training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..data.examples import Example
from ..data.jsonl_rows import RowFault, parse_json
from ..data.label_answers import label_answers
from ..data.rows import RowTurns, turns_of
from ..data.tokenize import TokenSet, tokenize_examples
from ..data.whole_table import WholeRow
from ..errors import DataError
from ..model.value import Model
from ..recipe import ASKED_PART, DataRecipe

_ANSWER = "\0"  # names the column of the answer that isn't there: no file has one of this name
_OPEN_ANSWER = "?"  # stands where the answer will be; what comes before it doesn't depend on it
_NO_TEXT = ("MISSING_VALUE", "EMPTY_TEXT")


@dataclass(frozen=True, kw_only=True)
class TableQuestion:
    """One row that can be answered.

    Attributes:
        prompt_ids: What the model reads.
        is_shortened: Whether something was cut off to keep to the longest length.
    """

    prompt_ids: tuple[int, ...]
    is_shortened: bool


class TableQuestions:
    """Makes questions of rows, as the run's recipe makes them.

    Args:
        model: Has the template and the longest sequence.
        data: The run's section `data`.
        column: What is read of each row.
        labels: The allowed labels of a classification; else empty.

    Raises:
        DataError: `LABELS_ALIKE`, if the labels can't be told apart.
    """

    def __init__(
        self, model: Model, data: DataRecipe, *, column: str, labels: tuple[str, ...]
    ) -> None:
        self._model, self._labels, self.column = model, labels, column
        columns = {ASKED_PART[data.task]: column, "label": _ANSWER, "response": _ANSWER}
        self._data = data.model_copy(update={"columns": {**data.columns, **columns}})
        self._answer, self._answer_tokens = _OPEN_ANSWER, 1
        if labels:
            sizes = [len(answer) for answer in label_answers(model.template, labels)]
            # As held-back rows are: with room for the longest label where prompts are shortened,
            # else whatever fits with any label.
            choose = max if data.too_long == "truncate" else min
            place = choose(range(len(labels)), key=lambda number: sizes[number])
            self._answer, self._answer_tokens = labels[place], max(sizes)

    def ask(self, row: WholeRow) -> TableQuestion:
        """The question that a row is.

        Raises:
            RowFault: With a code and what is wrong, where it can't be answered.
        """
        made = self._turns(row.cells)
        example = Example(made.turns, made.label, row.line, "", made.frame)
        tokens = self._tokens(example)
        prompt_ids = tuple(tokens.prompt(0).tolist())
        if len(prompt_ids) + self._answer_tokens > self._model.config.max_positions:
            raise self._too_long(self._model.config.max_positions)
        return TableQuestion(prompt_ids=prompt_ids, is_shortened=len(tokens.cut_rows) > 0)

    def _turns(self, cells: Mapping[str, Any]) -> RowTurns:
        """The row's turns, with something that stands for the answer at their end."""
        whole = {**cells, _ANSWER: self._answer}
        if self._data.task == "chat":
            whole[self.column] = _conversation(cells.get(self.column))
        try:
            return turns_of(whole, self._data, labels=self._labels)
        except RowFault as fault:
            if fault.code in _NO_TEXT:
                raise RowFault(fault.code, f"Column {self.column!r} is empty.") from fault
            if fault.code != "NO_ANSWER":
                raise
        answer = {"role": "assistant", "content": _OPEN_ANSWER}
        whole[self.column] = [*whole[self.column], answer]
        return turns_of(whole, self._data, labels=())

    def _tokens(self, example: Example) -> TokenSet:
        how: Any = "truncate" if self._data.too_long == "truncate" else "error"
        try:
            return tokenize_examples(
                [example], self._model.template, max_length=self._data.max_length, too_long=how
            )
        except DataError as error:
            if error.code in ("ALL_ROWS_TOO_LONG", "ANSWER_TOO_LONG"):
                raise self._too_long(self._data.max_length) from error
            raise RowFault(error.code, str(error)) from error

    def _too_long(self, longest: int) -> RowFault:
        return RowFault("TOO_LONG", f"Longer than the {longest} tokens that the run takes.")


def _conversation(value: Any) -> Any:
    """The messages in a cell; a text that is no list of them is one question.

    Raises:
        RowFault: If it looks like a list and can't be read.
    """
    if not isinstance(value, str) or not value.strip():
        return value
    if value.lstrip().startswith("["):
        return parse_json(value)
    return [{"role": "user", "content": value}]

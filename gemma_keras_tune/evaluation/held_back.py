"""Held-back rows as questions: what is scored of each, and where its answer would begin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..data.examples import Example, Split
from ..data.findings import Finding
from ..data.label_answers import label_answers
from ..data.parts import tokenize_split
from ..data.tokenize import TokenSet
from ..errors import DataError
from ..model.value import Model
from ..text.turns import Turn
from .packing import Piece, answer_piece, labels_piece

_TEXT_PROMPT = 64  # most tokens of a raw text that a sample shows the model


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """One row to be measured.

    Attributes:
        example: The row.
        piece: Its tokens and what is scored of them.
        prompt_ids: What generation starts from.
        prompt: The same as text, for a person.
        expected: The right answer, or how the text goes on.
    """

    example: Example
    piece: Piece
    prompt_ids: tuple[int, ...]
    prompt: str
    expected: str


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldBack:
    """The rows of a split as questions.

    Attributes:
        questions: In the order of the rows; dropped rows are not among them.
        answers: Answer ids of each label, or None where the task has no labels.
        shortened: How many rows were cut to the longest allowed length.
        findings: Warnings about rows that were shortened or left out.
    """

    questions: list[Question]
    answers: list[tuple[int, ...]] | None
    shortened: int
    findings: tuple[Finding, ...]


def read_held_back(model: Model, split: Split) -> HeldBack:
    """The split's rows, tokenized as for training.

    Raises:
        DataError: `EMPTY_SPLIT`, `LABELS_ALIKE`, `UNKNOWN_LABEL`, `LONGER_THAN_MODEL`, or what
            `tokenize_split` raises.
    """
    if not len(split):
        raise DataError(
            "There are no rows to evaluate. Name a file in data.test_path, or raise "
            "data.test_share above 0.",
            code="EMPTY_SPLIT",
        )
    answers = None
    if split.task == "classification":
        _check_labels(split)
        answers = label_answers(model.template, split.labels)
    tokens = tokenize_split(split, model.template)
    if answers is None:
        questions = [_open_question(model, split, tokens, i) for i in range(len(tokens))]
    else:
        questions = [_label_question(split, tokens, i, answers) for i in range(len(tokens))]
    _check_lengths(model, questions)
    return HeldBack(
        questions=questions,
        answers=answers,
        shortened=len(tokens.cut_rows),
        findings=tokens.findings,
    )


def _label_question(
    split: Split, tokens: TokenSet, index: int, answers: Sequence[tuple[int, ...]]
) -> Question:
    example, prompt_ids = split[int(tokens.rows[index])], tokens.prompt(index).tolist()
    return Question(
        example=example,
        piece=labels_piece(prompt_ids, answers),
        prompt_ids=tuple(prompt_ids),
        prompt=_spoken(example.turns[:-1]),
        expected=str(example.label),
    )


def _open_question(model: Model, split: Split, tokens: TokenSet, index: int) -> Question:
    """A question without labels; a raw text's is its first half, 64 tokens at most."""
    example = split[int(tokens.rows[index])]
    ids, supervised = tokens.example(index)
    prompt_ids = tokens.prompt(index)
    prompt, expected = _spoken(example.turns[:-1]), example.turns[-1].text.strip()
    if example.turns[-1].role == "text":
        shown = max(1, min(len(ids) // 2, _TEXT_PROMPT))
        prompt_ids = ids[:shown]
        prompt, expected = (
            model.tokenizer.decode(part.tolist()) for part in (prompt_ids, ids[shown:])
        )
    return Question(
        example=example,
        piece=answer_piece(ids, supervised),
        prompt_ids=tuple(prompt_ids.tolist()),
        prompt=prompt,
        expected=expected,
    )


def _spoken(turns: Sequence[Turn]) -> str:
    """Turns as a person reads them; a single user turn is its text."""
    if len(turns) == 1 and turns[0].role == "user":
        return turns[0].text.strip()
    return "\n".join(f"{turn.role}: {turn.text.strip()}" for turn in turns)


def _check_labels(split: Split) -> None:
    """Refuse a label that nobody can predict.

    Raises:
        DataError: `UNKNOWN_LABEL`.
    """
    for example in split:
        if example.label not in split.labels:
            raise DataError(
                f"{example.file}:{example.row}: the label {example.label!r} is not among "
                f"{', '.join(map(repr, split.labels))}. Correct the row, or add it to data.labels.",
                code="UNKNOWN_LABEL",
            )


def _check_lengths(model: Model, questions: Sequence[Question]) -> None:
    """Refuse rows that the model can't take.

    Raises:
        DataError: `LONGER_THAN_MODEL`.
    """
    longest = model.config.max_positions
    for question in questions:
        length = int(question.piece.positions.max()) + 1
        if length > longest:
            example = question.example
            raise DataError(
                f"{example.file}:{example.row}: {length} tokens; the model takes at most "
                f"{longest}. Lower data.max_length.",
                code="LONGER_THAN_MODEL",
            )

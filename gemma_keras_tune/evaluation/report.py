"""`evaluate`: losses, label metrics and answers on held-back rows, before and after training."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TextIO

from ..data.examples import Split
from ..errors import TuneError, expect
from ..event_types import Warned
from ..model.value import Model
from ..out_of_memory import told_of_memory
from ..recipe import EvaluateRecipe
from .chance import Comparison
from .generate import generate
from .held_back import HeldBack, Question, read_held_back
from .metrics import classify
from .progress import OnEvent
from .report_values import Answer, Measures, Report, Sample
from .score import AnswerLoss, LabelScores, label_scores, mean_loss, not_finite, score_pieces

_LONGEST_TEXT = 2000  # characters of a prompt or an answer in a line of the predictions


@told_of_memory("evaluation")
def evaluate(
    model: Model,
    examples: Split,
    recipe: EvaluateRecipe | None = None,
    *,
    base: Model | None = None,
    on_event: OnEvent | None = None,
    predictions_path: str | os.PathLike[str] | None = None,
) -> Report:
    """The report on `examples`, for the tuned model and the one that it was made from.

    A classification is measured by scoring every label, never by reading generated text.

    Args:
        model: The tuned model.
        examples: The held-back rows.
        recipe: How many answers to show, and how to generate them.
        base: The model before training; it may share its weights. Without it only `tuned` is
            filled in.
        on_event: Receives warnings about the rows, and `Progress` of the stages `evaluation`
            (rows) and `generation` (answers).
        predictions_path: A JSONL file that gets a line for each row, in order, as soon as the row
            is measured: `row`, `file`, `prompt` and `expected` (their first 2,000 characters),
            `nats`, `tokens`; with labels `predicted` and `confidence`; with a base model
            `base_nats` and `base_predicted`. An older file is replaced.

    Raises:
        DataError: If there are no rows, or they can't be used; see `held_back.read_held_back`.
        ModelError: `LOSS_NOT_FINITE`, with the row.
        TuneError: `PREDICTIONS_FILE`, if the file can't be written.
        OutOfMemory: If there isn't enough memory for so many rows at once.
        ValueError: If the base model has another tokenizer or template.
        TypeError: If the model, the rows or the recipe are more than the part that is needed.
    """
    recipe = EvaluateRecipe() if recipe is None else recipe
    expect("model", model, Model, such_as="train(...).model")
    expect("examples", examples, Split, such_as="load_examples(...).test")
    expect("recipe", recipe, EvaluateRecipe, such_as="recipe.evaluate")
    models = [model] if base is None else [model, base]
    if base is not None and not _same_language(model, base):
        raise ValueError("base must have the model's tokenizer and template")
    held_back = read_held_back(model, examples)
    for finding in held_back.findings:
        if on_event is not None and finding.severity == "warning":
            on_event(Warned(code=finding.code, message=str(finding)))
    results = _measure(
        models, examples, held_back, recipe, on_event=on_event, path=predictions_path
    )
    measures = [
        _measures(examples, held_back, [of_row[i] for of_row in results])
        for i in range(len(models))
    ]
    count = len(held_back.questions)
    return Report(
        task=examples.task,
        rows=count,
        shortened=held_back.shortened,
        dropped=len(examples) - count,
        tuned=measures[0],
        base=measures[1] if base is not None else None,
        samples=_samples(models, held_back.questions, results, recipe, on_event=on_event),
        compared=None if base is None else _compared(held_back.questions, results),
    )


@dataclass(frozen=True)
class _Result:
    """What one model made of one row."""

    loss: AnswerLoss
    scores: LabelScores | None


def _same_language(model: Model, base: Model) -> bool:
    one, other = model.template, base.template
    return one.name == other.name and one.tokenizer.sha256 == other.tokenizer.sha256


def _measure(
    models: Sequence[Model],
    split: Split,
    held_back: HeldBack,
    recipe: EvaluateRecipe,
    *,
    on_event: OnEvent | None,
    path: str | os.PathLike[str] | None,
) -> list[list[_Result]]:
    """`[row][model]` results, each row written down as soon as it is there."""
    questions, results = held_back.questions, []
    found = score_pieces(
        models,
        [question.piece for question in questions],
        batch_rows=recipe.batch_rows,
        on_event=on_event,
    )
    with ExitStack() as stack:
        try:
            # Line by line, so that a killed evaluation leaves what it has measured.
            file = None if path is None else open(path, "w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise _unwritable(path, error) from error
        if file is not None:
            stack.enter_context(file)
        for index, by_model in _in_order(found):
            question = questions[index]
            row = [_result(split, held_back, question, sums) for sums in by_model]
            results.append(row)
            if file is not None:
                _write_line(file, _prediction(question, row))
    return results


def _in_order(found: Iterable[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
    """The same pairs by rising index."""
    waiting, due = {}, 0
    for index, value in found:
        waiting[index] = value
        while due in waiting:
            yield due, waiting.pop(due)
            due += 1


def _result(split: Split, held_back: HeldBack, question: Question, sums: Any) -> _Result:
    """One model's result from its answers' log-probabilities.

    Raises:
        ModelError: `LOSS_NOT_FINITE`.
    """
    if not all(map(math.isfinite, sums)):
        example = question.example
        raise not_finite(f"{example.file}:{example.row}")
    if held_back.answers is None:
        loss = AnswerLoss(nats=-float(sum(sums)), tokens=len(question.piece.targets))
        return _Result(loss, None)
    scores = label_scores(split.labels, held_back.answers, sums)
    return _Result(scores.loss(question.expected), scores)


def _prediction(question: Question, row: Sequence[_Result]) -> dict[str, Any]:
    """A line of the predictions file."""
    tuned, *base = row
    values: dict[str, Any] = {
        "row": question.example.row,
        "file": question.example.file,
        "prompt": _shortened(question.prompt),
        "expected": _shortened(question.expected),
    }
    if tuned.scores is not None:
        values["predicted"] = tuned.scores.predicted
        values["confidence"] = tuned.scores.confidence
    values |= {"nats": tuned.loss.nats, "tokens": tuned.loss.tokens}
    for other in base:
        values["base_nats"] = other.loss.nats
        if other.scores is not None:
            values["base_predicted"] = other.scores.predicted
    return values


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "\u2026"


def _write_line(file: TextIO, values: dict[str, Any]) -> None:
    try:
        file.write(json.dumps(values, allow_nan=False) + "\n")
    except OSError as error:
        raise _unwritable(file.name, error) from error


def _unwritable(path: object, error: OSError) -> TuneError:
    return TuneError(
        f"{path}: the predictions can't be written: {error}. Make room, or choose another folder.",
        code="PREDICTIONS_FILE",
    )


def _measures(split: Split, held_back: HeldBack, results: Sequence[_Result]) -> Measures:
    """One model's figures over all rows."""
    loss, tokens = mean_loss(result.loss for result in results)
    expected = [question.expected for question in held_back.questions]
    predicted = [result.scores.predicted for result in results if result.scores is not None]
    found = classify(expected, predicted, split.labels) if predicted else None
    return Measures(loss=loss, tokens=tokens, classification=found)


def _compared(questions: Sequence[Question], results: Sequence[Sequence[_Result]]) -> Comparison:
    """On how many rows the tuned model does better than its base, and on how many worse."""
    better = worse = 0
    for question, (tuned, base) in zip(questions, results, strict=True):
        ours, theirs = _merit(question, tuned), _merit(question, base)
        better += ours > theirs
        worse += ours < theirs
    return Comparison(better=better, worse=worse)


def _merit(question: Question, result: _Result) -> float:
    """How well a row was answered: with labels right or wrong, else by the answer's cost."""
    if result.scores is None:
        return -result.loss.nats
    return float(result.scores.predicted == question.expected)


def _samples(
    models: Sequence[Model],
    questions: Sequence[Question],
    results: Sequence[Sequence[_Result]],
    recipe: EvaluateRecipe,
    *,
    on_event: OnEvent | None,
) -> tuple[Sample, ...]:
    """Rows from the whole of the split, at even distances, with the generated answers."""
    count = min(recipe.samples, len(questions))
    chosen = [place * len(questions) // count for place in range(count)]
    answers = []
    for number, model in enumerate(models):
        generations = generate(
            model,
            [questions[place].prompt_ids for place in chosen],
            max_tokens=recipe.max_tokens,
            temperature=recipe.temperature,
            top_k=recipe.top_k,
            top_p=recipe.top_p,
            seed=recipe.seed,
            batch_rows=max(1, min(recipe.batch_rows, count)),
            on_event=on_event,
        )
        of_rows = [results[place][number] for place in chosen]
        answers.append(
            [
                Answer(
                    text=generation.text,
                    stop_reason=generation.stop_reason,
                    predicted=None if result.scores is None else result.scores.predicted,
                    confidence=None if result.scores is None else result.scores.confidence,
                )
                for generation, result in zip(generations, of_rows, strict=True)
            ]
        )
    return tuple(
        Sample(
            row=questions[place].example.row,
            file=questions[place].example.file,
            prompt=questions[place].prompt,
            expected=questions[place].expected,
            tuned=answers[0][i],
            base=answers[1][i] if len(models) > 1 else None,
        )
        for i, place in enumerate(chosen)
    )

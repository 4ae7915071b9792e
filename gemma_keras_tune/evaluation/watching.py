"""What a run looks at while it trains: answers to chosen prompts, and how sure it is of labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache

from ..data.examples import Split
from ..data.label_answers import label_answers
from ..data.parts import tokenize_split
from ..errors import OutOfMemory
from ..event_types import Event, Progress
from ..model.value import Model
from ..out_of_memory import ran_out
from ..text.turns import Turn
from ..training.live import Answer
from ..training.measure import LabelMeasure, MeasureLabels, OnRows
from .generate import check_prompts, generate
from .held_back import Question, read_held_back
from .metrics import classify
from .score import LabelScores, label_scores, score_pieces

_ROWS_AT_ONCE = 8


def make_answer(
    model: Model,
    turns_of: Callable[[str], list[Turn]],
    *,
    prompts: Sequence[str],
    max_tokens: int,
) -> Answer:
    """A function that lets a model answer prompts as `generate` would, greedily.

    Args:
        model: Has the template and the longest sequence that the models asked later will have.
        turns_of: A prompt within what the recipe puts around it.
        prompts: Those of the recipe, checked here and now.
        max_tokens: The longest answer.

    Raises:
        DataError: If a prompt of the recipe can't be used.
    """
    check_prompts(model, [turns_of(prompt) for prompt in prompts])

    def answer(
        model: Model, prompts: Sequence[str], should_stop: Callable[[], bool]
    ) -> list[str] | None:
        turns = [turns_of(prompt) for prompt in prompts]
        try:
            found = generate(
                model,
                turns,
                max_tokens=max_tokens,
                batch_rows=min(_ROWS_AT_ONCE, len(turns)),
                on_event=_leave_if(should_stop),
            )
        except _AskedToStop:
            return None
        except OutOfMemory as error:
            raise ran_out("samples", error.__cause__ or error) from error
        return [one.text for one in found]

    return answer


def make_measure_labels(
    model: Model, split: Split | None, *, rows: int, batch_rows: int
) -> MeasureLabels | None:
    """A function that scores the labels of some rows; None where there is nothing to score.

    The rows are spread evenly over those of the split that are used, and the same at each
    measurement.

    Args:
        model: Has the tokenizer and the template.
        split: The validation rows.
        rows: At most so many of them.
        batch_rows: As in `score_labels`; as in the final evaluation, to share what is compiled.

    Raises:
        DataError: `LABELS_ALIKE`; at the first measurement what `read_held_back` raises.
    """
    if not split or split.task != "classification" or len(split.labels) < 2 or not rows:
        return None
    answers = label_answers(model.template, split.labels)  # refuses labels that can't be told apart

    @cache
    def questions() -> list[Question]:
        used: Sequence[int] = range(len(split))
        if split.too_long == "drop":
            used = tokenize_split(split, model.template).rows.tolist()
        count = min(rows, len(used))
        chosen = tuple(split[used[index * len(used) // count]] for index in range(count))
        return read_held_back(model, replace(split, examples=chosen)).questions

    def measure(
        model: Model, should_stop: Callable[[], bool], on_rows: OnRows
    ) -> LabelMeasure | None:
        pieces = [question.piece for question in questions()]
        scores: dict[int, LabelScores] = {}
        try:
            for index, (sums,) in score_pieces(
                [model], pieces, batch_rows=batch_rows, on_event=_leave_if(should_stop, on_rows)
            ):
                scores[index] = label_scores(split.labels, answers, sums)
        except _AskedToStop:
            return None
        expected = [question.expected for question in questions()]
        return _label_measure(expected, [scores[index] for index in range(len(pieces))])

    return measure


def _label_measure(expected: Sequence[str], scores: Sequence[LabelScores]) -> LabelMeasure:
    shares = defaultdict[str, list[float]](list)
    for label, one in zip(expected, scores, strict=True):
        shares[label].append(one.probabilities[one.labels.index(label)])
    figures = classify(expected, [one.predicted for one in scores], scores[0].labels)
    return LabelMeasure(
        rows=len(scores),
        accuracy=figures.accuracy,
        macro_f1=figures.macro_f1,
        confidence={label: sum(shares[label]) / len(shares[label]) for label in sorted(shares)},
    )


class _AskedToStop(Exception):
    """Leaves a computation in the middle; never seen outside this module."""


def _leave_if(
    should_stop: Callable[[], bool], on_rows: OnRows = lambda done: None
) -> Callable[[Event], None]:
    def look(event: Event) -> None:
        if should_stop():
            raise _AskedToStop
        if isinstance(event, Progress):
            on_rows(int(event.done))

    return look

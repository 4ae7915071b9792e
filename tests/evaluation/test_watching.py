"""What a run looks at while it trains is what generation and evaluation say of the same model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from gemma_keras_tune.errors import DataError
from gemma_keras_tune.evaluation.generate import generate
from gemma_keras_tune.evaluation.report import evaluate
from gemma_keras_tune.evaluation.watching import make_answer, make_measure_labels
from gemma_keras_tune.model.value import Model
from gemma_keras_tune.recipe import EvaluateRecipe
from gemma_keras_tune.text.tokenizer import Tokenizer
from gemma_keras_tune.text.turns import Turn
from tests.support.tiny_runs import spam_rows, tiny_model


@pytest.fixture(scope="module")
def model(tiny_tokenizer: Tokenizer) -> Model:
    return tiny_model(tiny_tokenizer)


def turns_of(prompt: str) -> list[Turn]:
    return [Turn("user", f"spam or ham? {prompt}")]


def unheard(rows: int) -> None:
    pass


def never() -> bool:
    return False


def test_a_sample_is_the_greedy_answer_of_generate(model: Model) -> None:
    prompts = ["win a prize", "lunch"]
    answer = make_answer(model, turns_of, prompts=prompts, max_tokens=12)
    expected = generate(model, [turns_of(prompt) for prompt in prompts], max_tokens=12)
    assert answer(model, prompts, never) == [one.text for one in expected]
    assert answer(model, prompts[:1], never) == [expected[0].text]


def test_a_stop_ends_an_answer_in_the_middle(model: Model) -> None:
    answer = make_answer(model, turns_of, prompts=(), max_tokens=12)
    assert answer(model, ["win"], lambda: True) is None


def test_a_prompt_of_the_recipe_that_is_too_long_is_refused_before_training(model: Model) -> None:
    with pytest.raises(DataError) as caught:
        make_answer(model, turns_of, prompts=["lunch", "prize " * 2000], max_tokens=4)
    assert caught.value.code == "PROMPT_TOO_LONG"


def test_the_labels_measure_is_what_the_report_says_of_the_same_rows(model: Model) -> None:
    split = spam_rows(12)
    measure = make_measure_labels(model, split, rows=100, batch_rows=8)
    assert measure is not None
    told: list[int] = []
    found = measure(model, never, told.append)
    assert told[-1] == 12 and told == sorted(told)
    report = evaluate(model, split, EvaluateRecipe(samples=0))
    assert found is not None and found.rows == 12
    tuned = report.to_json()["tuned"]
    assert (found.accuracy, found.macro_f1) == (tuned["accuracy"], tuned["macro_f1"])


def test_the_confidence_is_the_mean_probability_of_the_right_label(model: Model) -> None:
    from gemma_keras_tune.data.tokenize import tokenize_examples
    from gemma_keras_tune.evaluation.score import score_labels

    split = spam_rows(9)
    tokens = tokenize_examples(split, model.template, max_length=64)
    prompts = [tokens.prompt(index).tolist() for index in range(len(tokens))]
    expected: dict[str, list[float]] = {"ham": [], "spam": []}
    for example, scores in zip(split, score_labels(model, prompts, split.labels), strict=True):
        label = str(example.label)
        expected[label].append(scores.probabilities[split.labels.index(label)])
    measure = make_measure_labels(model, split, rows=9, batch_rows=8)
    assert measure is not None
    found = measure(model, never, unheard)
    assert found is not None
    for label, shares in expected.items():
        np.testing.assert_allclose(found.confidence[label], np.mean(shares), rtol=1e-6)


def test_only_so_many_rows_are_scored_spread_over_the_split(model: Model) -> None:
    split = spam_rows(10)
    measure = make_measure_labels(model, split, rows=5, batch_rows=8)
    spread = dataclasses.replace(split, examples=split.examples[::2])
    expected = make_measure_labels(model, spread, rows=5, batch_rows=8)
    assert measure is not None and expected is not None
    assert measure(model, never, unheard) == expected(model, never, unheard)


def test_rows_that_are_dropped_are_not_chosen(model: Model) -> None:
    long = spam_rows(1).examples[0]
    long = dataclasses.replace(long, turns=(Turn("user", "prize " * 200), long.turns[1]))
    short = spam_rows(3)
    split = dataclasses.replace(short, examples=(long, *short.examples), too_long="drop")
    measure = make_measure_labels(model, split, rows=1, batch_rows=8)
    expected = make_measure_labels(model, short, rows=1, batch_rows=8)
    assert measure is not None and expected is not None
    assert measure(model, never, unheard) == expected(model, never, unheard)


def test_there_is_nothing_to_measure_without_labels_or_rows(model: Model) -> None:
    split = spam_rows(4)
    assert make_measure_labels(model, split, rows=0, batch_rows=8) is None
    assert make_measure_labels(model, split[:0], rows=5, batch_rows=8) is None
    chat = dataclasses.replace(split, task="chat", labels=())
    assert make_measure_labels(model, chat, rows=5, batch_rows=8) is None


def test_a_stop_ends_the_measure_in_the_middle(model: Model) -> None:
    measure = make_measure_labels(model, spam_rows(4), rows=5, batch_rows=8)
    assert measure is not None
    assert measure(model, lambda: True, unheard) is None
    assert measure(model, never, unheard) is not None

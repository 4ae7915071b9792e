"""Probabilities of an answer's tokens, against `transformers`."""

from __future__ import annotations

import numpy as np
import pytest

from gemma_keras_tune.evaluation.choices import token_choices
from gemma_keras_tune.evaluation.generate import generate
from tests.evaluation.support import tuned, twin_models


@pytest.fixture(scope="module")
def twins(tiny_tokenizer):
    return twin_models(tiny_tokenizer)


@pytest.mark.parametrize(("prompt", "answer"), [(5, 7), (1, 1), (20, 40)])
def test_probabilities_are_those_of_transformers_past_the_sliding_window(twins, prompt, answer):
    import torch

    ours, theirs = twins
    rng = np.random.default_rng(prompt)
    asked, said = rng.integers(4, 390, prompt).tolist(), rng.integers(4, 390, answer).tolist()
    found = token_choices(ours, asked, said, top=3)
    with torch.no_grad():
        scores = theirs(torch.tensor([asked + said])).logits[0]
    shares = torch.softmax(scores.double(), dim=-1).numpy()[len(asked) - 1 : -1]
    assert [one.id for one in found] == said
    for one, row in zip(found, shares, strict=True):
        assert one.probability == pytest.approx(row[one.id], rel=1e-3)
        others = np.sort(np.delete(row, one.id))[-3:][::-1]
        assert [share for _, share in one.others] == pytest.approx(others, rel=1e-3)


def test_a_greedy_answer_is_likelier_than_all_others_and_adapters_count(twins):
    base = twins[0]
    model = tuned(base)
    (answer,) = generate(model, [(5, 9, 77)], max_tokens=9, stop_ids=())
    found = token_choices(model, answer.prompt_ids, answer.ids, top=1)
    for one in found:
        ((_, share),) = one.others
        assert 0 < share < one.probability
    other = token_choices(base, answer.prompt_ids, answer.ids, top=1)
    assert [one.probability for one in other] != [one.probability for one in found]


def test_nothing_was_said_and_nothing_was_asked(twins):
    assert token_choices(twins[0], [5], [], top=2) == []
    with pytest.raises(ValueError, match="prompt"):
        token_choices(twins[0], [], [5], top=2)
    with pytest.raises(ValueError, match="alternative"):
        token_choices(twins[0], [5], [5], top=0)

"""Label scores and answer losses in packed rows are those of each pair alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.errors import DataError
from gemma_keras_tune.evaluation import packing, score
from gemma_keras_tune.evaluation.packing import answer_piece, labels_piece, pack_stream
from gemma_keras_tune.evaluation.score import answer_losses, mean_loss, score_labels
from gemma_keras_tune.text.turns import Turn
from tests.evaluation.support import compiled, tiny_model, tuned, twin_models

LABELS = ("spam", "ham", "no answer", "ham or spam")


class Rows:
    """Examples as `data.tokenize.TokenSet` gives them."""

    def __init__(self, pairs):
        self.pairs = pairs

    def __len__(self):
        return len(self.pairs)

    def example(self, index):
        ids, supervised = self.pairs[index]
        return np.asarray(ids, np.int32), np.asarray(supervised, bool)


@pytest.fixture(scope="module")
def twins(tiny_tokenizer):
    return twin_models(tiny_tokenizer)


@pytest.fixture(scope="module")
def model(twins):
    return twins[0]


@pytest.fixture(autouse=True)
def rows_of_one_length(request, monkeypatch):
    """One row length, so that most tests share one compiled shape."""
    if "packing" not in request.node.name and "packed" not in request.node.name:
        monkeypatch.setattr(packing, "_ROW_LENGTHS", (256,))


def _prompts(*lengths):
    rng = np.random.default_rng(0)
    return [tuple(rng.integers(4, 400, length).tolist()) for length in lengths]


def _log_softmax(theirs, ids):
    import torch

    with torch.no_grad():
        logits = theirs(torch.tensor([ids])).logits[0].double()
    return torch.log_softmax(logits, dim=-1).numpy()


def _expected(theirs, prompt, answer):
    """The answer's log-probability after the prompt, from a pass over just the two."""
    found = _log_softmax(theirs, [*prompt, *answer])
    return sum(found[len(prompt) + i - 1, token] for i, token in enumerate(answer))


def test_scores_are_those_of_transformers_for_each_pair_alone(twins):
    ours, theirs = twins
    prompts = _prompts(40, 1, 17, 100, 60, 33, 90, 8, 120, 5)
    found = score_labels(ours, prompts, LABELS, batch_rows=2)
    for prompt, scores in zip(prompts, found, strict=True):
        answers = [ours.template.answer(label) for label in LABELS]
        expected = [_expected(theirs, prompt, answer) for answer in answers]
        np.testing.assert_allclose(scores.log_probabilities, expected, atol=1e-5, rtol=0)
        assert scores.tokens == tuple(len(answer) for answer in answers)
        assert scores.predicted == LABELS[int(np.argmax(expected))]


def test_packed_scores_equal_those_of_each_prompt_and_label_alone(model):
    prompts = _prompts(40, 17, 100, 60)
    packed = score_labels(model, prompts, LABELS, batch_rows=2)
    for prompt, scores in zip(prompts, packed, strict=True):
        for label, found in zip(LABELS, scores.log_probabilities, strict=True):
            answer = model.template.answer(label)
            mask = [False] * len(prompt) + [True] * len(answer)
            (alone,) = answer_losses(model, Rows([((*prompt, *answer), mask)]), batch_rows=2)
            assert -found == pytest.approx(alone.nats, abs=1e-5)
            assert scores.loss(label).tokens == alone.tokens == len(answer)


def test_a_label_whose_ids_begin_anothers_is_scored_with_its_own_end(twins):
    ours, theirs = twins
    labels = ("ham", "hamster", "hams")
    answers = [ours.template.answer(label) for label in labels]
    assert answers[1][: len(answers[0]) - 1] == answers[0][:-1]
    prompt = _prompts(30)[0]
    (scores,) = score_labels(ours, [prompt], labels, batch_rows=2)
    expected = [_expected(theirs, prompt, answer) for answer in answers]
    np.testing.assert_allclose(scores.log_probabilities, expected, atol=1e-5, rtol=0)


def test_rows_longer_than_the_shortest_ones_are_scored_the_same(twins):
    ours, theirs = twins
    prompts = _prompts(20, 300, 40, 255)
    found = score_labels(ours, prompts, LABELS[:2], batch_rows=2)
    for prompt, scores in zip(prompts, found, strict=True):
        expected = [_expected(theirs, prompt, ours.template.answer(x)) for x in LABELS[:2]]
        np.testing.assert_allclose(scores.log_probabilities, expected, atol=1e-4, rtol=0)


def test_the_softcap_is_in_the_scores_of_every_label(tiny_tokenizer):
    model = tiny_model(tiny_tokenizer)
    capped = model.replace(config=replace(model.config, final_softcap=2.0))
    prompt = _prompts(12)[0]
    (scores,) = score_labels(capped, [prompt], LABELS, batch_rows=2)
    for label, found in zip(LABELS, scores.log_probabilities, strict=True):
        answer = model.template.answer(label)
        mask = [False] * len(prompt) + [True] * len(answer)
        (alone,) = answer_losses(capped, Rows([((*prompt, *answer), mask)]), batch_rows=2)
        assert -found == pytest.approx(alone.nats, abs=1e-5)
    assert score_labels(model, [prompt], LABELS, batch_rows=2)[0] != scores


def test_confidence_is_the_softmax_over_the_labels(model):
    (scores,) = score_labels(model, _prompts(12), LABELS, batch_rows=2)
    shares = np.exp(scores.log_probabilities) / np.exp(scores.log_probabilities).sum()
    np.testing.assert_allclose(scores.probabilities, shares)
    assert scores.confidence == pytest.approx(shares.max())


def test_the_loss_of_several_turns_is_that_of_transformers(twins):
    ours, theirs = twins
    turns = [
        Turn("user", "What is the capital of France?"),
        Turn("model", "Paris."),
        Turn("user", "Win a prize?"),
        Turn("model", "no"),
    ]
    rendered = ours.template.render(turns)
    text = ours.template.render([Turn("text", "Once upon a time, there was a girl.")])
    rows = Rows([(item.ids, item.supervised) for item in (rendered, text)])
    losses = answer_losses(ours, rows, batch_rows=2)
    for item, loss in zip((rendered, text), losses, strict=True):
        found = _log_softmax(theirs, item.ids)
        places = [i for i, on in enumerate(item.supervised) if on]
        expected = -sum(found[place - 1, item.ids[place]] for place in places)
        assert loss.nats == pytest.approx(expected, abs=1e-4)
        assert loss.tokens == len(places)
    nats, tokens = mean_loss(losses)
    assert tokens == sum(loss.tokens for loss in losses)
    assert nats == pytest.approx(sum(loss.nats for loss in losses) / tokens)


def test_adapters_take_part(model):
    prompts = _prompts(12, 20)
    assert score_labels(model, prompts, LABELS, batch_rows=2) != score_labels(
        tuned(model), prompts, LABELS, batch_rows=2
    )


def test_all_batches_of_a_length_share_one_compiled_function(model):
    score_labels(model, _prompts(40, 1, 17, 100, 60, 33), LABELS, batch_rows=2)
    before = compiled(score._log_probabilities)
    score_labels(model, _prompts(*[50] * 30), LABELS[:2], batch_rows=2)
    assert compiled(score._log_probabilities) == before


def test_progress_has_the_seconds_left_and_reaches_the_end(model):
    events: list[Any] = []
    prompts = _prompts(*[100] * 30)
    score_labels(model, prompts, LABELS, batch_rows=2, on_event=events.append)
    assert len(events) > 3
    assert [event.stage for event in events] == ["evaluation"] * len(events)
    assert events[-1].done == events[-1].total == 30
    assert events[0].seconds_left is None, "it waited for the compiler"
    assert all(event.seconds_left > 0 for event in events[1:-1])
    assert events[-1].seconds_left == 0


@pytest.mark.parametrize("labels", [(), ("spam",), ("spam", "spam"), ("spam", " spam ")])
def test_labels_that_do_not_differ_are_refused(model, labels):
    with pytest.raises(DataError, match="at least two labels that differ") as caught:
        score_labels(model, _prompts(5), labels, batch_rows=2)
    assert caught.value.code == "LABELS_ALIKE"


def test_a_prompt_longer_than_the_model_takes_is_refused(model):
    with pytest.raises(ValueError, match="example 1 has 10.. tokens; the model takes at most 1024"):
        score_labels(model, _prompts(5, 1024), LABELS, batch_rows=2)


def test_an_empty_prompt_is_refused(model):
    with pytest.raises(ValueError, match="at least one token"):
        score_labels(model, [()], LABELS, batch_rows=2)


def test_batch_rows_below_1_are_refused(model):
    with pytest.raises(ValueError, match="batch_rows must be at least 1, not 0"):
        score_labels(model, _prompts(5), LABELS, batch_rows=0)


def test_every_piece_is_packed_once_and_nothing_waits_for_ever():
    rng = np.random.default_rng(0)
    sizes = [*rng.integers(2, 200, 700).tolist(), 300, *rng.integers(2, 200, 1500).tolist(), 513]
    pieces = [answer_piece([2] * size, [False, *[True] * (size - 1)]) for size in sizes]
    order = []
    for batch in pack_stream(pieces, batch_rows=4):
        assert batch.token_ids.size <= 4 * packing.BATCH_TOKENS
        order += [index for index, _ in batch.members]
    assert sorted(order) == list(range(len(sizes)))
    late = max(place - index for place, index in enumerate(order))
    assert late < packing._LAG + 100


@pytest.mark.parametrize(("sizes", "length"), [((106,), 448), ((126,), 256), ((40, 147), 384)])
def test_packing_takes_rows_of_the_length_that_wastes_least(sizes, length):
    pieces = [labels_piece([2] * size, [(5, 6), (7, 6)]) for size in [*sizes] * 200]
    batches = list(pack_stream(pieces, batch_rows=8))
    assert {batch.token_ids.shape[1] for batch in batches} == {length}
    used = sum(int((batch.segment_ids > 0).sum()) for batch in batches[:-1])
    assert used / sum(batch.segment_ids.size for batch in batches[:-1]) > 0.95


def test_one_token_answers_fit_though_they_take_no_place_of_their_own():
    answers = [(token,) for token in range(300)]
    (batch,) = pack_stream([labels_piece([2, 5], answers)], batch_rows=1)
    (member,) = batch.members
    assert len(member[1]) == 300
    assert batch.token_ids.shape == (1, 512)


def test_bfloat16_scores_differ_only_by_rounding(model):
    narrow = model.replace(weights=jax.tree.map(lambda w: w.astype(jnp.bfloat16), model.weights))
    prompts = _prompts(12, 20)
    wide, rough = (score_labels(m, prompts, LABELS, batch_rows=2) for m in (model, narrow))
    for one, other in zip(wide, rough, strict=True):
        np.testing.assert_allclose(one.log_probabilities, other.log_probabilities, rtol=0.1)

"""The report: its numbers, its keys, its files, and Markdown that data can't break."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from typing import Any
from unittest import mock

import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.data.examples import Example, Split
from gemma_keras_tune.data.tokenize import tokenize_examples
from gemma_keras_tune.errors import DataError, ModelError, TuneError
from gemma_keras_tune.evaluation.chance import Comparison
from gemma_keras_tune.evaluation.generate import generate
from gemma_keras_tune.evaluation.held_back import read_held_back
from gemma_keras_tune.evaluation.markdown import fenced, inline
from gemma_keras_tune.evaluation.metrics import classify
from gemma_keras_tune.evaluation.report import _in_order, evaluate
from gemma_keras_tune.evaluation.report_values import Answer, Measures, Report, Sample
from gemma_keras_tune.evaluation.score import answer_losses, score_labels
from gemma_keras_tune.recipe import EvaluateRecipe
from gemma_keras_tune.text.turns import Turn
from tests.evaluation.support import LABELS, TEXTS, tiny_model, tuned

NASTY = "| a |\n# x\n```\n<script>alert(1)</script> [link](http://x) **b** \\ `c` ~~~\r\n- 1. &amp;"


def _labelled(*, labels=LABELS, **settings):
    rows = tuple(
        Example((Turn("user", text), Turn("model", labels[i % 2])), labels[i % 2], i + 2, "a.csv")
        for i, text in enumerate(TEXTS)
    )
    return Split(**{"examples": rows, "task": "classification", "labels": labels, **settings})


def _chat():
    rows = tuple(
        Example((Turn("user", text), Turn("model", "Paris."), Turn("user", "And?"),
                 Turn("model", "no")), None, i + 1, "chat.jsonl")
        for i, text in enumerate(TEXTS)
    )  # fmt: skip
    return Split(examples=rows, task="chat")


@pytest.fixture(scope="module")
def base(tiny_tokenizer):
    return tiny_model(tiny_tokenizer)


@pytest.fixture(scope="module")
def model(base):
    return tuned(base, strength=0.3)


RECIPE = EvaluateRecipe(samples=2, max_tokens=4, batch_rows=2)


@pytest.fixture(scope="module")
def measured(model, base, tmp_path_factory):
    """A classification's report, its predictions and its events."""
    path = tmp_path_factory.mktemp("run") / "predictions.jsonl"
    events: list[Any] = []
    report = evaluate(
        model, _labelled(), RECIPE, base=base, on_event=events.append, predictions_path=path
    )
    return report, [json.loads(line) for line in path.read_text().splitlines()], events


def _scores(model, split):
    prompts = [
        model.template.render(example.turns[:-1], add_generation_prompt=True).ids
        for example in split
    ]
    return score_labels(model, prompts, split.labels, batch_rows=2)


def test_the_json_has_the_promised_keys_and_no_others(measured):
    values = measured[0].to_json()
    keys = {"task", "rows", "shortened", "dropped", "base", "tuned", "compared", "samples"}
    assert set(values) == keys
    for measures in (values["base"], values["tuned"]):
        assert set(measures) == {
            *("loss", "perplexity", "tokens", "accuracy", "accuracy_interval", "macro_f1"),
            *("per_class", "confusion"),
        }
        assert set(measures["per_class"]) == {"ham", "spam"}
        assert set(measures["per_class"]["ham"]) == {"precision", "recall", "f1", "support"}
        assert measures["confusion"]["labels"] == ["ham", "spam"]
        assert np.asarray(measures["confusion"]["counts"]).sum(axis=1).tolist() == [3, 2]
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_losses_and_labels_are_those_of_scoring_each_model_apart(measured, model, base):
    report, split = measured[0], _labelled()
    for measures, one in ((report.tuned, model), (report.base, base)):
        scores = _scores(one, split)
        losses = [s.loss(e.label) for s, e in zip(scores, split, strict=True)]
        assert measures.tokens == sum(loss.tokens for loss in losses)
        total = sum(loss.nats for loss in losses)
        assert measures.loss == pytest.approx(total / measures.tokens, abs=1e-5)
        expected = classify([e.label for e in split], [s.predicted for s in scores], LABELS)
        np.testing.assert_array_equal(measures.classification.confusion, expected.confusion)
    assert report.tuned.loss != pytest.approx(report.base.loss, abs=1e-3)


def test_models_are_compared_by_the_rows_on_which_they_differ(measured, model, base):
    report, lines, _ = measured
    right = [line["predicted"] == line["expected"] for line in lines]
    before = [line["base_predicted"] == line["expected"] for line in lines]
    pairs = [*zip(right, before, strict=True)]
    assert report.compared is not None
    assert (report.compared.better, report.compared.worse) == (
        pairs.count((True, False)),
        pairs.count((False, True)),
    )
    assert evaluate(model, _labelled(), RECIPE).compared is None
    chat = evaluate(model, _chat(), replace_samples(0), base=base).compared
    assert chat is not None and chat.better + chat.worse == len(TEXTS)


def test_predictions_have_a_line_for_every_row_in_order(measured, model, base):
    split, lines = _labelled(), measured[1]
    assert [line["row"] for line in lines] == [2, 3, 4, 5, 6]
    both = zip(lines, split, _scores(model, split), _scores(base, split), strict=True)
    for line, example, of_tuned, of_base in both:
        assert line["file"] == "a.csv"
        assert line["expected"] == example.label
        assert line["predicted"] == of_tuned.predicted
        assert line["confidence"] == pytest.approx(of_tuned.confidence, abs=1e-5)
        assert line["base_predicted"] == of_base.predicted
        assert line["nats"] == pytest.approx(of_tuned.loss(example.label).nats, abs=1e-4)
        assert line["base_nats"] == pytest.approx(of_base.loss(example.label).nats, abs=1e-4)
        assert line["tokens"] == len(model.template.answer(example.label))


def test_a_line_of_the_predictions_keeps_no_more_than_the_start_of_long_texts(model, tmp_path):
    split, path = _chat(), tmp_path / "predictions.jsonl"
    with mock.patch("gemma_keras_tune.evaluation.report._LONGEST_TEXT", 6):
        evaluate(model, split, RECIPE, predictions_path=path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines[0]["prompt"] == "user:\u2026" and lines[0]["expected"] == "no"


def test_results_that_come_late_are_waited_for():
    pairs = [(2, "c"), (0, "a"), (1, "b"), (4, "e"), (3, "d")]
    assert list(_in_order(pairs)) == [*enumerate("abcde")]


def test_samples_come_from_the_whole_split_with_both_generated_answers(measured, model, base):
    report, lines, _ = measured
    assert [sample.row for sample in report.samples] == [2, 4]
    first = report.samples[0]
    assert first.prompt == TEXTS[0] and first.expected == "ham"
    for answer, one in ((first.tuned, model), (first.base, base)):
        assert answer.text == generate(one, [TEXTS[0]], max_tokens=4, batch_rows=2)[0].text
    assert first.tuned.predicted == lines[0]["predicted"]
    assert first.tuned.confidence == pytest.approx(lines[0]["confidence"])
    assert first.base.predicted == lines[0]["base_predicted"]


def test_progress_of_both_stages_reaches_its_end(measured):
    events = [event for event in measured[2] if event.kind == "progress"]
    assert {event.stage for event in events} == {"evaluation", "generation"}
    assert [event for event in events if event.stage == "evaluation"][-1].done == 5


def test_the_same_evaluation_gives_the_same_report(measured, model, base):
    again = evaluate(model, _labelled(), RECIPE, base=base)
    assert again.to_json() == measured[0].to_json()


def test_without_a_base_model_only_tuned_is_filled(model):
    report = evaluate(model, _labelled(), replace_samples(0))
    assert report.to_json()["base"] is None and report.samples == ()
    assert "Base" not in report.to_markdown()


def replace_samples(count):
    return RECIPE.model_copy(update={"samples": count})


def test_other_tasks_have_a_loss_over_all_their_answers_and_no_label_metrics(model, tmp_path):
    split, path = _chat(), tmp_path / "predictions.jsonl"
    report = evaluate(model, split, RECIPE, predictions_path=path)
    tokens = tokenize_examples(split.examples, model.template, max_length=512)
    losses = answer_losses(model, tokens, batch_rows=2)
    assert report.tuned.tokens == tokens.supervised_tokens
    total = sum(loss.nats for loss in losses)
    assert report.tuned.loss == pytest.approx(total / tokens.supervised_tokens, abs=1e-5)
    assert set(report.to_json()["tuned"]) == {"loss", "perplexity", "tokens"}
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    keys = {"row", "file", "prompt", "expected", "nats", "tokens"}
    assert [set(line) for line in lines] == [keys] * 5
    assert lines[0]["prompt"] == f"user: {TEXTS[0]}\nmodel: Paris.\nuser: And?"
    assert lines[0]["expected"] == "no"
    for line, loss in zip(lines, losses, strict=True):
        assert line["nats"] == pytest.approx(loss.nats, abs=1e-4)
    sample = report.samples[0]
    assert sample.prompt == f"user: {TEXTS[0]}\nmodel: Paris.\nuser: And?"
    assert sample.expected == "no"
    turns = split[0].turns[:-1]
    assert sample.tuned.text == generate(model, [turns], max_tokens=4, batch_rows=2)[0].text


def test_a_raw_text_is_continued_from_its_first_half(model):
    rows = (Example((Turn("text", TEXTS[1] * 2),), None, 1, "t.jsonl"),)
    question = read_held_back(model, Split(examples=rows, task="text")).questions[0]
    assert question.prompt + question.expected == TEXTS[1] * 2
    assert 0.3 < len(question.prompt) / len(TEXTS[1] * 2) < 0.7


def test_no_rows_are_refused(model):
    with pytest.raises(DataError, match="no rows to evaluate") as caught:
        evaluate(model, _labelled(examples=()))
    assert caught.value.code == "EMPTY_SPLIT"


def test_a_label_that_is_not_allowed_is_refused_with_its_row(model):
    split = _labelled()
    odd = replace(split, examples=(*split.examples[:3], replace(split[3], label="eggs")))
    with pytest.raises(DataError, match="a.csv:5: the label 'eggs' is not among 'ham', 'spam'"):
        evaluate(model, odd)


def test_rows_that_are_too_long_are_refused_shortened_or_dropped_as_in_training(model):
    limit = len(tokenize_examples(_labelled().examples[:1], model.template, max_length=512).ids)
    with pytest.raises(DataError) as caught:
        evaluate(model, _labelled(max_length=limit))
    assert "TOO_LONG" in caught.value.code
    events: list[Any] = []
    kept = evaluate(
        model,
        _labelled(max_length=limit, too_long="drop"),
        replace_samples(0),
        on_event=events.append,
    )
    assert kept.rows + kept.dropped == 5 and kept.dropped > 0 and kept.shortened == 0
    assert [event.code for event in events if event.kind == "warning"] == ["DROPPED"]
    cut = evaluate(model, _labelled(max_length=limit, too_long="truncate"), replace_samples(0))
    assert cut.rows == 5 and cut.shortened >= kept.dropped


def test_the_length_of_a_shortened_prompt_does_not_tell_the_answer(model):
    labels = ("ham", "a very much longer label")
    settings = {"labels": labels, "max_length": 40, "too_long": "truncate"}
    split = _labelled(**settings)
    swapped = [
        replace(example, label=other, turns=(example.turns[0], Turn("model", other)))
        for example in split
        for other in labels
        if other != example.label
    ]
    one = read_held_back(model, split)
    other = read_held_back(model, replace(split, examples=tuple(swapped)))
    assert one.shortened > 2
    assert [q.prompt_ids for q in one.questions] == [q.prompt_ids for q in other.questions]
    assert [q.expected for q in one.questions] != [q.expected for q in other.questions]


def test_a_row_longer_than_the_model_takes_is_refused(model):
    rows = (Example((Turn("user", "a b " * 600), Turn("model", "ham")), "ham", 9, "a.csv"),)
    with pytest.raises(DataError, match="a.csv:9: .* takes at most 1024") as caught:
        evaluate(model, _labelled(examples=rows, max_length=5000))
    assert caught.value.code == "LONGER_THAN_MODEL"


def test_a_base_model_of_another_language_is_refused(model, tiny_tokenizer):
    other = tiny_model(tiny_tokenizer, template="plain")
    with pytest.raises(ValueError, match="the model's tokenizer and template"):
        evaluate(model, _labelled(), base=other)


def test_damaged_weights_are_named_with_the_row_and_not_reported(base, tmp_path):
    damaged = base.replace(
        weights={**base.weights, "final_norm": jnp.full_like(base.weights["final_norm"], jnp.nan)}
    )
    with pytest.raises(ModelError, match="a.csv:2: the loss is not finite") as caught:
        evaluate(damaged, _labelled(), RECIPE, predictions_path=tmp_path / "predictions.jsonl")
    assert caught.value.code == "LOSS_NOT_FINITE"


def test_a_folder_that_is_not_there_is_one_clear_error(model, tmp_path):
    with pytest.raises(TuneError, match="predictions can't be written") as caught:
        evaluate(model, _labelled(), predictions_path=tmp_path / "nowhere" / "p.jsonl")
    assert caught.value.code == "PREDICTIONS_FILE"


def test_a_perplexity_beyond_all_floats_is_the_largest_float_in_json():
    values = Measures(loss=1000.0, tokens=3).to_json()
    assert values["perplexity"] == sys.float_info.max
    assert Measures(loss=math.log(8), tokens=3).to_json()["perplexity"] == pytest.approx(8)


def _nasty_report():
    labels = (NASTY, "ham | spam", "**")
    found = classify([NASTY, "**", "ham | spam"], ["**", "**", NASTY], labels)
    measures = Measures(loss=1.25, tokens=7, classification=found)
    answer = Answer(text=NASTY, stop_reason="length", predicted=NASTY, confidence=0.5)
    sample = Sample(
        row=3, file=f"x/{NASTY}", prompt=NASTY, expected=NASTY, tuned=answer, base=answer
    )
    return Report(
        task="classification",
        rows=3,
        shortened=1,
        dropped=2,
        tuned=measures,
        base=measures,
        samples=(sample,),
    )


def _tokens(text):
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table").parse(text)


def test_markdown_shows_what_the_data_holds_and_is_not_steered_by_it():
    tokens = _tokens(_nasty_report().to_markdown())
    fences = [token.content for token in tokens if token.type == "fence"]
    assert fences == [NASTY.replace("\r\n", "\n") + "\n"] * 4
    kinds = {child.type for token in tokens for child in token.children or ()}
    assert kinds <= {"text", "strong_open", "strong_close", "text_special"}
    headings = [
        b.content for a, b in zip(tokens, tokens[1:], strict=False) if a.type == "heading_open"
    ]
    assert headings[:5] == [
        *("Evaluation", "Labels", "Confusion: base", "Confusion: tuned", "Answers")
    ]
    assert len(headings) == 6 and not any(t.type.startswith("html") for t in tokens)


def test_every_table_row_has_as_many_cells_as_its_head():
    tokens = _tokens(_nasty_report().to_markdown())
    rows: list[int] = []
    tables: list[set[int]] = []
    for token in tokens:
        if token.type == "table_open":
            tables.append(set())
        elif token.type == "tr_open":
            rows.append(0)
        elif token.type in ("th_open", "td_open"):
            rows[-1] += 1
        elif token.type == "tr_close":
            tables[-1].add(rows[-1])
    assert tables == [{3}, {8}, {4}, {4}]


def test_markdown_has_base_and_tuned_side_by_side(measured):
    text = measured[0].to_markdown()
    lines = text.splitlines()
    assert "|  | Base | Tuned |" in lines
    base, tuned_ = measured[0].base, measured[0].tuned
    assert f"| Loss, nats per answer token | {base.loss:.4f} | {tuned_.loss:.4f} |" in lines
    assert "5 held-back rows, task classification." in lines
    low, high = tuned_.classification.accuracy_interval
    assert any(line.endswith(f"| {low:.3f} to {high:.3f} |") for line in lines)
    assert "by the exact sign test, which can be chance." in text
    assert f"**Tuned**: {measured[0].samples[0].tuned.predicted}, confidence" in text


def test_a_report_says_how_many_rows_would_tell():
    report = replace(_nasty_report(), rows=30, compared=Comparison(better=3, worse=0))
    assert report.to_json()["compared"]["rows_to_tell"] == 60
    text = report.to_markdown()
    assert "which can be chance. If all rows are like these, about 60 would tell." in text


def test_many_labels_are_shown_as_the_commonest_mistakes():
    labels = [f"label {i}" for i in range(20)]
    found = classify(["label 3"] * 3 + ["label 4"], ["label 5"] * 3 + ["label 4"], labels)
    measures = Measures(loss=1.0, tokens=4, classification=found)
    text = replace(_nasty_report(), tuned=measures, base=None, samples=()).to_markdown()
    assert "## Commonest mistakes: tuned" in text
    assert "| label 3 | label 5 | 3 |" in text


@pytest.mark.parametrize("text", [NASTY, "", "   ", "\x00\x1b[31m", "a\u2028b"])
def test_any_text_is_one_line_and_any_block_one_block(text):
    assert len(inline(text).splitlines()) == 1 and inline(text)
    blocks = _tokens(f"{fenced(text)}\n\nend")
    assert [token.type for token in blocks] == [
        *("fence", "paragraph_open", "inline", "paragraph_close")
    ]


def test_a_long_text_is_cut_and_says_so():
    assert "[... 8500 more characters]" in fenced("x" * 10_000)

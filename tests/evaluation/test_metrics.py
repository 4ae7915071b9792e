"""Metrics are those of scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gemma_keras_tune.evaluation.metrics import classify, perplexity

LABELS = ("ham", "spam", "eggs", "toast")


def _rows(*shares, seed=0):
    return np.random.default_rng(seed).choice(LABELS, 60, p=shares).tolist()


@pytest.mark.parametrize(
    ("expected", "predicted"),
    [
        (_rows(0.4, 0.3, 0.2, 0.1), _rows(0.4, 0.3, 0.2, 0.1, seed=1)),
        (_rows(0.5, 0.5, 0, 0), _rows(0, 0.5, 0.5, 0, seed=1)),  # toast occurs nowhere
        (_rows(1, 0, 0, 0), _rows(0, 1, 0, 0)),  # all wrong
        (_rows(1, 0, 0, 0), _rows(1, 0, 0, 0)),  # one label only
        (["spam"], ["spam"]),
    ],
)
def test_all_figures_are_those_of_scikit_learn(expected, predicted):
    from sklearn import metrics

    found = classify(expected, predicted, LABELS)
    assert found.accuracy == pytest.approx(metrics.accuracy_score(expected, predicted))
    assert found.macro_f1 == pytest.approx(
        metrics.f1_score(expected, predicted, average="macro", zero_division=0)
    )
    np.testing.assert_array_equal(
        found.confusion, metrics.confusion_matrix(expected, predicted, labels=LABELS)
    )
    columns = metrics.precision_recall_fscore_support(
        expected, predicted, labels=LABELS, zero_division=0
    )
    for label, precision, recall, f1, support in zip(LABELS, *columns, strict=True):
        one = found.per_class[label]
        assert one.precision == pytest.approx(precision)
        assert one.recall == pytest.approx(recall)
        assert one.f1 == pytest.approx(f1)
        assert one.support == support


def test_rows_of_the_confusion_matrix_are_the_right_labels():
    found = classify(["ham", "ham", "spam"], ["spam", "spam", "spam"], ("ham", "spam"))
    assert found.confusion.tolist() == [[0, 2], [0, 1]]


@pytest.mark.parametrize(
    ("expected", "predicted", "message"),
    [
        ([], [], "0 right and 0 predicted"),
        (["ham"], ["ham", "spam"], "1 right and 2 predicted"),
        (["ham"], ["bacon"], r"\['bacon'\] are not among the labels"),
        (["bacon"], ["ham"], r"\['bacon'\] are not among the labels"),
    ],
)
def test_rows_that_can_not_be_compared_are_refused(expected, predicted, message):
    with pytest.raises(ValueError, match=message):
        classify(expected, predicted, LABELS)


def test_perplexity_is_the_exponential_of_the_loss():
    assert perplexity(0.0) == 1.0
    assert perplexity(math.log(8)) == pytest.approx(8)
    assert perplexity(1000.0) == math.inf

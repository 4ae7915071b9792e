"""What a report says about predictions: accuracy, precision, recall, F1, confusion, perplexity."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .chance import share_interval


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """One label's figures; a share of nothing is 0.

    Attributes:
        precision: Share of right ones among the rows predicted as this label.
        recall: Share of this label's rows that were found.
        f1: Harmonic mean of the two.
        support: Rows that have this label.
    """

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Classification:
    """How the predictions of a classification compare with the right labels.

    Attributes:
        labels: All labels, in order.
        confusion: `[labels, labels]` int64 counts; row: the right label, column: the predicted.
    """

    labels: tuple[str, ...]
    confusion: npt.NDArray[np.int64]

    @property
    def accuracy(self) -> float:
        """Share of the rows that are right."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """The bounds of the accuracy on all such rows, with a confidence of 95 %."""
        return share_interval(int(np.trace(self.confusion)), int(self.confusion.sum()))

    @property
    def per_class(self) -> dict[str, ClassMetrics]:
        """Each label's figures."""
        found = np.diag(self.confusion)
        support, predicted = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return {
            label: ClassMetrics(
                precision=_share(found[i], predicted[i]),
                recall=_share(found[i], support[i]),
                f1=_share(2 * found[i], predicted[i] + support[i]),
                support=int(support[i]),
            )
            for i, label in enumerate(self.labels)
        }

    @property
    def macro_f1(self) -> float:
        """Mean F1 of the labels that occur, as right ones or as predicted ones.

        A label that nobody has and nobody predicts says nothing about the model, so it doesn't
        count; scikit-learn's `f1_score(..., average="macro")` does the same.
        """
        occurs = self.confusion.sum(axis=1) + self.confusion.sum(axis=0) > 0
        scores = np.asarray([metrics.f1 for metrics in self.per_class.values()])
        return float(scores[occurs].mean())


def classify(
    expected: Sequence[str], predicted: Sequence[str], labels: Sequence[str]
) -> Classification:
    """The comparison of predicted with right labels.

    Args:
        expected: The right label of each row.
        predicted: The predicted one, as long.
        labels: All labels that may occur, each once.

    Raises:
        ValueError: If there are no rows, the lengths differ, or a label isn't in `labels`.
    """
    if len(expected) != len(predicted) or not expected:
        raise ValueError(f"{len(expected)} right and {len(predicted)} predicted labels")
    places = {label: place for place, label in enumerate(labels)}
    unknown = ({*expected} | {*predicted}) - {*labels}
    if unknown:
        raise ValueError(f"{sorted(unknown)} are not among the labels {list(labels)}")
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    pairs = ([places[label] for label in side] for side in (expected, predicted))
    np.add.at(confusion, tuple(pairs), 1)
    return Classification(labels=tuple(labels), confusion=confusion)


def perplexity(loss: float) -> float:
    """`exp(loss)` of a loss in nats per token; infinity where no float holds it.

    Source:
        Jelinek et al. 1977, Perplexity, doi:10.1121/1.2016299.
    """
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0

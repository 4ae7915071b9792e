"""The loss of a model on some rows: the number that training and evaluation both show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..data.batches import make_batch
from ..data.pack import packing_plan
from ..data.tokenize import TokenSet
from ..model.value import Model
from ..recipe import TrainRecipe
from .plan import device_batch
from .step import loss_sums


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A mean loss and what it was taken over.

    Attributes:
        value: Nats per answer token.
        tokens: Answer tokens.
    """

    value: float
    tokens: int

    @property
    def perplexity(self) -> float:
        """`exp` of the loss; infinite where that overflows."""
        return math.exp(self.value) if self.value < 700 else math.inf


@dataclass(frozen=True, kw_only=True)
class LabelMeasure:
    """How well the labels of a classification are told apart.

    Attributes:
        rows: Rows that were scored.
        accuracy: Share of them whose right label is the most probable one; None without rows.
        macro_f1: Mean F1 of the labels that occur; None without rows.
        confidence: By label, the mean probability that its own rows gave to it.
    """

    rows: int
    accuracy: float | None
    macro_f1: float | None
    confidence: Mapping[str, float]

    def to_fields(self) -> dict[str, Any]:
        """The fields of a `Validation` event."""
        return {
            "label_rows": self.rows,
            "accuracy": self.accuracy,
            "macro_f1": self.macro_f1,
            "confidence": dict(self.confidence),
        }


MeasureLabels = Callable[[Model, Callable[[], bool]], LabelMeasure | None]
"""The labels' measure, or None if it was asked to stop meanwhile."""


def measure_loss(
    model: Model,
    tokens: TokenSet,
    *,
    length: int,
    recipe: TrainRecipe,
    should_stop: Callable[[], bool] = lambda: False,
) -> Loss | None:
    """The model's loss over all answer tokens, adapters included; None if it was stopped.

    Args:
        model: What to measure.
        tokens: The rows.
        length: Tokens of a packed row.
        recipe: Size of a batch and of a chunk of the loss.
        should_stop: Asked between two batches.
    """
    rows = max(1, recipe.micro_batch_tokens // length)
    plan = packing_plan(tokens.lengths, row_length=length, seed=0, epoch=0)
    losses, count = [], 0
    for start in range(0, len(plan), rows):
        if should_stop():
            return None
        host = make_batch(
            tokens,
            plan[start : start + rows],
            rows=rows,
            length=length,
            pad_id=model.tokenizer.pad_id,
        )
        loss, found = loss_sums(
            model.adapters,
            model.weights,
            device_batch(host, (rows, length)),
            config=model.config,
            chunk=recipe.loss_chunk,
        )
        losses.append(loss)
        count += found
    return Loss(value=math.fsum(losses) / count, tokens=count)

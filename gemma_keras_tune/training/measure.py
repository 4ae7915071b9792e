"""The loss of a model on some rows: the number that training and evaluation both show."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..data.batches import make_batch
from ..data.pack import packing_plan
from ..data.tokenize import TokenSet
from ..events import Validation
from ..model.mesh import DATA
from ..model.sharding import by_itself, mesh_of
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


OnRows = Callable[[int], None]
"""Is told how many rows are done."""

MeasureLabels = Callable[[Model, Callable[[], bool], OnRows], LabelMeasure | None]
"""The labels' measure, or None if it was asked to stop meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one measurement on the validation rows found."""

    loss: Loss
    labels: LabelMeasure | None

    def event(self, *, step: int, best: bool) -> Validation:
        """The event that tells it."""
        return Validation(
            step=step,
            loss=self.loss.value,
            perplexity=self.loss.perplexity,
            tokens=self.loss.tokens,
            best=best,
            label_rows=self.labels.rows if self.labels else 0,
            accuracy=self.labels.accuracy if self.labels else None,
            macro_f1=self.labels.macro_f1 if self.labels else None,
            confidence=dict(self.labels.confidence) if self.labels else None,
        )


def measure(
    model: Model,
    tokens: TokenSet,
    *,
    length: int,
    recipe: TrainRecipe,
    measure_labels: MeasureLabels | None,
    should_stop: Callable[[], bool],
    on_progress: Callable[[str, int, int], None],
) -> Measured | None:
    """The loss, and the labels' measure where there is a function for it; None if stopped.

    Args:
        model: What to measure, adapters included.
        tokens: The rows.
        length: Tokens of a packed row.
        recipe: Size of a batch and of a chunk of the loss, and the way of attention.
        measure_labels: Scores the labels.
        should_stop: Asked between two batches.
        on_progress: Is told of what, how many rows are done, and of how many: those whose loss is
            taken, and then those whose labels are scored.
    """
    rows = len(tokens)
    total = rows + (0 if measure_labels is None else min(recipe.label_rows, rows))
    loss = measure_loss(
        model,
        tokens,
        length=length,
        recipe=recipe,
        should_stop=should_stop,
        on_rows=lambda done: on_progress("loss", done, total),
    )
    if loss is None:
        return None
    if measure_labels is None:
        return Measured(loss=loss, labels=None)
    labels = measure_labels(
        by_itself(model), should_stop, lambda done: on_progress("labels", rows + done, total)
    )
    return None if labels is None else Measured(loss=loss, labels=labels)


def measure_loss(
    model: Model,
    tokens: TokenSet,
    *,
    length: int,
    recipe: TrainRecipe,
    should_stop: Callable[[], bool] = lambda: False,
    on_rows: OnRows = lambda done: None,
) -> Loss | None:
    """The model's loss over all answer tokens, adapters included; None if it was stopped.

    Args:
        model: What to measure.
        tokens: The rows.
        length: Tokens of a packed row.
        recipe: Size of a batch and of a chunk of the loss, and the way of attention.
        should_stop: Asked between two batches.
        on_rows: Is told how many rows are done.
    """
    mesh = mesh_of(model.weights)
    rows = max(1, recipe.micro_batch_tokens // length) * (1 if mesh is None else mesh.shape[DATA])
    plan = packing_plan(tokens.lengths, row_length=length, seed=0, epoch=0)
    losses, count, done = [], 0, 0
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
            device_batch(host, (rows, length), mesh),
            config=model.config,
            chunk=recipe.loss_chunk,
            attention=recipe.attention,
        )
        losses.append(loss)
        count += found
        done += sum(map(len, plan[start : start + rows]))
        on_rows(done)
    return Loss(value=math.fsum(losses) / count, tokens=count)

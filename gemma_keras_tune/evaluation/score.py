"""Answers' log-probabilities in one packed pass: the loss of answers, and the scores of labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from ..data.label_answers import label_answers
from ..errors import ModelError
from ..model.attention import softcap_scores
from ..model.config import GemmaConfig
from ..model.forward import hidden_states
from ..model.lora import Adapters
from ..model.value import Model
from ..model.weights import output_matrix
from ..training.loss import token_log_probabilities
from .packing import PackedRows, Piece, answer_piece, labels_piece, pack_stream
from .progress import OnEvent, Reporter

# Positions whose logits exist at once. A batch of labelled rows asks for about 48, for which XLA's
# CPU kernel happens to be twice as fast as for 64; other tasks ask for many.
_FEW_LOGITS, _MANY_LOGITS = 48, 128

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class LabelScores:
    """How probable each label is as the answer to one prompt.

    Attributes:
        labels: The labels.
        log_probabilities: Nats: the sum over each label's answer tokens, the stop id included.
        tokens: Answer tokens of each label.
    """

    labels: tuple[str, ...]
    log_probabilities: tuple[float, ...]
    tokens: tuple[int, ...]

    @property
    def predicted(self) -> str:
        """The most probable label; of equal ones the first."""
        return self.labels[int(np.argmax(self.log_probabilities))]

    @property
    def probabilities(self) -> tuple[float, ...]:
        """Softmax of the log-probabilities: as if nothing but the labels could be said."""
        scores = np.asarray(self.log_probabilities)
        shares = np.exp(scores - scores.max())
        return tuple((shares / shares.sum()).tolist())

    @property
    def confidence(self) -> float:
        """Probability of the predicted label among the labels."""
        return max(self.probabilities)

    def loss(self, label: str) -> AnswerLoss:
        """The loss, had this label been the answer.

        Raises:
            ValueError: If it is none of the labels.
        """
        place = self.labels.index(label)
        return AnswerLoss(nats=-self.log_probabilities[place], tokens=self.tokens[place])


@dataclass(frozen=True)
class AnswerLoss:
    """Negative log-probability of an example's answer tokens, in nats, and how many they are."""

    nats: float
    tokens: int


class TokenRows(Protocol):
    """What `data.tokenize.TokenSet` is to this module."""

    def __len__(self) -> int:
        """Number of examples."""

    def example(self, index: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
        """Ids and answer mask of one example, `[length]` each."""


def score_labels(
    model: Model,
    prompts: Sequence[Sequence[int]],
    labels: Sequence[str],
    *,
    batch_rows: int = 8,
    on_event: OnEvent | None = None,
) -> list[LabelScores]:
    """The labels' scores for each prompt, every prompt computed once.

    Args:
        model: Its template says how a label is answered.
        prompts: Token ids, each ending where the answer begins.
        labels: At least two, different also after tokenization.
        batch_rows: This many times 256 tokens are computed at once.
        on_event: Receives `Progress` of the stage `evaluation`, counted in prompts.

    Raises:
        DataError: `LABELS_ALIKE`, if labels are too few or alike.
        ValueError: If a prompt is empty or too long.
    """
    answers = label_answers(model.template, labels)
    pieces = [labels_piece(prompt, answers) for prompt in prompts]
    found: dict[int, LabelScores] = {}
    for index, (sums,) in score_pieces([model], pieces, batch_rows=batch_rows, on_event=on_event):
        found[index] = label_scores(labels, answers, sums)
    return [found[index] for index in range(len(prompts))]


def answer_losses(
    model: Model, tokens: TokenRows, *, batch_rows: int = 8, on_event: OnEvent | None = None
) -> list[AnswerLoss]:
    """The loss of every example over its supervised tokens, all turns together.

    Args:
        model: The model.
        tokens: The examples.
        batch_rows: This many times 256 tokens are computed at once.
        on_event: Receives `Progress` of the stage `evaluation`, counted in examples.
    """
    pieces = [answer_piece(*tokens.example(index)) for index in range(len(tokens))]
    found: dict[int, AnswerLoss] = {}
    for index, (sums,) in score_pieces([model], pieces, batch_rows=batch_rows, on_event=on_event):
        found[index] = AnswerLoss(nats=-float(sums.sum()), tokens=len(pieces[index].targets))
    return [found[index] for index in range(len(pieces))]


def label_scores(
    labels: Sequence[str], answers: Sequence[Sequence[int]], sums: Floats
) -> LabelScores:
    """The scores as a value, from what `score_pieces` gave for a `labels_piece`."""
    return LabelScores(
        labels=tuple(labels),
        log_probabilities=tuple(sums.tolist()),
        tokens=tuple(len(answer) for answer in answers),
    )


def not_finite(where: str) -> ModelError:
    """The error that says of a row that its loss is no number."""
    return ModelError(
        f"{where}: the loss is not finite. The weights are damaged, or training went astray: lower "
        "train.learning_rate and train again.",
        code="LOSS_NOT_FINITE",
    )


def score_pieces(
    models: Sequence[Model],
    pieces: Sequence[Piece],
    *,
    batch_rows: int,
    on_event: OnEvent | None = None,
) -> Iterator[tuple[int, list[Floats]]]:
    """`(index, sums)` of each piece, nearly in order: log-probability by answer, for each model.

    Every batch goes through all models before the next one is packed. `sums` holds one float64
    array `[answers]` for each model, in nats.

    Args:
        models: They share a tokenizer; base and tuned one may share weights.
        pieces: What to score.
        batch_rows: A batch has this many times 256 tokens; longer rows come fewer.
        on_event: Receives `Progress` of the stage `evaluation`.

    Raises:
        ValueError: If a piece is longer than a model takes, or `batch_rows` is below 1.
    """
    if batch_rows < 1:
        raise ValueError(f"batch_rows must be at least 1, not {batch_rows}")
    _check_lengths(models, pieces)
    reporter = Reporter("evaluation", len(pieces), on_event)
    done = 0
    for batch in pack_stream(pieces, batch_rows=batch_rows):
        by_model = [_batch_log_probabilities(model, batch) for model in models]
        for index, places in batch.members:
            yield index, [_sums(pieces[index].groups, flat[places]) for flat in by_model]
        done += len(batch.members)
        reporter.report(done)


def _check_lengths(models: Sequence[Model], pieces: Sequence[Piece]) -> None:
    longest = min(model.config.max_positions for model in models)
    for index, piece in enumerate(pieces):
        length = int(piece.positions.max()) + 1
        if length > longest:
            raise ValueError(
                f"example {index} has {length} tokens; the model takes at most {longest}"
            )


def _sums(groups: npt.NDArray[np.int32], values: Floats) -> Floats:
    """The sum of each group's values, `[groups]`; at least one group, if an empty one."""
    return np.bincount(groups, weights=values, minlength=1).astype(np.float64)


def _batch_log_probabilities(model: Model, batch: PackedRows) -> Floats:
    """Log-probabilities of a batch's targets and then its further targets, flat."""
    grid = (batch.token_ids, batch.positions, batch.segment_ids, batch.targets, batch.mask)
    branched = bool(batch.branch_ids.any())
    more = (batch.branch_ids, batch.more_sources, batch.more_targets) if branched else None
    arrays = (model.config, model.weights, model.adapters)
    found = _log_probabilities(*arrays, *jax.tree.map(jnp.asarray, (grid, more)))
    return np.asarray(found, np.float64)


@partial(jax.jit, static_argnames=("config",))
def _log_probabilities(
    config: GemmaConfig,
    weights: Mapping[str, Any],
    adapters: Adapters | None,
    grid: tuple[jax.Array, ...],
    more: tuple[jax.Array, ...] | None,
) -> jax.Array:
    """Log-probability of each target, float32 `[rows * length]`, or twice that with branches."""
    token_ids, positions, segment_ids, targets, mask = grid
    hidden = hidden_states(
        config,
        weights,
        token_ids,
        positions=positions,
        segment_ids=segment_ids,
        branch_ids=None if more is None else more[0],
        adapters=adapters,
    )
    head, cap = output_matrix(weights), config.final_softcap
    chunk = _MANY_LOGITS if more is None else _FEW_LOGITS
    first = token_log_probabilities(hidden, head, targets, mask, chunk=chunk, softcap=cap)
    first = first.reshape(-1)
    if more is None:
        return first
    _, sources, further = more
    states = hidden.reshape(-1, hidden.shape[-1])[sources]

    def score(tokens: jax.Array) -> jax.Array:
        dots = jnp.einsum("sw,sw->s", states, head[tokens], preferred_element_type=jnp.float32)
        return softcap_scores(dots, cap)

    # Targets of one hidden state share its normaliser, so their logits alone tell them apart.
    beside = first[sources] + score(further) - score(targets.reshape(-1)[sources])
    return jnp.concatenate([first, beside])


def mean_loss(losses: Iterable[AnswerLoss]) -> tuple[float, int]:
    """`(nats per answer token, answer tokens)` over many examples; NaN where there are none."""
    nats, tokens = 0.0, 0
    for loss in losses:
        nats, tokens = nats + loss.nats, tokens + loss.tokens
    return (nats / tokens if tokens else math.nan), tokens

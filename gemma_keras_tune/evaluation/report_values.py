"""The values of a report, and how they read as JSON."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from typing import Any

from .chance import Comparison
from .metrics import Classification, perplexity


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What one model reached.

    Attributes:
        loss: Nats per answer token.
        tokens: Answer tokens.
        classification: How labels were predicted, or None where the task has none.
    """

    loss: float
    tokens: int
    classification: Classification | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; label metrics only where the task has labels.

        JSON has no infinity: a perplexity beyond the largest float is written as that float.
        """
        values: dict[str, Any] = {
            "loss": self.loss,
            "perplexity": min(perplexity(self.loss), sys.float_info.max),
            "tokens": self.tokens,
        }
        found = self.classification
        if found is not None:
            values |= {
                "accuracy": found.accuracy,
                "accuracy_interval": list(found.accuracy_interval),
                "macro_f1": found.macro_f1,
                "per_class": {label: asdict(one) for label, one in found.per_class.items()},
                "confusion": {"labels": list(found.labels), "counts": found.confusion.tolist()},
            }
        return values


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one model said to a sample.

    Attributes:
        text: The generated text.
        stop_reason: `stop` or `length`, as in `Generation`.
        predicted: The most probable label, or None where the task has none.
        confidence: Its probability among the labels, or None.
    """

    text: str
    stop_reason: str
    predicted: str | None = None
    confidence: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; `predicted` and `confidence` only where the task has labels."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A row with the models' answers side by side.

    Attributes:
        row: Line number in the file.
        file: The file.
        prompt: What was asked.
        expected: The right answer.
        tuned: The tuned model's answer.
        base: The base model's, or None if none was given.
    """

    row: int
    file: str
    prompt: str
    expected: str
    tuned: Answer
    base: Answer | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values; `base` is null where there was no base model."""
        return {
            "row": self.row,
            "file": self.file,
            "prompt": self.prompt,
            "expected": self.expected,
            "base": None if self.base is None else self.base.to_json(),
            "tuned": self.tuned.to_json(),
        }


@dataclass(frozen=True, kw_only=True)
class Report:
    """How well a model does on held-back rows, beside the model it was made from.

    Attributes:
        task: The recipe's task.
        rows: Rows that were measured.
        shortened: How many of them were cut to the longest allowed length.
        dropped: Rows that were left out because they are too long.
        tuned: The model's measures.
        base: The base model's, or None if none was given.
        samples: Some rows with the answers that were generated.
        compared: The two models row by row, or None if no base model was given.
    """

    task: str
    rows: int
    shortened: int
    dropped: int
    tuned: Measures
    base: Measures | None
    samples: tuple[Sample, ...]
    compared: Comparison | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values without NaN or infinity.

        `base` and `compared` are null where there was no base model; `compared.p_value` is of the
        exact sign test, `compared.rows_to_tell` is as `Comparison` has it. `accuracy_interval` has
        the bounds at a confidence of 95 %. `confusion.counts` has a row for each right label and a
        column for each predicted one.
        """
        return {
            "task": self.task,
            "rows": self.rows,
            "shortened": self.shortened,
            "dropped": self.dropped,
            "base": None if self.base is None else self.base.to_json(),
            "tuned": self.tuned.to_json(),
            "compared": None if self.compared is None else self._compared(self.compared),
            "samples": [sample.to_json() for sample in self.samples],
        }

    def _compared(self, compared: Comparison) -> dict[str, Any]:
        return {**compared.to_json(), "rows_to_tell": compared.rows_to_tell(self.rows)}

    def to_markdown(self) -> str:
        """The report for a person."""
        from .markdown import report_markdown

        return report_markdown(self)

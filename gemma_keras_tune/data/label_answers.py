"""The token ids with which labels are answered."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import DataError
from ..text.template import Template


def label_answers(template: Template, labels: Sequence[str]) -> list[tuple[int, ...]]:
    """Answer ids of each label, stop id included.

    Args:
        template: The model's.
        labels: All that there are.

    Raises:
        DataError: `LABELS_ALIKE`, if there are fewer than two labels, or two have the same ids;
            or what the template refuses.
    """
    answers = [template.answer(label) for label in labels]
    if len(answers) < 2 or len(set(answers)) != len(answers):
        raise DataError(
            f"A classification needs at least two labels that differ, not {list(labels)}. White "
            "space around a label doesn't count. Correct the rows, or name the labels in "
            "data.labels.",
            code="LABELS_ALIKE",
        )
    return answers

"""How long a training still takes, by the time of its newest steps and measurements."""

from __future__ import annotations

import statistics
from collections import deque

from ..data.tokenize import TokenSet
from ..recipe import TrainRecipe
from .plan import TrainPlan

RECENT = 20
"""Steps whose mean time foretells the next."""


class TimeLeft:
    """The time that is left of a training: of its steps, and of measuring between them.

    Args:
        plan: All steps.
        validation: What is measured; None for nothing.
        scores_labels: Whether labels are scored at each measurement.
    """

    def __init__(
        self, plan: TrainPlan, validation: TokenSet | None, *, scores_labels: bool
    ) -> None:
        self._plan, self._validation, self._scores_labels = plan, validation, scores_labels
        self._steps = deque[float](maxlen=RECENT)
        self._has_compiled = False
        self._measurement_s: float | None = None

    def step_took(self, seconds: float) -> None:
        """Takes in the next step; the first one waited for the compiler and foretells nothing."""
        if self._has_compiled:
            self._steps.append(seconds)
        self._has_compiled = True

    def measurement_took(self, seconds: float) -> None:
        """Takes in the next measurement."""
        self._measurement_s = seconds

    def after(self, step: int, *, last: int, recipe: TrainRecipe) -> float | None:
        """Seconds from the end of a step, before it is measured, to the end of the training.

        Args:
            step: Steps done.
            last: The last step.
            recipe: Settings of the steps to come.

        Returns:
            None as long as no step but the one that compiled is done.
        """
        if not self._steps:
            return None
        of_step = statistics.fmean(self._steps)
        seconds = (last - step) * of_step
        if self._validation is not None:
            due = measurements(self._plan, recipe, first=step, last=last)
            took = self._measurement_s or of_step * self._as_steps(self._validation, recipe)
            seconds += due * took
        return seconds

    def _as_steps(self, validation: TokenSet, recipe: TrainRecipe) -> float:
        """A measurement's operations as steps: no backward pass, as in `planning/speed.py`."""
        rows, tokens = len(validation), int(validation.lengths.sum())
        scored = min(recipe.label_rows, rows) if self._scores_labels else 0
        of_step = self._plan.rows_of_step * self._plan.length
        passes = 6 if recipe.remat == "full" else 4
        return tokens * (1 + scored / max(1, rows)) / of_step * 2 / passes


def measurements(plan: TrainPlan, recipe: TrainRecipe, *, first: int, last: int) -> int:
    """How many steps from `first` to `last` are measured; the last one always is.

    Args:
        plan: All steps.
        recipe: How often.
        first: The first step that counts, at least 1.
        last: The run's last step.
    """
    every = recipe.evaluate_every_steps
    if every is None:
        return len({end for end in plan.epoch_ends if first <= end < last}) + 1
    return (last - 1) // every - (first - 1) // every + 1

"""What becomes of a step whose loss or gradient is not a number; by itself it changed nothing."""

from __future__ import annotations

from typing import Literal

from ..data.examples import Split
from ..errors import TuneError
from ..recipe import TrainRecipe
from .plan import TrainPlan

Verdict = Literal["stop", "skip", "roll_back"]

_NAMED = 10  # rows named in a message


class NanGuard:
    """Decides as the recipe says.

    A step is done again once at most in the life of a process, so a run can't go round for ever;
    skipped steps in a row are counted in the checkpoint.
    """

    def __init__(self, recipe: TrainRecipe) -> None:
        self._recipe = recipe
        self._done_again: set[int] = set()

    def verdict(self, step: int, *, bad_steps: int) -> Verdict:
        """What to do about step `step`, after `bad_steps` others in a row that were skipped."""
        if self._recipe.on_nan == "roll_back" and step not in self._done_again:
            self._done_again.add(step)
            return "roll_back"
        if self._recipe.on_nan == "stop" or bad_steps + 1 >= self._recipe.nan_limit:
            return "stop"
        return "skip"


def rows_text(plan: TrainPlan, examples: Split, step: int) -> str:
    """The rows of the file that a step sees, for a message: `It saw the rows 2, 5 and 9 more.`"""
    rows = plan.tokens.rows
    members = [index for row in plan.examples_of(step) for index in row]
    lines = sorted(examples[int(rows[index])].row for index in members)
    more = f" and {len(lines) - _NAMED} more" if len(lines) > _NAMED else ""
    return f"It saw the rows {', '.join(map(str, lines[:_NAMED]))}{more}."


def not_a_number(what: str, recipe: TrainRecipe, *, kept: int, where: str = "") -> TuneError:
    """The error that ends the run.

    Args:
        what: What is not a number.
        recipe: The settings as they were.
        kept: Steps that are kept.
        where: A sentence on the rows, or nothing.
    """
    return TuneError(
        f"{what} is not a number.{where and ' ' + where} Nothing after step {kept} was kept. "
        f"Try a lower train.learning_rate (now {recipe.learning_rate:g}) or a smaller "
        f"train.max_grad_norm (now {recipe.max_grad_norm:g}); if it happens in the first "
        "step, look at those rows.",
        code="LOSS_NAN",
    )

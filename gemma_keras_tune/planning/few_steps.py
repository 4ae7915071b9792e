"""Whether a run has enough optimizer steps to learn from its rows, and what would give it more."""

from __future__ import annotations

import math

from ..recipe import TrainRecipe
from .estimate import Setting
from .values import FewSteps, Steps

FEWEST_STEPS = 20
"""With fewer a model learns how an answer looks, and hardly which one is right."""

_ENOUGH = 2  # times the fewest
_ROWS_OF_STEP = 8  # examples that a step should see: fewer make it noisy
_MOST_EPOCHS = 10  # more passes over few rows learn them by heart
_WITH_EARLY_END = 2.5  # times as much of each: it ends before it learns by heart


def few_steps(setting: Setting, steps: Steps) -> FewSteps | None:
    """What would give a run more steps, or None where it has enough.

    Smaller batches come first, down to about eight examples a step; they cost nothing. Then come
    more passes over the rows, up to ten. A run that ends by itself when it gets no better
    (`train.patience`) may have two and a half times as many steps and passes.

    Args:
        setting: What is planned.
        steps: Its steps.
    """
    train, total = setting.recipe.train, steps.total
    if total >= FEWEST_STEPS * _more_often(train):
        return None
    told = "1 optimizer step" if total == 1 else f"{total} optimizer steps"
    if train.max_steps is not None and total >= train.max_steps:
        if total >= FEWEST_STEPS:
            return None
        words = (
            f"It ends after {told}, as train.max_steps says: enough to see that everything works, "
            "but it learns very little."
        )
        return FewSteps(steps=total, set="", words=words)
    packed_rows, epochs = _more(setting, steps)
    length = setting.length
    changes: dict[str, int] = {}
    if packed_rows < setting.rows * setting.micro_batches:
        changes["train.batch_tokens"] = packed_rows * length
        if packed_rows < setting.rows:
            changes["train.micro_batch_tokens"] = packed_rows * length
    if epochs > train.epochs:
        changes["train.epochs"] = epochs
    found = epochs * math.ceil(steps.packed_rows / packed_rows)
    if total >= FEWEST_STEPS:
        if not changes:
            return None
        words = f"It has {told}, and may have more: it ends when it gets no better."
    else:
        words = f"It has only {told}, so it learns very little."
    if found < FEWEST_STEPS:
        words += f" {steps.rows} rows to learn from are few: add more."
    found = min(found, train.max_steps or found)
    if not changes:
        return FewSteps(steps=total, set="", words=words)
    set = " ".join(f"{key}={value}" for key, value in changes.items())
    return FewSteps(steps=found, set=set, words=words)


def _more(setting: Setting, steps: Steps) -> tuple[int, int]:
    """`(packed rows of a step, epochs)`: the largest batch, and then the fewest passes."""
    now, train = setting.rows * setting.micro_batches, setting.recipe.train
    epochs, often = train.epochs, _more_often(train)
    enough, most_epochs = _ENOUGH * FEWEST_STEPS * often, int(_MOST_EPOCHS * often)
    least = min(now, max(1, math.ceil(_ROWS_OF_STEP * steps.packed_rows / max(1, steps.rows))))
    for packed_rows in range(now, least - 1, -1):
        if epochs * math.ceil(steps.packed_rows / packed_rows) >= enough:
            return packed_rows, epochs
    needed = math.ceil(enough / math.ceil(steps.packed_rows / least))
    return least, max(epochs, min(needed, most_epochs))


def _more_often(train: TrainRecipe) -> float:
    return 1.0 if train.patience is None else _WITH_EARLY_END

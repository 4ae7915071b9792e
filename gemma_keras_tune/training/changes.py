"""What was changed in a working run: the settings of each step as a pure function of the list.

A change that was made after `step` steps counts from the next step on. Nothing else remembers that
it was made, so a run that is resumed with the same list takes the same steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from ..event_types import ControlApplied
from ..recipe import TrainRecipe
from .optimizer import learning_rate_at


@dataclass(frozen=True, kw_only=True)
class Change:
    """One setting that was changed.

    Attributes:
        id: The command's.
        step: Optimizer steps done when it was made.
        key: One of `control_file.SETTABLE`.
        value: What it was changed to.
    """

    id: str
    step: int
    key: str
    value: Any


@dataclass(frozen=True)
class Changes:
    """All changes, in the order in which they were acknowledged.

    After a kill the run goes back to its checkpoint, and changes that lie ahead are waited for. A
    newer change of the same key replaces those: the newest wish counts.
    """

    all: tuple[Change, ...] = ()

    @cached_property
    def effective(self) -> tuple[Change, ...]:
        """Those that were not replaced, by step."""
        kept: list[Change] = []
        for change in self.all:
            kept = [one for one in kept if one.key != change.key or one.step < change.step]
            kept.append(change)
        return tuple(sorted(kept, key=lambda change: change.step))

    def with_more(self, changes: Iterable[Change]) -> Changes:
        """These and the others whose id is not among them yet."""
        known = {change.id for change in self.all}
        return Changes((*self.all, *(one for one in changes if one.id not in known)))

    def recipe_for(self, step: int, recipe: TrainRecipe) -> TrainRecipe:
        """The settings of step `step`, and of what is done right after it."""
        changed = {one.key: one.value for one in self._before(step) if one.key != "end_step"}
        return recipe.model_copy(update=changed) if changed else recipe

    def end_for(self, step: int, total_steps: int) -> int:
        """The last step, as it stands when step `step` is taken."""
        ends = [one.value for one in self._before(step) if one.key == "end_step"]
        return ends[-1] if ends else total_steps

    def rate_at(self, step: int, recipe: TrainRecipe, total_steps: int) -> float:
        """The learning rate of step `step`."""
        return learning_rate_at(
            self.recipe_for(step, recipe),
            step=self.position(step, total_steps),
            total_steps=total_steps,
        )

    def position(self, step: int, total_steps: int) -> float:
        """Where in the planned schedule step `step` stands, from 1 to `total_steps`.

        A changed end leaves the rate where it is, and squeezes or stretches the rest of the
        schedule evenly, so that the new last step stands where the planned one stood.
        """
        since, place, pace = 0, 0.0, 1.0
        for change in self._before(step):
            if change.key == "end_step":
                place += (change.step - since) * pace
                since = change.step
                pace = (total_steps - place) / (change.value - since)
        if since == 0 and pace == 1.0:
            return step
        return min(float(total_steps), place + (step - since) * pace)

    def to_json(self) -> list[dict[str, Any]]:
        """Plain values for a checkpoint; `from_json` reads them back."""
        return [asdict(change) for change in self.all]

    def _before(self, step: int) -> Iterable[Change]:
        return (change for change in self.effective if change.step < step)


def from_json(values: Iterable[Mapping[str, Any]]) -> Changes:
    """The changes that a checkpoint holds."""
    return Changes(tuple(Change(**value) for value in values))


def from_events(events: Iterable[ControlApplied]) -> list[Change]:
    """The changes among what was acknowledged."""
    return [change_of(event) for event in events if event.command == "set"]


def change_of(event: ControlApplied) -> Change:
    """The change that an acknowledgement of `set` speaks of.

    Raises:
        ValueError: If it is none of `set`.
    """
    if event.command != "set" or event.key is None:
        raise ValueError(f"{event.command!r} changes no setting")
    return Change(id=event.id, step=event.step, key=event.key, value=event.value)

"""Where a run stands, all of it, and how that is kept in checkpoints and taken up again."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ..events import CheckpointSaved, Event, Note, Warned
from ..model.lora import Adapters
from ..recipe import TrainRecipe
from .changes import Changes
from .checkpoints import CheckpointStore
from .standing import Standing, from_meta, to_meta, version_changes
from .step import TrainState

SaveReason = Literal["steps", "time", "best", "asked", "pause", "stop", "end"]


@dataclass(frozen=True, kw_only=True)
class Place:
    """Everything that a checkpoint holds: with the recipe and the data, it decides the rest.

    Attributes:
        state: Adapters and optimizer.
        best: The adapters of the lowest validation loss so far.
        standing: Steps and measurements so far.
        changes: What was changed in the working run.
    """

    state: TrainState
    best: Adapters
    standing: Standing = Standing()
    changes: Changes = Changes()


class Keeper:
    """Saves places and gives them back.

    Args:
        store: Where checkpoints go; None keeps none.
        identity: What the run is, so that no other run's checkpoint is taken.
        on_event: Receives what was saved, and warnings.
    """

    def __init__(
        self,
        store: CheckpointStore | None,
        *,
        identity: Mapping[str, str],
        on_event: Callable[[Event], None],
    ) -> None:
        self._store, self._identity, self._on_event = store, identity, on_event
        self._saved_step = -1
        self._saved_at = time.monotonic()

    @property
    def keeps(self) -> bool:
        """Whether there is somewhere to save to."""
        return self._store is not None

    def save(self, place: Place, reason: SaveReason, *, again: bool = False) -> bool:
        """Whether a checkpoint of this step is kept; `again`: save it even if one is there.

        Raises:
            CheckpointError: As `CheckpointStore.save`.
        """
        step = place.standing.step
        if self._store is None:
            return False
        if self._saved_step == step and not again:
            return True
        began, self._saved_step = time.monotonic(), step
        saved = self._store.save(
            step,
            {"state": place.state, "best": place.best},
            to_meta(place.standing, place.changes, self._identity),
            best=reason == "best",
        )
        self._saved_at = time.monotonic()
        self._on_event(
            CheckpointSaved(
                step=saved.step,
                seconds=self._saved_at - began,
                bytes=saved.size_bytes,
                reason=reason,
            )
        )
        return True

    def save_if_due(self, place: Place, recipe: TrainRecipe, *, is_best: bool) -> None:
        """Saves a new best, or what the recipe's intervals ask for.

        Raises:
            CheckpointError: As `CheckpointStore.save`.
        """
        step, every = place.standing.step, recipe.checkpoint_every_steps
        if is_best:
            self.save(place, "best", again=True)
        elif every and step and step % every == 0:
            self.save(place, "steps")
        elif time.monotonic() - self._saved_at >= recipe.checkpoint_every_s:
            self.save(place, "time")

    def leave_out(self, seconds: float) -> None:
        """Doesn't count these last seconds, of a pause, towards the next checkpoint by time."""
        self._saved_at = min(time.monotonic(), self._saved_at + seconds)

    def resume(self, start: Place) -> Place:
        """The newest whole checkpoint's place, with a word on it; `start` where there is none.

        Raises:
            CheckpointError: As `newest`.
        """
        place = self.newest(start)
        for line in self._store.damage if self._store else ():
            self._on_event(Warned(code="CKPT_DAMAGED", message=f"Not used: {line}"))
        if place is not start:
            self._on_event(Note(message=f"Resumed after step {place.standing.step}."))
        return place

    def newest(self, start: Place) -> Place:
        """The newest whole checkpoint's place; `start` where there is none.

        Args:
            start: The run's very first place; its arrays tell the shapes.

        Raises:
            CheckpointError: If none is whole, or it is another run's.
        """
        found = self._store.latest() if self._store else None
        if self._store is None or found is None:
            self._saved_step = -1
            return start
        standing, changes = from_meta(found.meta, self._identity)
        arrays = self._store.restore(found, {"state": start.state, "best": start.best})
        for change in version_changes(found.meta):
            text = f"{change} since the checkpoint: the result may differ in the last bits."
            self._on_event(Warned(code="VERSION_CHANGED", message=text))
        self._saved_step, self._saved_at = standing.step, time.monotonic()
        return dataclasses.replace(
            start, state=arrays["state"], best=arrays["best"], standing=standing, changes=changes
        )

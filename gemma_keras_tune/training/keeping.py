"""Where a run stands, all of it, and how that is kept in checkpoints and taken up again."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Literal, Self

import jax
import numpy as np

from .. import peers
from ..errors import CheckpointError
from ..events import CheckpointSaved, Event, Note, Warned
from ..model.lora import Adapters
from ..recipe import TrainRecipe
from .changes import Changes, from_json
from .checkpoints import Checkpoint, CheckpointStore, placed_like
from .standing import Standing, from_meta, to_meta, version_changes
from .step import TrainState

SaveReason = Literal["steps", "time", "best", "asked", "pause", "stop", "end"]
_BESIDE: tuple[SaveReason, ...] = ("steps", "time", "best")
"""Reasons for which training goes on while a checkpoint is written; for others it waits."""


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


@dataclass(frozen=True, kw_only=True)
class _Writing:
    """A checkpoint that is being written; `done` gives it and the seconds that it took."""

    done: Future[tuple[Checkpoint, float]]
    reason: SaveReason


class Keeper:
    """Saves places and gives them back.

    While the run trains, its checkpoints are written beside it, one at a time: the arrays are
    copied, and what became of the writing is told after a later step.

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
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: _Writing | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Waits for the checkpoint that is being written; what ended the run before matters more.

        Raises:
            CheckpointError: As `settle`, where nothing else was raised.
        """
        try:
            with suppress(*((CheckpointError,) if kind else ())):
                self.settle()
        finally:
            self._writer.shutdown()

    @property
    def keeps(self) -> bool:
        """Whether there is somewhere to save to."""
        return self._store is not None

    def save(self, place: Place, reason: SaveReason, *, again: bool = False) -> bool:
        """Whether a checkpoint of this step is kept; `again`: save it even if one is there.

        It is durable when this returns, or `settle` does.

        Raises:
            CheckpointError: As `CheckpointStore.save`, for this checkpoint or the one before.
        """
        step = place.standing.step
        if self._store is None:
            return False
        self.settle()
        if self._saved_step == step and not again:
            return True
        self._saved_step, self._saved_at = step, time.monotonic()
        arrays = {"state": place.state, "best": place.best}
        write = partial(
            self._store.save,
            step,
            jax.tree.map(lambda array: np.array(jax.device_get(array)), arrays),
            to_meta(place.standing, place.changes, self._identity),
            best=reason == "best",
        )
        self._writing = _Writing(done=self._writer.submit(_timed, write), reason=reason)
        self.settle(wait=reason not in _BESIDE)
        return True

    def settle(self, *, wait: bool = True) -> None:
        """Tells of the checkpoint that was being written, if it is done, or waits until it is.

        Raises:
            CheckpointError: As `CheckpointStore.save`.
        """
        writing = self._writing
        if writing is None or not (wait or writing.done.done()):
            return
        self._writing = None
        saved, seconds = writing.done.result()
        self._on_event(
            CheckpointSaved(
                step=saved.step,
                seconds=seconds,
                bytes=saved.size_bytes,
                reason=writing.reason,
            )
        )

    def save_if_due(self, place: Place, recipe: TrainRecipe, *, is_best: bool) -> None:
        """Saves a new best, or what the recipe's intervals ask for.

        Raises:
            CheckpointError: As `save`.
        """
        self.settle(wait=False)
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

        Only the process that leads has checkpoints: the others are told the place by it.

        Args:
            start: The run's very first place; its arrays tell the shapes.

        Raises:
            CheckpointError: If none is whole, or it is another run's.
        """
        self.settle()
        return _shared(self._own_newest(start), start)

    def _own_newest(self, start: Place) -> Place:
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


def _timed(write: Callable[[], Checkpoint]) -> tuple[Checkpoint, float]:
    began = time.monotonic()
    return write(), time.monotonic() - began


def _shared(place: Place, start: Place) -> Place:
    """The leader's place, in every process."""
    if peers.is_alone():
        return place
    told = peers.agreed(
        {
            "is_start": place is start,
            "standing": dataclasses.asdict(place.standing),
            "changes": place.changes.to_json(),
        }
    )
    if told["is_start"]:
        return start
    arrays = {"state": place.state, "best": place.best}
    leaves, structure = jax.tree.flatten(arrays)
    found = peers.shared([np.asarray(jax.device_get(leaf)) for leaf in leaves])
    placed = [placed_like(array, leaf) for array, leaf in zip(found, leaves, strict=True)]
    return dataclasses.replace(
        start,
        **jax.tree.unflatten(structure, placed),
        standing=Standing(**told["standing"]),
        changes=from_json(told["changes"]),
    )

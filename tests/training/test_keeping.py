"""Checkpoints that are written while the training goes on."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np
import pytest

from gemma_keras_tune.errors import CheckpointError
from gemma_keras_tune.event_types import CheckpointSaved, Event
from gemma_keras_tune.model.lora import init_adapters
from gemma_keras_tune.recipe import LoraRecipe, TrainRecipe
from gemma_keras_tune.training.checkpoints import Checkpoint, CheckpointStore
from gemma_keras_tune.training.keeping import Keeper, Place
from gemma_keras_tune.training.standing import Standing
from gemma_keras_tune.training.step import initial_state
from tests.support.tiny_models import tiny_gemma3


class SlowStore:
    """Keeps what it is given once it is allowed to, or fails."""

    def __init__(self) -> None:
        self.may = threading.Event()
        self.error: CheckpointError | None = None
        self.kept: list[tuple[int, Any]] = []

    def save(self, step: int, arrays: Any, meta: Any, *, best: bool = False) -> Checkpoint:
        assert self.may.wait(30)
        if self.error is not None:
            raise self.error
        self.kept.append((step, arrays))
        return Checkpoint(step=step, attempt=1, meta=meta, path=Path(), size_bytes=8, is_best=best)


@pytest.fixture
def store() -> SlowStore:
    return SlowStore()


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def keeper(store: SlowStore, events: list[Event]) -> Keeper:
    return Keeper(cast(CheckpointStore, store), identity={}, on_event=events.append)


def place(step: int) -> Place:
    adapters = init_adapters(tiny_gemma3(), LoraRecipe(rank=2))
    state = initial_state(adapters, TrainRecipe())
    return Place(state=state, best=adapters, standing=Standing(step=step))


def saved(events: list[Event]) -> list[tuple[int, str]]:
    return [(one.step, one.reason) for one in events if isinstance(one, CheckpointSaved)]


def test_what_is_due_is_written_beside_and_told_once_it_is_done(
    keeper: Keeper, store: SlowStore, events: list[Event]
) -> None:
    assert keeper.save(place(1), "steps")
    keeper.settle(wait=False)
    assert store.kept == [] and events == []
    store.may.set()
    time.sleep(0.5)  # the training goes on, and only then looks again
    keeper.settle(wait=False)
    assert saved(events) == [(1, "steps")]
    (event,) = events
    assert isinstance(event, CheckpointSaved) and event.seconds < 0.4  # not until it was looked at


def test_what_somebody_waits_for_is_there_at_once(
    keeper: Keeper, store: SlowStore, events: list[Event]
) -> None:
    store.may.set()
    for step, reason in ((1, "asked"), (2, "stop"), (3, "end")):
        assert keeper.save(place(step), cast(Any, reason))
        assert saved(events)[-1] == (step, reason) and store.kept[-1][0] == step


def test_the_arrays_are_those_of_that_step_though_the_next_takes_them_away(
    keeper: Keeper, store: SlowStore
) -> None:
    now = place(1)
    expected = [np.array(leaf) for leaf in jax.tree.leaves(now.state)]
    keeper.save(now, "time")
    for leaf in jax.tree.leaves(now.state):
        leaf.delete()
    store.may.set()
    keeper.settle()
    kept = jax.tree.leaves(store.kept[0][1]["state"])
    assert all(map(np.array_equal, kept, expected))


def test_one_that_fails_ends_the_run_at_the_next_look(keeper: Keeper, store: SlowStore) -> None:
    store.error = CheckpointError("The disk is full.", code="NEEDS_SPACE")
    keeper.save(place(1), "steps")
    store.may.set()
    with pytest.raises(CheckpointError, match="disk is full"):
        keeper.save(place(2), "steps")
    store.may.clear()
    keeper.save(place(3), "steps")
    store.may.set()
    with pytest.raises(CheckpointError, match="disk is full"), keeper:
        pass  # the end looks too


def test_what_ends_the_run_is_not_hidden_by_a_checkpoint_that_fails(
    keeper: Keeper, store: SlowStore
) -> None:
    store.error = CheckpointError("The disk is full.", code="NEEDS_SPACE")
    with pytest.raises(ZeroDivisionError), keeper:
        keeper.save(place(1), "steps")
        store.may.set()
        raise ZeroDivisionError

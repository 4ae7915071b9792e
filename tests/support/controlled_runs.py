"""Runs of the tiny model that are asked for things while they work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gemma_keras_tune.control_file import send
from gemma_keras_tune.control_inbox import Inbox
from gemma_keras_tune.events import Event, EventWriter, RunStarted, Step
from gemma_keras_tune.model.value import Model
from gemma_keras_tune.recipe import TrainRecipe
from gemma_keras_tune.run_folder import RunFolder, open_for_writing
from gemma_keras_tune.training.checkpoints import CheckpointStore
from gemma_keras_tune.training.loop import TrainResult
from gemma_keras_tune.training.train import train
from tests.support.tiny_runs import spam_rows

Ask = Callable[[RunFolder, Event], None]


class Killed(BaseException):
    """Stands for `kill -9`: nothing may catch it and save something."""


def controlled(
    model: Model,
    recipe: TrainRecipe,
    folder: Path,
    *,
    ask: Ask = lambda run, event: None,
    events: list[Event] | None = None,
    validation: bool = True,
    **more: Any,
) -> TrainResult:
    """One attempt of the run in `folder`; `ask` sees each event and may send commands."""
    run, told = RunFolder(folder), events if events is not None else []
    inbox = Inbox(run)
    with open_for_writing(run) as writer, EventWriter(run.events, writer.attempt) as written:

        def tell(event: Event) -> None:
            written(event)
            told.append(event)
            ask(run, event)

        store = CheckpointStore(run.checkpoints, attempt=writer.attempt)
        tell(RunStarted(resumed_from=store.steps[-1] if store.steps else 0))
        inbox.begin(tell)
        return train(
            model,
            spam_rows(30),
            recipe,
            validation=spam_rows(8, seed=1) if validation else None,
            on_event=tell,
            store=store,
            inbox=inbox,
            **more,
        )


def after_step(number: int, *commands: dict[str, Any], once: bool = True) -> Ask:
    """Sends the commands as soon as step `number` is done, the first time only."""
    sent: list[int] = []

    def ask(run: RunFolder, event: Event) -> None:
        if isinstance(event, Step) and event.step == number and not (once and sent):
            sent.append(number)
            for command in commands:
                send(run.control, **command)

    return ask


def setting(key: str, value: Any) -> dict[str, Any]:
    """The arguments of `send` for one setting."""
    return {"command": "set", "key": key, "value": value}


def killed_after(number: int, *asks: Ask) -> Ask:
    """As these together, and then a kill as soon as step `number` is done."""

    def ask(run: RunFolder, event: Event) -> None:
        for one in asks:
            one(run, event)
        if isinstance(event, Step) and event.step == number:
            raise Killed

    return ask


def bits(result: TrainResult) -> list[bytes]:
    """The trained adapters, byte for byte."""
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(result.model.adapters)]


def of_kind(events: list[Event], kind: type) -> list[Any]:
    """The events of one kind."""
    return [event for event in events if isinstance(event, kind)]

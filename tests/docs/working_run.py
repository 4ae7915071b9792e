"""A run that works in the background while a page's `control` commands are tried on it."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable

from gemma_keras_tune import pipeline
from gemma_keras_tune.control_file import send
from gemma_keras_tune.errors import StoppedWithCheckpoint
from gemma_keras_tune.recipe import Recipe
from gemma_keras_tune.run_folder import RunFolder, data_root, new_run


class WorkingRun:
    """The newest run of the data root while it is there; it leaves no trace.

    Args:
        load_recipe: Loads a recipe by name, with settings on top.
    """

    def __init__(self, load_recipe: Callable[..., Recipe]) -> None:
        self._load_recipe = load_recipe
        self._thread: threading.Thread | None = None
        self._folder: RunFolder | None = None

    def begin(self) -> None:
        """Begins to train for a long time, unless it does already."""
        if self._thread is not None and self._thread.is_alive():
            return
        self.end()
        recipe = self._load_recipe("spam_classifier")
        steps = recipe.train.model_copy(
            update={"max_steps": None, "epochs": 1000, "evaluate_every_steps": 10_000}
        )
        folder = new_run(data_root(), "working")
        begun = threading.Event()

        def work() -> None:
            try:
                pipeline.run(
                    recipe.model_copy(update={"train": steps}),
                    folder.path,
                    on_event=lambda event: begun.set() if event.kind == "step" else None,
                )
            except StoppedWithCheckpoint:
                return

        self._folder, self._thread = folder, threading.Thread(target=work, daemon=True)
        self._thread.start()
        assert begun.wait(300)

    def end(self) -> None:
        """Stops it and removes its folder."""
        if self._thread is None or self._folder is None:
            return
        deadline = time.monotonic() + 120
        send(self._folder.control, "stop")
        while self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(1)
        assert not self._thread.is_alive()
        shutil.rmtree(self._folder.path)
        self._thread = self._folder = None

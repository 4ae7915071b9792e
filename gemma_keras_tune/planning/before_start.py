"""The plan that a run is held against: asked before it starts, and compared when it has ended."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .. import peers
from ..errors import ModelError, OutOfMemory, TuneError
from ..events import Event, Note, Step, Warned
from ..machine import peak_memory_bytes
from ..recipe import Recipe, is_same_result
from ..run_folder import data_root
from . import history
from .constants import PROGRAM_BYTES
from .estimate import largest, setting_of
from .known_models import model_config
from .make import less_memory, model_key, plan
from .room import likely_platform
from .values import Plan, Verdict

_FRESH = 1.5  # times the program's own memory that a process may have, to count as fresh


class PlannedRun:
    """A run with its plan: `refuse` before it starts, `note` every event, `remember` at the end.

    Args:
        recipe: What is to be run, with the settings of the adapter that it starts from.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.plan: Plan | None = None
        self._missing = ""
        self._steps: list[float] = []
        try:
            self.plan = plan(_settings_only(recipe), count=False)
        except ModelError as error:  # the model's own stage will say so, with more to say
            self._missing = str(error)
        own = peak_memory_bytes()
        self._fresh = own < _FRESH * PROGRAM_BYTES[likely_platform()]

    def refuse(self) -> None:
        """Refuses a run that can't fit.

        Raises:
            TuneError: `PLAN_DOES_NOT_FIT`, with what is largest and what makes it fit.
        """
        if self.plan is not None and self.plan.verdict.status == "too_big":
            raise does_not_fit(self.plan.verdict)

    def events(self) -> list[Event]:
        """What the run's events should say about the plan."""
        if self.plan is None:
            return [Note(message=f"No plan was made. {self._missing}")]
        verdict = self.plan.verdict
        if verdict.status == "fits":
            return []
        code = "PLAN_TIGHT" if verdict.status == "tight" else "PLAN_IGNORED"
        return [Warned(code=code, message=_in_words(verdict))]

    def note(self, event: Event) -> None:
        """Remembers how long steps take."""
        if isinstance(event, Step):
            self._steps.append(event.seconds)

    @contextmanager
    def advising(self) -> Iterator[None]:
        """Says, where memory runs out all the same, what took most of it and what takes less.

        Raises:
            OutOfMemory: As it was raised, with this advice.
        """
        try:
            yield
        except OutOfMemory as error:
            if self.plan is None:
                raise
            advice = self._advice(self.plan, error.stage)
            raise OutOfMemory(f"{error} {advice}", stage=error.stage) from error

    def _advice(self, plan: Plan, stage: str) -> str:
        of_plan = {"generation": "evaluation", "samples": "training"}.get(stage, stage)
        planned = [found for found in plan.memory.stages if found.name == of_plan]
        words = [f"By the plan the largest are: {largest(found)}." for found in planned]
        again: list[str] = []
        if stage == "training":
            changes = less_memory(self.recipe)
            again = [change for change, _ in changes if is_same_result(change)]
            listed = "; ".join(f"{change} ({size / 1e9:.2f} GB)" for change, size in changes)
            if changes:
                words.append(f"What takes less, each by itself: {listed}.")
        elif of_plan == "evaluation" and self.recipe.evaluate.batch_rows > 1:
            again = [f"evaluate.batch_rows={self.recipe.evaluate.batch_rows // 2}"]
        if again:
            how = f"`gemma-keras-tune resume RUN --set {again[0]}`"
            if not peers.is_alone():
                how = f"the same command on all machines, and --set {again[0]}"
            words.append(f"What was saved last is kept: go on from it with {how}.")
        return " ".join(words)

    def remember(self) -> None:
        """Keeps the measured peak beside the planned one, if this process has trained.

        A folder that can't be written keeps nothing: a run is not lost for that.
        """
        if self.plan is None or not self._steps:
            return
        with suppress(OSError):
            history.remember(data_root(), self._entry(self.plan))

    def _entry(self, plan: Plan) -> history.PastPlan:
        memory = plan.memory
        setting = setting_of(self.recipe, model_config(self.recipe.model), likely_platform())
        measured = peak_memory_bytes()
        if memory.room.where == "device":
            measured = _device_peak()
        later = self._steps[1:]  # the first one waited for the compiler
        pace = statistics.median(later) / plan.batch["tokens_of_step"] if later else 0.0
        return history.PastPlan(
            time=history.now(),
            machine=history.machine_key(setting.platform),
            model=model_key(setting),
            planned_bytes=memory.highest.bytes,
            measured_bytes=measured,
            seconds_per_token=pace,
            fresh=self._fresh or memory.room.where == "device",
            recipe=plan.recipe,
        )


def _settings_only(recipe: Recipe) -> Recipe:
    """The recipe without the name of the adapter that it starts from, whose settings it has."""
    model = recipe.model.model_copy(update={"adapter": None})
    return recipe.model_copy(update={"model": model})


def does_not_fit(verdict: Verdict) -> TuneError:
    """The refusal of a run that can't fit.

    Args:
        verdict: A verdict `too_big`.
    """
    return TuneError(
        f"{_in_words(verdict)} To start all the same: --ignore-plan.", code="PLAN_DOES_NOT_FIT"
    )


def _in_words(verdict: Verdict) -> str:
    if not verdict.changes:
        advice = "No setting was found that fits: take a larger machine, or free memory."
    else:
        listed = "; ".join(f"{change} ({size / 1e9:.2f} GB)" for change, size in verdict.changes)
        advice = f"What fits, each by itself: {listed}."
    return f"{verdict.words} {advice}"


def _device_peak() -> int:
    jax = sys.modules.get("jax")
    if jax is None:
        return 0
    stats = jax.local_devices()[0].memory_stats() or {}
    return int(stats.get("peak_bytes_in_use", 0))

"""The one training loop: steps, measurements, checkpoints, and stopping early or on request."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import InitVar, dataclass
from typing import Any

import jax

from .. import peers
from ..control_inbox import Inbox
from ..data.examples import Split
from ..data.tokenize import TokenSet
from ..errors import StoppedWithCheckpoint, TuneError
from ..events import (
    ControlApplied,
    Event,
    Note,
    Progress,
    RolledBack,
    Sample,
    Step,
    Warned,
)
from ..model.lora import init_adapters
from ..model.mesh import MODEL
from ..model.paths import check_attention, check_remat
from ..model.sharding import by_itself, mesh_of, whole_on
from ..model.value import Model
from ..out_of_memory import told_of_memory
from ..recipe import TrainRecipe
from ..stages import progress_of
from .ahead import Ahead
from .changes import change_of, from_events, from_json
from .checkpoints import CheckpointStore
from .keeping import Keeper, Place, SaveReason
from .live import Answer, obey, why_not
from .measure import Measured, MeasureLabels, measure
from .nan_guard import NanGuard, not_a_number, rows_text
from .optimizer import with_learning_rate
from .plan import TrainPlan
from .standing import check_same_run, identity_of
from .step import initial_state, train_step
from .time_left import TimeLeft

OnEvent = Callable[[Event], None]
_STOPS = -1  # what a process that is to stop tells the others instead of a count


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What training gave.

    Attributes:
        model: The trained model; it shares the base weights with the one that was given.
        steps: Optimizer steps done.
        best_step: The step whose adapters `model` has: that of the lowest validation loss, or
            the last one where nothing was validated.
        validation_loss: Nats per answer token at `best_step`, or None.
        stopped_early: Whether patience ended the run before its last step.
    """

    model: Model
    steps: int
    best_step: int
    validation_loss: float | None
    stopped_early: bool


@dataclass(kw_only=True)
class Run:
    """One run's moving parts: what `train` was given, its rows as tokens, and where it stands.

    `to_the_end` is the loop.
    """

    model: Model
    examples: Split
    plan: TrainPlan
    validation: TokenSet | None
    on_event: OnEvent
    store: InitVar[CheckpointStore | None]
    should_stop: Callable[[], bool]
    inbox: Inbox | None
    answer: Answer | None
    measure_labels: MeasureLabels | None

    def __post_init__(self, store: CheckpointStore | None) -> None:
        self.mesh = mesh_of(self.model.weights)
        self.first = self.model.adapters or init_adapters(self.model.config, self.model.lora)
        self.guard = NanGuard(self.plan.recipe)
        self.ahead = Ahead(self.plan, self.mesh)
        scores_labels = self.measure_labels is not None
        self.time_left = TimeLeft(self.plan, self.validation, scores_labels=scores_labels)
        identity = identity_of(self.model, self.plan, self.validation)
        check_same_run(identity, self.plan, self.mesh)
        self.keeper = Keeper(store, identity=identity, on_event=self.on_event)
        self.place = self._start()

    def _start(self) -> Place:
        recipe, platform = self.plan.recipe, jax.default_backend()
        check_remat(recipe.remat, platform)
        check_attention(
            self.model.config,
            platform=platform,
            dtype=str(self.model.dtype),
            asked=recipe.attention,
            cuts=1 if self.mesh is None else self.mesh.shape[MODEL],
            capability=getattr(jax.devices()[0], "compute_capability", None),
        )
        state = initial_state(self.first, self.plan.recipe, self.mesh)
        return Place(state=state, best=whole_on(self.mesh, self.first))

    @property
    def step(self) -> int:
        """Optimizer steps done."""
        return self.place.standing.step

    @property
    def recipe(self) -> TrainRecipe:
        """The settings of the step that was done last, and of what follows right after it."""
        return self.place.changes.recipe_for(self.step, self.plan.recipe)

    @property
    def last_step(self) -> int:
        """The run's last step, as the step that was done last saw it."""
        return self.place.changes.end_for(self.step, self.plan.total_steps)

    def to_the_end(self) -> TrainResult:
        """The result, after every step that is still to be done."""
        with closing(self.ahead), self.keeper, peers.told_of_loss(), told_of_memory("training"):
            return self._all_steps()

    def _all_steps(self) -> TrainResult:
        self._resume()
        self._measure_if_due()  # a stop may have come between a step and its measurement
        self._sample_if_due()
        while self._goes_on():
            self._one_step()
            is_best = self._measure_if_due()
            self._sample_if_due()
            if peers.is_alone() and self.should_stop() and self.step < self.last_step:
                raise self.stopped()
            self.keeper.save_if_due(self.place, self.recipe, is_best=is_best)
        self.save("end")
        standing = self.place.standing
        chosen = self.place.best if standing.best_step else self.place.state.adapters
        return TrainResult(
            model=self.model.replace(adapters=chosen),
            steps=standing.step,
            best_step=standing.best_step or standing.step,
            validation_loss=standing.best_loss,
            stopped_early=standing.step < self._last_step_now(),
        )

    def _goes_on(self) -> bool:
        """Whether another step is to be taken, once all that was asked here is done."""
        if self.inbox is not None:
            self.keeper.leave_out(obey(self.inbox, self))
        if not peers.is_alone():
            self._agree()
        patience = self.place.changes.recipe_for(self.step + 1, self.plan.recipe).patience
        is_patient = patience is None or self.place.standing.without_gain < patience
        return is_patient and self.step < self._last_step_now()

    def _agree(self) -> None:
        """Does what other processes were asked to do: all stop after the same step, or change.

        Raises:
            TuneError: Whatever `stopped` gives.
        """
        stops = self.should_stop() and self.step < self.last_step
        known = peers.in_all(_STOPS if stops else len(self.place.changes.all))
        if _STOPS in known:
            raise self._stopped_here()
        if len(set(known)) > 1:
            told = peers.agreed({"changes": self.place.changes.to_json()})
            self._move(changes=from_json(told["changes"]))

    def _last_step_now(self) -> int:
        return self.place.changes.end_for(self.step + 1, self.plan.total_steps)

    def _one_step(self) -> None:
        """Takes the next step; one that is not a number may instead lead some steps back."""
        step, began = self.step + 1, time.monotonic()
        changes, total_steps = self.place.changes, self.plan.total_steps
        recipe = changes.recipe_for(step, self.plan.recipe)
        rate = changes.rate_at(step, self.plan.recipe, total_steps)
        batches, tokens = self.ahead.batches(step)
        waited = time.monotonic() - began
        optimizer = with_learning_rate(
            self.place.state.optimizer, rate, weight_decay=recipe.weight_decay
        )
        state, found = train_step(
            dataclasses.replace(self.place.state, optimizer=optimizer),
            self.model.weights,
            batches,
            config=self.model.config,
            recipe=recipe,
            step=step,
        )
        self._move(state=state)
        if not found.finite and not self._skips(step):
            return
        bad_steps = 0 if found.finite else self.place.standing.bad_steps + 1
        seconds = time.monotonic() - began
        self._stand(step=step, bad_steps=bad_steps)
        self.time_left.step_took(seconds)
        self.on_event(
            Step(
                step=step,
                total_steps=self.last_step,
                epoch=self.plan.epoch_at(step),
                loss=found.loss,
                tokens=tokens,
                answer_tokens=found.answer_tokens,
                learning_rate=rate,
                grad_norm=found.grad_norm,
                seconds=seconds,
                waited_s=waited,
                tokens_per_s=tokens / seconds,
                seconds_left=self.time_left.after(step, last=self.last_step, recipe=recipe),
            )
        )

    def _move(self, **changed: Any) -> None:
        self.place = dataclasses.replace(self.place, **changed)

    def _stand(self, **changed: Any) -> None:
        self._move(standing=dataclasses.replace(self.place.standing, **changed))

    def _skips(self, step: int) -> bool:
        """Whether a step that is not a number is skipped; if not, the run was rolled back.

        Raises:
            TuneError: `LOSS_NAN`, if it is neither.
        """
        what = f"The loss or its gradient in step {step}"
        rows = rows_text(self.plan, self.examples, step)
        verdict = self.guard.verdict(step, bad_steps=self.place.standing.bad_steps)
        if verdict == "stop":
            raise self._not_a_number(what, rows)
        if verdict == "skip":
            text = f"{what} is not a number. {rows} The step was skipped: it changed nothing."
            self.on_event(Warned(code="STEP_SKIPPED", message=text))
            return True
        changes = self.place.changes
        self.place = self.keeper.newest(self._start())
        self._move(changes=self.place.changes.with_more(changes.all))
        text = f"{what} is not a number. {rows} Going back to step {self.step} to do it again."
        self.on_event(Warned(code="STEP_ROLLED_BACK", message=text))
        self.on_event(RolledBack(step=self.step, bad_step=step))
        return False

    def _measure_if_due(self) -> bool:
        """Whether a measurement was due and found the lowest loss so far."""
        step, every = self.step, self.recipe.evaluate_every_steps
        if self.validation is None or self.place.standing.measured_step == step:
            return False
        due = step % every == 0 if every else step in self.plan.epoch_ends
        if not due and step != self.last_step:
            return False
        began = time.monotonic()
        self.on_event(Progress(stage="validation", done=0, total=0))  # before it compiles
        found = measure(
            self._live_model(),
            self.validation,
            length=self.plan.length,
            recipe=self.recipe,
            measure_labels=self.measure_labels,
            should_stop=self._interrupted if peers.is_alone() else lambda: False,
            on_progress=progress_of("validation", self.on_event),
        )
        if found is None:
            raise self.stopped()  # the resumed run measures this step anew
        self.time_left.measurement_took(time.monotonic() - began)
        return self._judge(found)

    def _judge(self, found: Measured) -> bool:
        if not math.isfinite(found.loss.value):
            raise self._not_a_number(f"The validation loss after step {self.step}")
        self._move(standing=self.place.standing.after(found.loss.value))
        is_best = self.place.standing.best_step == self.step
        if is_best:
            self._move(best=jax.tree.map(jax.numpy.copy, self.place.state.adapters))
        self.on_event(found.event(step=self.step, best=is_best))
        return is_best

    def _sample_if_due(self) -> None:
        every, standing = self.recipe.sample_every_steps, self.place.standing
        is_due = every and self.step % every == 0 and standing.sampled_step != self.step
        if is_due and self.answer is not None:
            self.sample(None)
            self._stand(sampled_step=self.step)

    def sample(self, prompt: str | None) -> str:
        """Asks the model this prompt, or the recipe's; then `""`, or else why not.

        Raises:
            DataError: If a prompt can't be used.
            TuneError: If the run was asked to stop meanwhile.
        """
        prompts = self.recipe.sample_prompts if prompt is None else (prompt,)
        if not prompts:
            return "The recipe has no train.sample_prompts: name a prompt."
        if self.answer is None:
            return "This process has no function that answers prompts."
        answers = self.answer(by_itself(self._live_model()), prompts, self._interrupted)
        if answers is None:
            raise self.stopped()
        for asked, text in zip(prompts, answers, strict=True):
            self.on_event(Sample(step=self.step, prompt=asked, text=text))
        return ""

    def _live_model(self) -> Model:
        return self.model.replace(adapters=self.place.state.adapters)

    def why_not(self, key: str, value: Any) -> str:
        """Why a setting can't be changed like this in this run, now; `""` if it can."""
        return why_not(
            key,
            value,
            first=self.step + 1,
            last=self.plan.total_steps,
            measures=self.validation is not None,
            keeps=self.keeper.keeps,
        )

    def change(self, applied: ControlApplied) -> None:
        """Changes a setting from the next step on."""
        self._move(changes=self.place.changes.with_more([change_of(applied)]))

    def save(self, reason: SaveReason, *, again: bool = False) -> bool:
        """Whether a checkpoint of this step is kept; `again`: save it even if one is there."""
        return self.keeper.save(self.place, reason, again=again)

    def _resume(self) -> None:
        """Goes on from the newest whole checkpoint, and with what was changed until the kill."""
        self.place = self.keeper.resume(self.place)
        if self.inbox is not None:
            acknowledged = from_events(self.inbox.applied)
            self._move(changes=self.place.changes.with_more(acknowledged))
        for change in self.place.changes.effective:
            if change.step >= self.step:
                text = f"After step {change.step} again: {change.key} = {change.value}."
                self.on_event(Note(message=text))

    def _interrupted(self) -> bool:
        """Whether the run is to stop, even in the middle of what it does between two steps."""
        return self.should_stop() or (self.inbox is not None and self.inbox.stop_waiting())

    def stopped(self) -> TuneError:
        """What to raise after a request to stop, once all know it and the checkpoint is saved."""
        peers.in_all(_STOPS)
        return self._stopped_here()

    def _stopped_here(self) -> TuneError:
        step, total = self.step, self.last_step
        if self.inbox is not None:
            self.inbox.accept_stop(step)
        if not self.save("stop") and peers.leads():
            return TuneError(
                f"Stopped after step {step} of {total}; nothing is kept.", code="STOPPED"
            )
        return StoppedWithCheckpoint(
            f"Stopped after step {step} of {total} with a checkpoint; resume it any time.",
            step=step,
        )

    def _not_a_number(self, what: str, rows: str = "") -> TuneError:
        """The error of a step that changed nothing; the state before it is saved."""
        if self.step:
            self.save("stop")
        return not_a_number(what, self.recipe, kept=self.step, where=rows)

"""The one training loop: steps, measurements, checkpoints, and stopping early or on request."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax

from ..data.examples import Split
from ..data.tokenize import TokenSet, tokenize_examples
from ..errors import StoppedWithCheckpoint, TuneError
from ..events import CheckpointSaved, Event, Note, Step, Validation, Warned
from ..model.lora import init_adapters
from ..model.value import Model
from ..recipe import TrainRecipe
from .checkpoints import CheckpointStore
from .measure import Loss, measure_loss
from .optimizer import learning_rate_at, with_learning_rate
from .plan import TrainPlan
from .standing import Standing, from_meta, identity_of, to_meta, version_changes
from .step import StepMetrics, initial_state, train_step

OnEvent = Callable[[Event], None]
SaveReason = Literal["steps", "time", "best", "stop", "end"]


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


def train(
    model: Model,
    examples: Split,
    recipe: TrainRecipe,
    *,
    validation: Split | None = None,
    on_event: OnEvent | None = None,
    store: CheckpointStore | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    cache_dir: Any = None,
) -> TrainResult:
    """The model with trained adapters beside its weights.

    The base weights are not changed. Data order and every random key are pure functions of the
    seed and the step: on one machine and one version, a run that was interrupted and resumed
    gives the same bits as one that wasn't.

    Args:
        model: Start; its adapters, or fresh ones as `model.lora` says.
        examples: What to learn from.
        recipe: How.
        validation: Measures the loss at intervals; the best step's adapters are returned.
        on_event: Receives every event.
        store: Where checkpoints go and are resumed from; None keeps none.
        should_stop: Asked after each step; True saves a checkpoint and ends the run.
        cache_dir: A folder that keeps tokenised data.

    Raises:
        DataError: If the examples can't be used.
        CheckpointError: If a checkpoint can't be written, or belongs to another run.
        StoppedWithCheckpoint: After `should_stop`, once the checkpoint is saved.
        TuneError: `LOSS_NAN` if the loss or the gradient is no number.
    """
    tell = on_event or (lambda event: None)

    def tokens_of(split: Split) -> TokenSet:
        tokens = tokenize_examples(
            split,
            model.template,
            max_length=split.max_length,
            too_long=split.too_long,
            cache_dir=cache_dir,
        )
        for finding in tokens.findings:
            tell(Warned(code=finding.code, message=str(finding)))
        return tokens

    plan = TrainPlan(
        tokens=tokens_of(examples),
        length=examples.max_length,
        recipe=recipe,
        pad_id=model.tokenizer.pad_id,
    )
    run = _Run(
        model=model,
        examples=examples,
        plan=plan,
        validation=tokens_of(validation) if validation else None,
        on_event=tell,
        store=store,
        should_stop=should_stop,
    )
    return run.to_the_end()


class _Run:
    """One run's moving parts; `to_the_end` is the loop."""

    def __init__(
        self,
        *,
        model: Model,
        examples: Split,
        plan: TrainPlan,
        validation: TokenSet | None,
        on_event: OnEvent,
        store: CheckpointStore | None,
        should_stop: Callable[[], bool],
    ) -> None:
        self.model, self.examples = model, examples
        self.plan, self.recipe = plan, plan.recipe
        self.validation, self.on_event = validation, on_event
        self.store, self.should_stop = store, should_stop
        adapters = model.adapters or init_adapters(model.config, model.lora)
        self.state = initial_state(adapters, self.recipe)
        self.best = adapters
        self.identity = identity_of(model, plan, validation)
        self.standing = Standing()
        self.saved_at = time.monotonic()
        self.saved_step = 0

    def to_the_end(self) -> TrainResult:
        """The result, after every step that is still to be done."""
        self._resume()
        self._measure_if_due()  # a stop may have come between a step and its measurement
        while self.standing.step < self.plan.total_steps and not self._out_of_patience():
            self._one_step()
            measured_best = self._measure_if_due()
            self._save_if_due(measured_best)
        if self.saved_step < self.standing.step:
            self._save("end")
        standing = self.standing
        chosen = self.best if standing.best_step else self.state.adapters
        return TrainResult(
            model=self.model.replace(adapters=chosen),
            steps=standing.step,
            best_step=standing.best_step or standing.step,
            validation_loss=standing.best_loss,
            stopped_early=standing.step < self.plan.total_steps,
        )

    def _one_step(self) -> None:
        step, began = self.standing.step + 1, time.monotonic()
        rate = learning_rate_at(self.recipe, step=step, total_steps=self.plan.total_steps)
        batches, tokens = self.plan.batches(step)
        state = dataclasses.replace(
            self.state, optimizer=with_learning_rate(self.state.optimizer, rate)
        )
        self.state, found = train_step(
            state,
            self.model.weights,
            batches,
            config=self.model.config,
            recipe=self.recipe,
            step=step,
        )
        if not found.finite:
            raise self._not_a_number(f"The loss or its gradient in step {step}", found)
        seconds = time.monotonic() - began
        self.standing = dataclasses.replace(self.standing, step=step)
        self.on_event(
            Step(
                step=step,
                total_steps=self.plan.total_steps,
                epoch=self.plan.epoch_at(step),
                loss=found.loss,
                tokens=tokens,
                answer_tokens=found.answer_tokens,
                learning_rate=rate,
                grad_norm=found.grad_norm,
                seconds=seconds,
                tokens_per_s=tokens / seconds,
            )
        )

    def _measure_if_due(self) -> bool:
        """Whether a measurement was due and found the lowest loss so far."""
        step, every = self.standing.step, self.recipe.evaluate_every_steps
        if self.validation is None or self.standing.measured_step == step:
            return False
        due = step % every == 0 if every else step in self.plan.epoch_ends
        if not due and step != self.plan.total_steps:
            return False
        live = self.model.replace(adapters=self.state.adapters)
        loss = measure_loss(
            live,
            self.validation,
            length=self.plan.length,
            recipe=self.recipe,
            should_stop=self.should_stop,
        )
        if loss is None:  # asked to stop: the resumed run measures this step anew
            raise self._stopped()
        return self._judge(loss)

    def _judge(self, loss: Loss) -> bool:
        if not math.isfinite(loss.value):
            raise self._not_a_number(f"The validation loss after step {self.standing.step}")
        self.standing = self.standing.after(loss.value)
        is_best = self.standing.best_step == self.standing.step
        if is_best:
            self.best = jax.tree.map(jax.numpy.copy, self.state.adapters)
        self.on_event(
            Validation(
                step=self.standing.step,
                loss=loss.value,
                perplexity=loss.perplexity,
                tokens=loss.tokens,
                best=is_best,
            )
        )
        return is_best

    def _out_of_patience(self) -> bool:
        patience = self.recipe.patience
        return patience is not None and self.standing.without_gain >= patience

    def _save_if_due(self, measured_best: bool) -> None:
        step, every = self.standing.step, self.recipe.checkpoint_every_steps
        if self.should_stop() and step < self.plan.total_steps:
            raise self._stopped()
        if measured_best:
            self._save("best")
        elif every and step % every == 0:
            self._save("steps")
        elif time.monotonic() - self.saved_at >= self.recipe.checkpoint_every_s:
            self._save("time")

    def _save(self, reason: SaveReason) -> None:
        self.saved_at, self.saved_step = time.monotonic(), self.standing.step
        if self.store is None:
            return
        saved = self.store.save(
            self.standing.step,
            {"state": self.state, "best": self.best},
            to_meta(self.standing, self.identity),
            best=reason == "best",
        )
        seconds, self.saved_at = time.monotonic() - self.saved_at, time.monotonic()
        self.on_event(
            CheckpointSaved(step=saved.step, seconds=seconds, bytes=saved.size_bytes, reason=reason)
        )

    def _resume(self) -> None:
        """Go on from the newest whole checkpoint, where there is one."""
        newest = self.store.latest() if self.store else None
        for line in self.store.damage if self.store else ():
            self.on_event(Warned(code="CKPT_DAMAGED", message=f"Not used: {line}"))
        if self.store is None or newest is None:
            return
        self.standing = from_meta(newest.meta, self.identity)
        restored = self.store.restore(newest, {"state": self.state, "best": self.best})
        self.state, self.best = restored["state"], restored["best"]
        self.saved_step = self.standing.step
        self.on_event(Note(message=f"Resumed after step {self.standing.step}."))
        for change in version_changes(newest.meta):
            text = f"{change} since the checkpoint: the result may differ in the last bits."
            self.on_event(Warned(code="VERSION_CHANGED", message=text))

    def _stopped(self) -> TuneError:
        """What to raise after a request to stop, once the checkpoint is saved."""
        step, total = self.standing.step, self.plan.total_steps
        if self.store is None:
            return TuneError(
                f"Stopped after step {step} of {total}; nothing is kept.", code="STOPPED"
            )
        if self.saved_step < step or step == 0:
            self._save("stop")
        return StoppedWithCheckpoint(
            f"Stopped after step {step} of {total} with a checkpoint; resume it any time.",
            step=step,
        )

    def _not_a_number(self, what: str, found: StepMetrics | None = None) -> TuneError:
        """The error of a step that changed nothing; the state before it is saved."""
        if self.saved_step < self.standing.step:
            self._save("stop")
        where = ""
        if found is not None:
            rows = self.plan.tokens.rows
            members = [i for row in self.plan.examples_of(self.standing.step + 1) for i in row]
            lines = sorted(self.examples[int(rows[index])].row for index in members)
            more = f" and {len(lines) - 10} more" if len(lines) > 10 else ""
            where = f" It saw the rows {', '.join(map(str, lines[:10]))}{more}."
        return TuneError(
            f"{what} is not a number.{where} Nothing after step {self.standing.step} was kept. "
            f"Try a lower train.learning_rate (now {self.recipe.learning_rate:g}) or a smaller "
            f"train.max_grad_norm (now {self.recipe.max_grad_norm:g}); if it happens in the first "
            "step, look at those rows.",
            code="LOSS_NAN",
        )

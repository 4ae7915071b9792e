"""How fast a recipe trains here, and in how much memory: real steps on the recipe's own rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import jax

from .data.examples import Split, load_examples
from .data.parts import tokenize_split
from .events import Event, Step
from .machine import matrix_gflops, peak_memory_bytes
from .model.load import load_model
from .model.value import Model
from .planning.before_start import PlannedRun
from .planning.speed import needed_operations
from .recipe import Recipe, TrainRecipe
from .starting_point import start_from_adapter, with_adapters_settings
from .training.loop import TrainResult
from .training.plan import TrainPlan
from .training.train import train

DEFAULT_STEPS, MOST_STEPS = 5, 999


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What was measured.

    Attributes:
        useful_tokens_per_s: Answer tokens, which are what is learned.
        tokens_per_s: All tokens of the rows, padding not counted.
        peak_rss_bytes: Most memory that the process has had resident, loading included.
        peak_device_bytes: Most memory in use on the accelerator; None on a CPU.
        first_step_s: Seconds of the first step, tracing and compiling included.
        peak_flops_share: Operations that the rows need, nothing counted twice, over what matrix
            products of this process reach in the same time.
        waiting_share: Share of the steps' time in which they waited for their rows.
        loss: Nats per answer token of the measured steps, each before its update.
        steps: Steps measured, after the first.
        seconds: What they took together.
        answer_tokens: Answer tokens in them.
        tokens: Tokens in them, padding not counted.
        filled_share: Share of their places that hold a token.
        matrix_gflops: Billions of operations a second in matrix products, in `dtype`.
        device: What computed.
        dtype: Of the frozen weights.
    """

    useful_tokens_per_s: float
    tokens_per_s: float
    peak_rss_bytes: int
    peak_device_bytes: int | None
    first_step_s: float
    peak_flops_share: float
    waiting_share: float
    loss: float
    steps: int
    seconds: float
    answer_tokens: int
    tokens: int
    filled_share: float
    matrix_gflops: float
    device: str
    dtype: str

    def to_json(self) -> dict[str, Any]:
        """The values by name."""
        return asdict(self)


def measure_speed(
    recipe: Recipe,
    *,
    steps: int = DEFAULT_STEPS,
    ignore_plan: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> Speed:
    """The speed of a recipe's steps, as its training would take them. Nothing is kept.

    Args:
        recipe: What would be trained; its evaluation and exports don't matter.
        steps: Steps to measure, after one that waits for the compiler.
        ignore_plan: Measure what the plan says can't fit, all the same.
        on_event: Receives the events of the training.

    Raises:
        TuneError: `PLAN_DOES_NOT_FIT`, or what loading and training raise.
        ValueError: If `steps` is not from 1 to `MOST_STEPS`.
    """
    recipe = with_adapters_settings(recipe)
    if not ignore_plan:
        PlannedRun(recipe).refuse()
    examples = load_examples(recipe.data)
    model = start_from_adapter(recipe, load_model(recipe.model))
    speed, _ = measure_training(model, examples.train, recipe.train, steps=steps, on_event=on_event)
    return speed


def measure_training(
    model: Model,
    examples: Split,
    recipe: TrainRecipe,
    *,
    steps: int = DEFAULT_STEPS,
    on_event: Callable[[Event], None] | None = None,
) -> tuple[Speed, TrainResult]:
    """The speed of training a model on some examples, and what the training gave.

    Args:
        model: Start.
        examples: Rows; they are seen again where there are too few.
        recipe: How.
        steps: Steps to measure, after one that waits for the compiler.
        on_event: Receives the events of the training.

    Raises:
        ValueError: If `steps` is not from 1 to `MOST_STEPS`.
        TuneError: What training raises.
    """
    if not 1 <= steps <= MOST_STEPS:
        raise ValueError(f"steps must be from 1 to {MOST_STEPS}, not {steps}")
    changes = {"epochs": steps + 1, "max_steps": steps + 1, "sample_every_steps": None}
    recipe = recipe.model_copy(update=changes)
    tokens = tokenize_split(examples, model.template)
    plan = TrainPlan(
        tokens=tokens, length=examples.max_length, recipe=recipe, pad_id=model.tokenizer.pad_id
    )
    taken: list[Step] = []

    def note(event: Event) -> None:
        if isinstance(event, Step):
            taken.append(event)
        if on_event is not None:
            on_event(event)

    dtype = str(model.dtype)
    before = matrix_gflops(dtype=dtype)
    result = train(model, examples, recipe, on_event=note)
    gflops = max(before, matrix_gflops(dtype=dtype))
    first, *rest = taken
    seconds = sum(step.seconds for step in rest)
    answers, count = sum(step.answer_tokens for step in rest), sum(step.tokens for step in rest)
    lengths = [int(tokens.lengths[index]) for step in rest for index in _members(plan, step.step)]
    needed = needed_operations(model.config, model.lora, lengths=lengths, answers=answers)
    places = plan.rows * plan.micro_batches * plan.length * len(rest)
    device = jax.local_devices()[0]
    stats = device.memory_stats() if device.platform != "cpu" else None
    speed = Speed(
        useful_tokens_per_s=answers / seconds,
        tokens_per_s=count / seconds,
        peak_rss_bytes=peak_memory_bytes(),
        peak_device_bytes=None if stats is None else int(stats["peak_bytes_in_use"]),
        first_step_s=first.seconds,
        peak_flops_share=needed / seconds / (gflops * 1e9),
        waiting_share=sum(step.waited_s for step in rest) / seconds,
        loss=sum(step.loss * step.answer_tokens for step in rest) / answers,
        steps=len(rest),
        seconds=seconds,
        answer_tokens=answers,
        tokens=count,
        filled_share=count / places,
        matrix_gflops=gflops,
        device=f"{device.platform} ({device.device_kind})",
        dtype=dtype,
    )
    return speed, result


def _members(plan: TrainPlan, step: int) -> list[int]:
    """The examples of a step."""
    return [index for row in plan.examples_of(step) for index in row]

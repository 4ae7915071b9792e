"""How many operations a step has, and how fast this machine does them. No JAX here."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable

from ..model.config import GemmaConfig
from ..model.weights import is_matrix, layer_stacks
from ..recipe import LoraRecipe
from .estimate import Setting
from .temporaries import adapter_numbers
from .values import Steps, StepTime

EFFICIENCY = 0.65
"""Share of the speed of large matrix products that a step of Gemma 3 270M reached on two cores."""

_SIDE = 1024  # of the square matrices: 2 GFLOP a product
_PRODUCTS = 12
_DEFAULT_ANSWERS = 0.35  # share of the tokens, where nobody counted; labels are far fewer
_DEFAULT_LABELS = 0.03


def step_operations(setting: Setting) -> float:
    """Floating-point operations of an optimizer step.

    Products with frozen matrices cost two operations a number forward and two backward, for the
    hidden states alone; with `remat = "full"` the forward ones are done again. Logits cost the
    same, for answers only.
    """
    config, recipe = setting.config, setting.recipe
    matrices = [stack for stack in layer_stacks(config).values() if is_matrix(stack.name)]
    body = sum(len(stack.layers) * math.prod(stack.shape) for stack in matrices)
    scores = 2 * sum(kind.query_size for kind in config.kinds) * setting.length
    passes = _passes(setting)
    share = setting.answer_share
    if share is None:
        few = recipe.data.task == "classification"
        share = _DEFAULT_LABELS if few else _DEFAULT_ANSWERS
    logits = 4 * share * config.vocab_size * config.width
    tokens = setting.micro_batches * setting.rows * setting.length
    return tokens * (passes * (body + scores) + logits)


def _passes(setting: Setting) -> int:
    """Operations of a training token for each number of the frozen matrices; two are forward."""
    return 6 if setting.recipe.train.remat == "full" else 4


def measuring_time(setting: Setting, steps: Steps, step_time: StepTime) -> float:
    """Seconds that measuring takes, about: as training, without the backward pass.

    The rows are taken to be as long as those that are learned from. Both models are measured on
    the held-back rows, the tuned one on the validation rows at each measurement. Compiling, and
    writing a few answers, come on top.

    Args:
        setting: What is planned.
        steps: Its steps and rows.
        step_time: What one takes.
    """
    train = setting.recipe.train
    rows_of_step = setting.micro_batches * setting.rows
    every = train.evaluate_every_steps or math.ceil(steps.packed_rows / rows_of_step)
    scored = min(train.label_rows, steps.validation_rows)
    if setting.recipe.data.task != "classification":
        scored = 0
    measured = math.ceil(steps.total / every) * (steps.validation_rows + scored)
    tokens = (measured + 2 * steps.test_rows) * steps.tokens / max(1, steps.rows)
    of_token = step_time.seconds / (rows_of_step * setting.length)
    return tokens * of_token * 2 / _passes(setting)


def needed_operations(
    config: GemmaConfig, lora: LoraRecipe, *, lengths: Iterable[int], answers: int
) -> float:
    """Floating-point operations that training on some examples needs, nothing computed twice.

    Products with frozen matrices cost two operations a number forward and two for the gradient of
    the hidden states, those with adapters two more for their own gradient. Attention's two products
    cost three times their forward ones, for the keys that are seen; logits count for answers only.

    Args:
        config: The model.
        lora: The adapters.
        lengths: Tokens of each example.
        answers: Answer tokens of all of them.
    """
    lengths = tuple(lengths)
    matrices = [stack for stack in layer_stacks(config).values() if is_matrix(stack.name)]
    body = sum(len(stack.layers) * math.prod(stack.shape) for stack in matrices)
    each = 4 * body + 6 * adapter_numbers(config, lora)
    near = sum(_seen_keys(length, config.sliding_window) for length in lengths)
    all_before = sum(_seen_keys(length, length) for length in lengths)
    attention = sum(
        12 * kind.query_size * (near if kind.is_local else all_before) for kind in config.kinds
    )
    return sum(lengths) * each + attention + answers * 4 * config.vocab_size * config.width


def _seen_keys(length: int, window: int) -> int:
    """Keys that the queries of an example see together: of those before, and their own."""
    growing = min(length, window)
    return growing * (growing + 1) // 2 + (length - growing) * growing


def time_by_operations(setting: Setting) -> StepTime | None:
    """The time of a step by its operations, or None for an accelerator.

    Args:
        setting: What is planned.
    """
    if setting.platform != "cpu":
        return None
    speed = matrix_flops()
    seconds = step_operations(setting) / (speed * EFFICIENCY)
    words = (
        f"by its operations, at {EFFICIENCY:.0%} of this machine's matrix products "
        f"({speed / 1e9:.0f} GFLOP/s, NumPy in float32): a rough guess"
    )
    return StepTime(seconds=seconds, source="operations", words=words)


def matrix_flops() -> float:
    """Operations a second of this machine's matrix products in float32, right now."""
    import numpy as np

    matrix = np.full((_SIDE, _SIDE), 1e-3, np.float32)
    best = float("inf")
    for _ in range(_PRODUCTS):
        began = time.perf_counter()
        np.matmul(matrix, matrix)
        best = min(best, time.perf_counter() - began)
    return 2 * _SIDE**3 / best

"""This library, with each step of the ladder on or off."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

from .shared import (
    BATCH,
    LEARNING_RATE,
    LENGTH,
    PACKED_ROWS,
    RANK,
    TARGETS,
    Found,
    first_rows,
    tokens_in,
)

LADDER = {
    "padded rows, logits of all tokens": "",
    "+ rows packed": "pack",
    "+ logits of answers only, in chunks": "pack,answers",
    "+ attention by blocks": "pack,answers,blocks",
    "+ only products kept (as recipes have it)": "pack,answers,blocks,dots",
    "one state a layer kept instead": "pack,answers,blocks,full",
    "as recipes have it, bfloat16": "pack,answers,blocks,dots,bfloat16",
}
"""What is measured, and what is switched on for it."""


def measure(folder: Path, *, switched_on: str) -> Found:
    """One pass over the rows, in float32 unless `bfloat16` is switched on.

    Args:
        folder: With `rows.jsonl`.
        switched_on: A value of `LADDER`.
    """
    on = set(switched_on.split(","))
    _switch_off(on)
    from gemma_keras_tune.benchmark import measure_training
    from gemma_keras_tune.data.examples import load_examples
    from gemma_keras_tune.evaluation.score import answer_losses
    from gemma_keras_tune.model.load import load_model
    from gemma_keras_tune.recipe import DataRecipe, LoraRecipe, ModelRecipe, TrainRecipe
    from gemma_keras_tune.training.plan import TrainPlan

    lora = LoraRecipe(rank=RANK, alpha=RANK, targets=TARGETS)
    dtype: Any = "bfloat16" if "bfloat16" in on else "float32"
    model = load_model(ModelRecipe(dtype=dtype, lora=lora))
    data = DataRecipe(
        path=str(folder / "rows.jsonl"), task="instruction", max_length=LENGTH,
        validation_share=0.0, test_share=0.0,
    )  # fmt: skip
    rows = load_examples(data).train
    at_once = (PACKED_ROWS if "pack" in on else BATCH) * LENGTH
    remat: Any = next((name for name in ("dots", "full") if name in on), "none")
    recipe = TrainRecipe(
        epochs=1, batch_tokens=at_once, micro_batch_tokens=at_once, remat=remat,
        learning_rate=LEARNING_RATE, schedule="constant", warmup_share=0.0,
    )  # fmt: skip
    tokens = tokens_in(folder)
    plan = TrainPlan(tokens=tokens, length=LENGTH, recipe=recipe, pad_id=model.tokenizer.pad_id)
    updates = plan.total_steps
    speed, result = measure_training(model, rows, recipe, steps=updates - 1)

    def loss_of(model: Any) -> float:
        losses = answer_losses(model, first_rows(tokens))
        return sum(one.nats for one in losses) / sum(one.tokens for one in losses)

    return Found(
        members=[
            index for step in range(2, updates + 1) for row in plan.examples_of(step)
            for index in row
        ],
        seconds=speed.seconds,
        first_step_s=speed.first_step_s,
        peak_bytes=speed.peak_rss_bytes,
        matrix_gflops=speed.matrix_gflops,
        loss_before=loss_of(model),
        loss_after=loss_of(result.model),
        updates=updates,
        places=(updates - 1) * at_once,
    )  # fmt: skip


def _switch_off(on: set[str]) -> None:
    """Takes out of the library what the ladder hasn't reached."""
    from gemma_keras_tune.model import paths
    from gemma_keras_tune.training import plan, step

    def one_a_row(tokens: Any, *_: Any) -> list[list[int]]:
        return [[index] for index in range(len(tokens))]

    if "pack" not in on:
        mock.patch.object(plan, "_epoch_rows", one_a_row).start()
    if "answers" not in on:
        mock.patch.object(step, "fused_cross_entropy", _of_all_tokens).start()
    if "blocks" not in on:
        mock.patch.object(paths, "block_size", lambda *_: None).start()


def _of_all_tokens(
    hidden: Any, head: Any, targets: Any, mask: Any, *, chunk: int, softcap: float | None
) -> tuple[Any, Any]:
    """The loss as one would write it: all logits at once."""
    import jax
    import jax.numpy as jnp

    logits = jnp.matmul(hidden, head.T, preferred_element_type=jnp.float32)
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    losses = jax.nn.logsumexp(logits, axis=-1) - chosen
    mask = mask.astype(jnp.float32)
    return (losses * mask).sum(), mask.sum()

"""Speed and memory of the engine on the real 270M, beside the machine's own matrix speed.

    python -m tests.bench.engine [--steps N]

Prints one Markdown table. Shared machines are noisy: compare the rows of one run, and read each
against the matrix products measured in the same process. Processor seconds say more than wall
time where others use the machine, so both are given.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from gemma_keras_tune.data.examples import load_examples
from gemma_keras_tune.data.tokenize import tokenize_examples
from gemma_keras_tune.evaluation.generate import generate
from gemma_keras_tune.evaluation.score import score_labels
from gemma_keras_tune.model.load import load_model
from gemma_keras_tune.model.lora import init_adapters
from gemma_keras_tune.model.value import Model
from gemma_keras_tune.recipe import Recipe
from gemma_keras_tune.recipe_files import load_recipe
from gemma_keras_tune.training.plan import TrainPlan
from gemma_keras_tune.training.step import initial_state, train_step


@dataclass(frozen=True)
class Row:
    """One line of the table: `amount` of `unit` took `wall_s` and `cpu_s` seconds."""

    what: str
    amount: float
    unit: str
    wall_s: float
    cpu_s: float

    def __str__(self) -> str:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        return (
            f"| {self.what} | {self.amount / self.wall_s:,.0f} {self.unit}/s "
            f"| {self.wall_s:.1f} | {self.cpu_s:.1f} | {peak:,.0f} |"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2, help="optimizer steps of each kind")
    steps = parser.parse_args().steps
    device = jax.devices()[0]
    print(f"{device.platform} ({device.device_kind}), {os.cpu_count()} processors, float32\n")
    print("| what | rate | wall s | processor s | peak resident MB |\n|---|---|---|---|---|")
    print(matrix_products())
    recipe = load_recipe("spam_classifier", {"model.dtype": "float32"})
    wall, cpu = time.perf_counter(), time.process_time()
    model = load_model(recipe.model)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(model.weights)) / 1e6
    print(
        Row(
            "load the demo model", size, "MB", time.perf_counter() - wall, time.process_time() - cpu
        )
    )
    for remat in ("dots", "full"):
        print(training(model, recipe, remat=remat, steps=steps))
    print(scoring(model, recipe))
    print(generation(model))


def measured(what: str, amount: float, unit: str, work: Callable[[], object]) -> Row:
    """How long `work` takes; it must have been compiled before."""
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(work())
    return Row(what, amount, unit, time.perf_counter() - wall, time.process_time() - cpu)


def matrix_products() -> Row:
    """Float32 products of 2,048 x 2,048."""
    one = jnp.ones((2048, 2048))
    product = jax.jit(lambda a, b: a @ b)
    product(one, one).block_until_ready()

    def work() -> jax.Array:
        result = one
        for _ in range(20):
            result = product(one, one)
        return result

    return measured("matrix products (GFLOP)", 20 * 2 * 2048**3 / 1e9, "GFLOP", work)


def training(model: Model, recipe: Recipe, *, remat: str, steps: int) -> Row:
    """Optimizer steps on the demo's rows, padding not counted."""
    examples = load_examples(recipe.data)
    tokens = tokenize_examples(examples.train, model.template, max_length=recipe.data.max_length)
    settings = recipe.train.model_copy(update={"remat": remat})
    plan = TrainPlan(tokens=tokens, length=recipe.data.max_length, recipe=settings, pad_id=0)
    state = initial_state(init_adapters(model.config, recipe.model.lora), settings)
    count = 0

    def one(step: int) -> None:
        nonlocal state, count
        batches, found = plan.batches(step)
        count += found
        state, _ = train_step(
            state, model.weights, batches, config=model.config, recipe=settings, step=step
        )

    one(1)
    count = 0

    def all_steps() -> None:
        for number in range(steps):
            one(2 + number)

    row = measured(f"training, remat {remat}", 0, "tokens", all_steps)
    return replace(row, amount=count)


def scoring(model: Model, recipe: Recipe, *, rows: int = 32) -> Row:
    """Both labels of some held-back rows."""
    examples = load_examples(recipe.data).test[:rows]
    prompts = [
        model.template.render(example.turns[:-1], add_generation_prompt=True).ids
        for example in examples
    ]
    count = sum(len(prompt) for prompt in prompts)

    def work() -> object:
        return score_labels(model, prompts, examples.labels)

    work()
    return measured(f"scoring {len(examples.labels)} labels", count, "prompt tokens", work)


def generation(model: Model, *, rows: int = 8, new: int = 32) -> Row:
    """Greedy answers, prefill included."""
    prompts = ["Once upon a time, there was a little"] * rows

    def work() -> int:
        answers = generate(model, prompts, max_tokens=new, stop_ids=(), batch_rows=rows)
        return sum(len(answer.ids) for answer in answers)

    count = work()
    return measured(f"generation, {rows} rows", count, "new tokens", work)


if __name__ == "__main__":
    main()

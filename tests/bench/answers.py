"""Greedy answers of the real 270M, by this library and by KerasHub's `generate`.

    python -m tests.bench.answers [--rows 8] [--prompt 64] [--new 32] [--dtype float32]

Prompts are cut from the rows of `tests.bench.rows`, one after another; each side has a process of
its own and answers twice: the second time nothing is compiled. Prints one Markdown table, and how
many answers are the same, in another dtype also as those in float32.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from gemma_keras_tune.model.value import Model
from tests.bench.rows import instruction_rows

Answer = Callable[[], list[list[int]]]


class Sizes(NamedTuple):
    """How many prompts, of how many tokens each, and how many new ones."""

    rows: int
    prompt: int
    new: int


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--prompt", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--new", type=int, default=32, help="tokens of an answer")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--one", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    sizes = Sizes(given.rows, given.prompt, given.new)
    if given.one:
        print(json.dumps(measured(given.one, sizes, given.dtype)))
        return
    print("| what | new tokens/s | s | first time s | peak MB |\n|---|---|---|---|---|")
    answers = {}
    for name in SIDES:
        found = of_process(name)
        answers[name] = found["answers"]
        rate = given.rows * given.new / found["seconds"]
        print(
            f"| {name} | {rate:,.0f} | {found['seconds']:.1f} | {found['first']:.1f} "
            f"| {found['peak'] / 1e6:,.0f} |",
            flush=True,
        )
    print(f"\n{same(*answers.values())} of {given.rows} answers are the same.")
    if given.dtype != "float32":
        exact = of_process(next(iter(SIDES)), "--dtype", "float32")["answers"]
        for name, own in answers.items():
            print(f"{name}: {same(own, exact)} of {given.rows} are those in float32.")


def of_process(name: str, *more: str) -> dict[str, Any]:
    """What `measured` finds in a process of its own, with the arguments of this one and more."""
    command = [sys.executable, "-m", "tests.bench.answers", *sys.argv[1:], *more, "--one", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def same(some: list[list[int]], others: list[list[int]]) -> int:
    """How many answers are the same."""
    return sum(one == other for one, other in zip(some, others, strict=True))


def measured(name: str, sizes: Sizes, dtype: str) -> dict[str, Any]:
    """Seconds of the second time, and what was answered."""
    from gemma_keras_tune.machine import peak_memory_bytes
    from gemma_keras_tune.model.load import load_model
    from gemma_keras_tune.recipe import ModelRecipe

    model = load_model(ModelRecipe.model_validate({"dtype": dtype}))
    answer = SIDES[name](model, prompts_of(model, sizes), sizes)
    began = time.perf_counter()
    answer()
    first = time.perf_counter() - began
    began = time.perf_counter()
    answers = answer()
    seconds = time.perf_counter() - began
    peak = peak_memory_bytes()
    return {"seconds": seconds, "first": first, "peak": peak, "answers": answers}


def prompts_of(model: Model, sizes: Sizes) -> list[list[int]]:
    """As many tokens of the rows' texts for each, bos first."""
    tokenizer = model.tokenizer
    own = sizes.prompt - 1
    ids: list[int] = []
    for row in instruction_rows(tokenizer, 8 * sizes.rows * -(-own // 256)):
        ids += tokenizer.encode(row.prompt)
    if len(ids) < own * sizes.rows:
        raise SystemExit(f"The rows have {len(ids)} tokens: fewer than these prompts take.")
    starts = range(0, own * sizes.rows, own)
    return [[tokenizer.bos_id, *ids[start : start + own]] for start in starts]


def ours(model: Model, prompts: list[list[int]], sizes: Sizes) -> Answer:
    """This library's `generate`."""
    from gemma_keras_tune.evaluation.generate import generate

    def answer() -> list[list[int]]:
        found = generate(model, prompts, max_tokens=sizes.new, stop_ids=(), batch_rows=len(prompts))
        return [[int(token) for token in one.ids] for one in found]

    return answer


def keras_hub(model: Model, prompts: list[list[int]], sizes: Sizes) -> Answer:
    """KerasHub's, on the same weights."""
    lm = model.to_keras()
    lm.preprocessor = None
    lm.compile(sampler="greedy")
    # `generate` itself stumbles over the pictures that a text model doesn't get
    function = lm.make_generate_function()
    ids = np.zeros((len(prompts), sizes.prompt + sizes.new), np.int32)
    ids[:, : sizes.prompt] = prompts
    mask = np.zeros(ids.shape, np.int32)
    mask[:, : sizes.prompt] = 1

    def answer() -> list[list[int]]:
        found = function({"token_ids": ids, "padding_mask": mask}, None)
        rows: list[list[int]] = np.asarray(found["token_ids"])[:, sizes.prompt :].tolist()
        return rows

    return answer


SIDES = {"ours": ours, "keras_hub `generate`": keras_hub}

if __name__ == "__main__":
    main()

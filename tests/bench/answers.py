"""Greedy answers of the real 270M, by this library and by KerasHub's `generate`.

    python -m tests.bench.answers [--rows 8] [--new 32] [--dtype float32]

Prompts are the first 64 tokens of rows of `tests.bench.rows`; each side has a process of its own
and answers twice: the second time nothing is compiled. Prints one Markdown table, and
how many answers are the same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from gemma_keras_tune.model.value import Model
from tests.bench.rows import instruction_rows

PROMPT = 64  # tokens
Answer = Callable[[], list[list[int]]]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--new", type=int, default=32, help="tokens of an answer")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--one", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(given.one, given.rows, given.new, given.dtype)))
        return
    print("| what | new tokens/s | s | first time s | peak MB |\n|---|---|---|---|---|")
    answers = []
    for name in SIDES:
        command = [sys.executable, "-m", "tests.bench.answers", "--one", name]
        sizes = ["--rows", str(given.rows), "--new", str(given.new), "--dtype", given.dtype]
        done = subprocess.run([*command, *sizes], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        answers.append(found["answers"])
        rate = given.rows * given.new / found["seconds"]
        print(
            f"| {name} | {rate:,.0f} | {found['seconds']:.1f} | {found['first']:.1f} "
            f"| {found['peak'] / 1e6:,.0f} |",
            flush=True,
        )
    same = sum(ours == theirs for ours, theirs in zip(*answers, strict=True))
    print(f"\n{same} of {given.rows} answers are the same.")


def measured(name: str, rows: int, new: int, dtype: str) -> dict[str, Any]:
    """Seconds of the second time, and what was answered."""
    from gemma_keras_tune.machine import peak_memory_bytes
    from gemma_keras_tune.model.load import load_model
    from gemma_keras_tune.recipe import ModelRecipe

    model = load_model(ModelRecipe.model_validate({"dtype": dtype}))
    prompts = prompts_of(model, rows)
    answer = SIDES[name](model, prompts, new)
    began = time.perf_counter()
    answer()
    first = time.perf_counter() - began
    began = time.perf_counter()
    answers = answer()
    seconds = time.perf_counter() - began
    peak = peak_memory_bytes()
    return {"seconds": seconds, "first": first, "peak": peak, "answers": answers}


def prompts_of(model: Model, rows: int) -> list[list[int]]:
    """The beginnings of long rows, bos first."""
    tokenizer = model.tokenizer
    prompts: list[list[int]] = []
    for row in instruction_rows(tokenizer, 8 * rows):
        ids = [tokenizer.bos_id, *tokenizer.encode(row.prompt)]
        if len(ids) >= PROMPT and len(prompts) < rows:
            prompts.append(ids[:PROMPT])
    return prompts


def ours(model: Model, prompts: list[list[int]], new: int) -> Answer:
    """This library's `generate`."""
    from gemma_keras_tune.evaluation.generate import generate

    def answer() -> list[list[int]]:
        found = generate(model, prompts, max_tokens=new, stop_ids=(), batch_rows=len(prompts))
        return [[int(token) for token in one.ids] for one in found]

    return answer


def keras_hub(model: Model, prompts: list[list[int]], new: int) -> Answer:
    """KerasHub's, on the same weights."""
    lm = model.to_keras()
    lm.preprocessor = None
    lm.compile(sampler="greedy")
    # `generate` itself stumbles over the pictures that a text model doesn't get
    function = lm.make_generate_function()
    ids = np.zeros((len(prompts), PROMPT + new), np.int32)
    ids[:, :PROMPT] = prompts
    mask = np.zeros(ids.shape, np.int32)
    mask[:, :PROMPT] = 1

    def answer() -> list[list[int]]:
        found = function({"token_ids": ids, "padding_mask": mask}, None)
        rows: list[list[int]] = np.asarray(found["token_ids"])[:, PROMPT:].tolist()
        return rows

    return answer


SIDES = {"ours": ours, "keras_hub `generate`": keras_hub}

if __name__ == "__main__":
    main()

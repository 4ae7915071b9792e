"""How time and memory of a step grow with the length of a row and with the adapters' rank.

    python -m tests.bench.growth [--lengths 256,512,...] [--ranks 4,16,...]

The real 270M in float32, one row of one example a step, 35 % of it answers, only one state a layer
kept (`remat = "full"`). Each line is a process of its own: one step that compiles, then one that is
measured. "Beyond the weights" is the process's peak less the weights, imports included. The text is
that of `tests.bench.rows`. Prints two Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from gemma_keras_tune.data.examples import Example, Split
from gemma_keras_tune.model.value import Model
from gemma_keras_tune.text.turns import Turn
from tests.bench.rows import instruction_rows

ANSWERS = 0.35
_RANK, _LENGTH = 8, 512  # of the other table
_CONTENT = (
    0.97  # of a row's tokens: what is joined again may have a few more, and markers come on top
)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", default="256,512,1024,2048,4096,8192")
    parser.add_argument("--ranks", default="4,16,64,256")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        length, rank = map(int, given.one.split(","))
        print(json.dumps(measured(length, rank)))
        return
    lengths = [(int(length), _RANK) for length in given.lengths.split(",") if length]
    ranks = [(_LENGTH, int(rank)) for rank in given.ranks.split(",") if rank]
    for title, settings in (("tokens", lengths), ("rank", ranks)):
        print(f"| {title} | s a step | tokens/s | peak MB | beyond the weights MB | compiling s |")
        print("|---|---|---|---|---|---|", flush=True)
        for length, rank in settings:
            print(line(length if title == "tokens" else rank, length, rank), flush=True)
        print()


def line(first: int, length: int, rank: int) -> str:
    """One line, measured in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.growth", "--one", f"{length},{rank}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3600)
    if done.returncode:
        return f"| {first:,} | {(done.stderr.strip().splitlines() or ['?'])[-1][:120]} |"
    found = json.loads(done.stdout.splitlines()[-1])
    beyond = found["peak"] - found["weights"]
    return (
        f"| {first:,} | {found['seconds']:.1f} | {found['tokens'] / found['seconds']:,.0f} "
        f"| {found['peak'] / 1e6:,.0f} | {beyond / 1e6:,.0f} "
        f"| {found['first'] - found['seconds']:.1f} |"
    )


def measured(length: int, rank: int) -> dict[str, float]:
    """The second step of rows of `length` tokens."""
    import jax

    from gemma_keras_tune.benchmark import measure_training
    from gemma_keras_tune.model.load import load_model
    from gemma_keras_tune.recipe import LoraRecipe, ModelRecipe, TrainRecipe

    model = load_model(ModelRecipe(dtype="float32", lora=LoraRecipe(rank=rank)))
    recipe = TrainRecipe(remat="full", batch_tokens=length, micro_batch_tokens=length)
    speed, _ = measure_training(model, one_row(model, length), recipe, steps=1)
    return {
        "seconds": speed.seconds,
        "first": speed.first_step_s,
        "tokens": speed.tokens,
        "peak": speed.peak_rss_bytes,
        "weights": sum(array.nbytes for array in jax.tree.leaves(model.weights)),
    }


def one_row(model: Model, length: int) -> Split:
    """One example of nearly `length` tokens: several documented functions, one after another."""
    tokenizer = model.tokenizer
    rows = instruction_rows(tokenizer, max(8, length // 100))
    ids = tokenizer.encode("\n\n".join(f"{row.prompt}\n{row.response}" for row in rows))
    content = int(length * _CONTENT) - 16
    middle = int(content * (1 - ANSWERS))
    prompt, answer = tokenizer.decode(ids[:middle]), tokenizer.decode(ids[middle:content])
    turns = (Turn("user", prompt), Turn("model", answer))
    example = Example(turns, None, 1, "rows")
    return Split(examples=(example,), task="instruction", max_length=length)


if __name__ == "__main__":
    main()

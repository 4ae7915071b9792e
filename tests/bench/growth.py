"""How time and memory grow: of a step with the length of a row, the adapters' rank and the number
of devices, and of the data's way into the first batch with the number of rows.

    python -m tests.bench.growth [--lengths 256,512,...] [--ranks 4,16,...] [--meshes 1x1,2x1,...]
                                 [--rows 1000,...]

The real 270M in float32, one row of one example a step, 35 % of it answers, only one state a layer
kept (`remat = "full"`). Each line is a process of its own: one step that compiles, then one that is
measured. "Beyond the weights" is the process's peak less the weights, imports included. The text is
that of `tests.bench.rows`; where there are more rows than it has, they come again with another
number before them. Of the data's way, what can't be given back to the system (anonymous memory) is
told apart from all that was resident, which counts files that were looked at. For the devices eight
rows of 512 tokens are compiled for virtual ones, groups x devices of a group: what XLA reserves on
each, and no time, as they share the same cores. Prints four Markdown tables.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from itertools import count, islice
from pathlib import Path

from gemma_keras_tune.data.examples import Example, Split
from gemma_keras_tune.model.value import Model
from gemma_keras_tune.text.turns import Turn
from tests.bench.rows import instruction_rows

ANSWERS = 0.35
_RANK, _LENGTH = 8, 512  # of the other tables
_CONTENT = (
    0.97  # of a row's tokens: what is joined again may have a few more, and markers come on top
)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lengths", default="256,512,1024,2048,4096,8192")
    parser.add_argument("--ranks", default="4,16,64,256")
    parser.add_argument("--meshes", default="1x1,2x1,4x1,8x1,1x2,1x4,2x4")
    parser.add_argument("--rows", default="1000,10000,100000,1000000")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--mesh", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.file:
        print(json.dumps(read_in(given.file)))
        return
    if given.mesh:
        print(json.dumps(reserved(given.mesh)))
        return
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
    print("| groups x devices | devices | inputs on each MB | between them MB |")
    print("|---|---|---|---|", flush=True)
    for mesh in (mesh for mesh in given.meshes.split(",") if mesh):
        print(line_of_mesh(mesh), flush=True)
    print()
    print("| rows | file MB | s | rows/s | beyond the program MB | with files looked at MB |")
    print("|---|---|---|---|---|---|", flush=True)
    for rows in (int(number) for number in given.rows.split(",") if number):
        print(line_of_rows(rows), flush=True)


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


def line_of_mesh(mesh: str) -> str:
    """One line: a step compiled for a mesh of virtual devices."""
    command = [sys.executable, "-m", "tests.bench.growth", "--mesh", mesh]
    devices = math.prod(map(int, mesh.split("x")))
    flags = f"--xla_force_host_platform_device_count={devices}"
    there = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=there)
    found = json.loads(done.stdout.splitlines()[-1])
    return f"| {mesh} | {devices} | {found['inputs'] / 1e6:,.0f} | {found['between'] / 1e6:,.0f} |"


def reserved(mesh: str) -> dict[str, int]:
    """What XLA reserves on each device: weights, adapters and rows, and what lies between."""
    from gemma_keras_tune.recipe import ModelRecipe, TrainRecipe
    from tests.support.traced_step import traced_step

    groups, cuts = map(int, mesh.split("x"))
    shape = None if groups == cuts == 1 else (groups, cuts)
    train = TrainRecipe(remat="full", batch_tokens=4096, micro_batch_tokens=4096)
    model = ModelRecipe(preset="gemma3_instruct_270m", dtype="float32")
    step = traced_step(model, train, _LENGTH, "cpu", shape)
    found = step.lower().compile().memory_analysis()
    return {"inputs": found.argument_size_in_bytes, "between": found.temp_size_in_bytes}


def line_of_rows(rows: int) -> str:
    """One line: a file of so many rows, read in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_many(path, rows)
        command = [sys.executable, "-m", "tests.bench.growth", "--file", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=7200)
        found = json.loads(done.stdout.splitlines()[-1])
        size = path.stat().st_size
    return (
        f"| {rows:,} | {size / 1e6:,.1f} | {found['seconds']:.1f} "
        f"| {rows / found['seconds']:,.0f} | {found['anonymous'] / 1e6:,.0f} "
        f"| {found['resident'] / 1e6:,.0f} |"
    )


def write_many(path: Path, rows: int) -> None:
    """A file of that many different rows of prompt and response."""
    from gemma_keras_tune.model.load import describe_model
    from gemma_keras_tune.recipe import ModelRecipe

    tokenizer = describe_model(ModelRecipe()).template.tokenizer
    texts = instruction_rows(tokenizer, min(rows, 2000))
    again = ((number, text) for number in count() for text in texts)
    with path.open("w", encoding="utf-8") as file:
        for number, text in islice(again, rows):
            prompt = f"{number}. {text.prompt}" if number else text.prompt
            file.write(json.dumps({"prompt": prompt, "response": text.response}) + "\n")


def read_in(path: Path) -> dict[str, float]:
    """Reading, splitting, encoding and packing a file, up to the first batch."""
    from gemma_keras_tune.data.examples import load_examples
    from gemma_keras_tune.data.tokenize import tokenize_examples
    from gemma_keras_tune.machine import peak_memory_bytes
    from gemma_keras_tune.model.load import describe_model
    from gemma_keras_tune.recipe import DataRecipe, ModelRecipe, TrainRecipe
    from gemma_keras_tune.training.plan import TrainPlan

    template = describe_model(ModelRecipe()).template
    template.tokenizer.encode("what is made once")
    resident, began = peak_memory_bytes(), time.perf_counter()
    recipe = DataRecipe(path=str(path), task="instruction", max_length=640)
    with tempfile.TemporaryDirectory() as cache, AnonymousMemory() as memory:
        rows = load_examples(recipe).train
        tokens = tokenize_examples(rows, template, max_length=640, cache_dir=cache)
        plan = TrainPlan(tokens=tokens, length=640, recipe=TrainRecipe(), pad_id=0)
        plan.batches(1)
    return {
        "seconds": time.perf_counter() - began,
        "anonymous": memory.peak - memory.before,
        "resident": peak_memory_bytes() - resident,
    }


class AnonymousMemory:
    """The most bytes of this process that no file backs, looked at fifty times a second."""

    def __enter__(self) -> AnonymousMemory:
        self.before = self.peak = self._now()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self.peak = max(self.peak, self._now())

    @staticmethod
    def _now() -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


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

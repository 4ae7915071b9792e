"""Training speed and memory beside what a user would pick instead, on the same rows.

    python -m tests.bench.compare [--rows N] [--only WORD,WORD] [--write]

LoRA of rank 8 on q and v of the real 270M, two processor cores or what there is; rows as
`tests.bench.rows` makes them. Each line is one pass over the rows in a process of its own, its
first step apart, since that waits for compilers. The share of the peak is of the operations that
the measured rows need, nothing counted twice, over matrix products of the same process and type.
Prints one Markdown table; `--write` also puts it into `docs/benchmarks.md`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from gemma_keras_tune.data.examples import load_examples
from gemma_keras_tune.data.tokenize import TokenSet, tokenize_examples
from gemma_keras_tune.exporters.hf import write_hf
from gemma_keras_tune.model.config import GemmaConfig
from gemma_keras_tune.model.load import load_model
from gemma_keras_tune.planning.known_models import known_config
from gemma_keras_tune.planning.speed import needed_operations
from gemma_keras_tune.recipe import DataRecipe, ExportRecipe, LoraRecipe, ModelRecipe
from tests.bench.rows import instruction_rows, write_rows

from . import keras_fit, ours, peft_loop
from .shared import BATCH, LENGTH, PACKED_ROWS, RANK, TARGETS, Found, tokens_in, write_tokens

SUBJECTS: dict[str, Callable[[Path], Found]] = {
    "keras_hub `fit`, padded": keras_fit.measure,
    **{
        f"PEFT, {dtype}, {'packed' if packed else 'padded'}": partial(
            peft_loop.measure, dtype=dtype, packed=packed
        )
        for packed in (False, True)
        for dtype in ("float32", "bfloat16")
    },
    **{f"ours: {name}": partial(ours.measure, switched_on=on) for name, on in ours.LADDER.items()},
}
HEADING = "## Beside KerasHub and PEFT, on the same rows"
PAGE = Path(__file__).parents[3] / "docs" / "benchmarks.md"
_COLUMNS = (
    "what",
    "answer tokens/s",
    "all tokens/s",
    "filled",
    "peak MB",
    "first step s",
    "share of peak",
    "loss before",
    "after",
    "updates",
)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=46)
    parser.add_argument("--only", default="", help="words; measure those whose names have one")
    parser.add_argument("--write", action="store_true", help="put it into docs/benchmarks.md")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(SUBJECTS[given.one](given.folder).to_line())
        return
    lines = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare(folder, given.rows)
        for line in table(folder, given.only):
            lines.append(line)
            print(line, flush=True)
    if given.write:
        write_section(told(given.rows) + "\n\n" + "\n".join(lines))


def prepare(folder: Path, count: int) -> None:
    """Writes the rows, their tokens, and the weights for those who need a Hugging Face folder."""
    model = load_model(ModelRecipe(dtype="float32"))
    write_rows(instruction_rows(model.tokenizer, count), folder / "rows.jsonl")
    data = DataRecipe(
        path=str(folder / "rows.jsonl"),
        task="instruction",
        max_length=LENGTH,
        validation_share=0.0,
        test_share=0.0,
    )
    rows = load_examples(data).train
    write_tokens(tokenize_examples(rows, model.template, max_length=LENGTH), folder)
    (folder / "hf").mkdir()
    write_hf(folder / "hf", model, ExportRecipe(format="hf"))


def table(folder: Path, only: str) -> Iterator[str]:
    """The lines, each as soon as it is known."""
    yield f"| {' | '.join(_COLUMNS)} |"
    yield "|---" * len(_COLUMNS) + "|"
    tokens, config = tokens_in(folder), known_config("gemma3-270m")
    for name in SUBJECTS:
        if any(word in name for word in only.split(",")):
            yield row(name, measured(name, folder), tokens, config)


def measured(name: str, folder: Path) -> Found:
    """One subject, in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.compare", "--one", name, "--folder", str(folder)]
    environment = {**os.environ, "KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, timeout=3600
    )
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    return Found.from_line(done.stdout.splitlines()[-1])


def row(name: str, found: Found, tokens: TokenSet, config: GemmaConfig) -> str:
    """One line of the table."""
    lengths = [int(tokens.lengths[index]) for index in found.members]
    answers = sum(int(tokens.example(index)[1].sum()) for index in found.members)
    lora = LoraRecipe(rank=RANK, targets=TARGETS)
    needed = needed_operations(config, lora, lengths=lengths, answers=answers)
    share = needed / found.seconds / (found.matrix_gflops * 1e9)
    cells = (
        name,
        f"{answers / found.seconds:.1f}",
        f"{sum(lengths) / found.seconds:,.0f}",
        f"{sum(lengths) / found.places:.0%}",
        f"{found.peak_bytes / 1e6:,.0f}",
        f"{found.first_step_s:.1f}",
        f"{share:.0%} of {found.matrix_gflops:,.0f} GFLOP/s",
        f"{found.loss_before:.3f}",
        f"{found.loss_after:.3f}",
        str(found.updates),
    )
    return f"| {' | '.join(cells)} |"


def told(rows: int) -> str:
    """What was measured, where and when."""
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    cores = os.cpu_count()
    return (
        f"{HEADING}\n\n`python -m tests.bench.compare --rows {rows} --write`, {today}, {cores} "
        f"cores of a shared {platform.machine()} machine, no accelerator. {rows} rows of real "
        f"instruction text (`tests/bench/rows.py`: 20 to {LENGTH} tokens, 167 on average, 35 % of "
        f"them answers), LoRA of rank {RANK} on q and v of the real 270M, AdamW, one pass; padded "
        f"batches have {BATCH} rows, packed ones {PACKED_ROWS} of {LENGTH} tokens. Each line is a "
        "process of its own. The loss is that of the first 8 rows, nats per answer token."
    )


def write_section(text: str) -> None:
    """Puts the section in the place of the one before it."""
    page = PAGE.read_text(encoding="utf-8")
    before, found, rest = page.partition(f"{HEADING}\n")
    after = rest.partition("\n## ")[2]
    following = f"## {after}" if found and after else ""
    PAGE.write_text(f"{before.rstrip()}\n\n{text}\n\n{following}", encoding="utf-8")


if __name__ == "__main__":
    main()

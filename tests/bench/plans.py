"""The error of plans: ten runs of the real 270M, each planned, run in a process, and measured.

    python -m tests.bench.plans

Prints one Markdown table. Each run takes two optimizer steps, measures a few rows and (the first
one) exports; the peak is what the run itself remembers in `plans.jsonl`. The formula's own error
is shown, the compiler's (the formula with XLA's word on the step in it), and that of the formula
corrected by the other nine runs, which a machine with past runs would see.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gemma_keras_tune.planning.history import FILE, PastPlan, errors_of
from gemma_keras_tune.recipe_files import shipped_recipes

LONG = ("train.micro_batch_tokens=2048", "train.batch_tokens=2048", "data.max_length=512")
CONFIGURATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "spam_classifier as it ships, with its exports": ("spam_classifier", ()),
    "chat_answers, bfloat16": ("chat_answers", ("model.dtype=bfloat16", "export=[]")),
    "spam_classifier, 2,048 tokens at once, remat none": (
        "spam_classifier",
        (*LONG, "train.remat=none", "export=[]"),
    ),
    "chat_answers, 2,048 tokens at once, remat full, rank 64": (
        "chat_answers",
        (*LONG, "train.remat=full", "model.lora.rank=64", "export=[]"),
    ),
    "chat_answers, 2,048 tokens at once, chunks of 256": (
        "chat_answers",
        (*LONG, "train.loss_chunk=256", "export=[]"),
    ),
    "spam_classifier, bfloat16, all projections, rank 16, remat none": (
        "spam_classifier",
        (
            *("model.dtype=bfloat16", "model.lora.targets=['all-linear']", "model.lora.rank=16"),
            *("train.remat=none", "export=[]"),
        ),
    ),
    "chat_answers, one row of 4,096 tokens, remat full": (
        "chat_answers",
        (
            *("data.max_length=4096", "train.micro_batch_tokens=4096", "train.batch_tokens=4096"),
            *("train.remat=full", "export=[]"),
        ),
    ),
    "chat_answers, four rows of 1,024 tokens, remat dots": (
        "chat_answers",
        (
            *("data.max_length=1024", "train.micro_batch_tokens=4096", "train.batch_tokens=4096"),
            *("train.remat=dots", "export=[]"),
        ),
    ),
    "spam_classifier, 32 rows measured at once": (
        "spam_classifier",
        ("evaluate.batch_rows=32", "export=[]"),
    ),
    "chat_answers, 512 tokens at once, with its exports in bfloat16": (
        "chat_answers",
        (
            *("train.micro_batch_tokens=512", "train.batch_tokens=512", "data.max_length=256"),
            "model.dtype=bfloat16",
        ),
    ),
}
_FEW = ("train.max_steps=2", "evaluate.samples=2", "data.too_long=truncate")


@dataclass(frozen=True)
class Measured:
    """One configuration: the formula's peak, the compiler's, and the measured one, in bytes."""

    name: str
    formula: int
    compiler: int
    peak: int
    entry: PastPlan


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for name in CONFIGURATIONS:
            found.append(measure(name, Path(folder)))
            print(found[-1], file=sys.stderr, flush=True)
    print(table(found))


def table(found: list[Measured]) -> str:
    """The measurements as a Markdown table."""
    corrected = errors_of([one.entry for one in found])
    lines = [
        "| configuration | measured | formula | error | with the compiler | error | corrected |",
        "|---|---|---|---|---|---|---|",
    ]
    for one, error in zip(found, corrected, strict=True):
        lines.append(
            f"| {one.name} | {one.peak / 1e9:.2f} GB | {one.formula / 1e9:.2f} GB "
            f"| {one.formula / one.peak - 1:+.1%} | {one.compiler / 1e9:.2f} GB "
            f"| {one.compiler / one.peak - 1:+.1%} | {error:+.1%} |"
        )
    return "\n".join(lines)


def measure(name: str, folder: Path) -> Measured:
    """One configuration, planned and run.

    Args:
        name: One of `CONFIGURATIONS`.
        folder: For its data and runs.
    """
    recipe, settings = CONFIGURATIONS[name]
    home = folder / "home"
    words = [recipe, *itertools.chain(*(("--set", s) for s in (*_rows(recipe, folder), *settings)))]
    plan = json.loads(_run("plan", *words, "--compile", "--json", home=home))
    _run("train", *words, "--json", home=home)
    entry = PastPlan(**json.loads((home / FILE).read_text().splitlines()[-1]))
    compiled = max(stage["bytes"] for stage in plan["memories"][-1]["stages"])
    return Measured(
        name=name,
        formula=entry.planned_bytes,
        compiler=compiled,
        peak=entry.measured_bytes,
        entry=entry,
    )


def _rows(recipe: str, folder: Path) -> list[str]:
    """Settings for the first rows of the recipe's files, so that measuring them is short."""
    is_spam = recipe == "spam_classifier"
    names = (
        ("spam_train.csv", "spam_test.csv") if is_spam else ("chat_train.jsonl", "chat_test.jsonl")
    )
    settings = list(_FEW)
    for key, name, count in zip(("path", "test_path"), names, (120, 16), strict=True):
        source = shipped_recipes()[recipe].parent / "data" / name
        lines = source.read_text(encoding="utf-8").splitlines(keepends=True)[:count]
        (folder / name).write_text("".join(lines), encoding="utf-8")
        settings.append(f'data.{key}="{folder / name}"')
    return settings


def _run(*arguments: str, home: Path) -> str:
    """The last line that the command prints."""
    done = subprocess.run(
        [sys.executable, "-m", "gemma_keras_tune", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "GEMMA_KERAS_TUNE_HOME": str(home)},
        timeout=1200,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: {done.stderr[-2000:]}")
    return done.stdout.splitlines()[-1]


if __name__ == "__main__":
    main()

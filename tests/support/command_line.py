"""A tiny model, a small table and a recipe on disk, and the real command on top of them."""

from __future__ import annotations

import csv
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.tiny_models import tiny_gemma3
from tests.support.tiny_runs import WORDS
from tests.support.tiny_tokenizer import tiny_proto

ROOT = Path(__file__).parents[2]


def save_tiny_model(folder: Path) -> Path:
    """A Hugging Face folder that `transformers` wrote: two random layers, 400 tokens."""
    from tests.support.hf_models import tiny_hf

    config = tiny_gemma3(layers=2, layer_is_local=(True, False), vocab_size=400)
    tiny_hf(config).save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes(tiny_proto())
    return folder


def write_rows(path: Path, *, count: int = 80, seed: int = 0) -> Path:
    """A CSV file with the columns text and label, every text another one."""
    rng = random.Random(seed)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for index in range(count):
            words = rng.choices(WORDS, k=rng.randint(3, 8))
            label = "spam" if "prize" in words or "free" in words else "ham"
            writer.writerow([f"{index} {' '.join(words)}", label])
    return path


def write_recipe(path: Path, *, data: str, preset: str, more: str = "", **settings: Any) -> Path:
    """A recipe for these rows and this model.

    Args:
        path: The file.
        data: The data file, relative to the recipe.
        preset: The model.
        more: TOML that is put at the end.
        **settings: Of the section `train`.
    """
    train = {"epochs": 1, "batch_tokens": 256, "micro_batch_tokens": 256} | settings
    lines = [
        'schema = 1\nname = "tiny"\n[data]',
        f'path = "{data}"\ntask = "classification"\nmax_length = 64',
        f'[model]\npreset = "{preset}"\n[model.lora]\nrank = 2\n[train]',
        *(f"{key} = {value}" for key, value in train.items()),
        "[evaluate]\nsamples = 2\nmax_tokens = 8",
        more,
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def environment(home: Path) -> dict[str, str]:
    """The environment of a child process whose data root is `home`, and whose models are tiny."""
    return {
        **os.environ,
        "GEMMA_KERAS_TUNE_HOME": str(home),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # they take longer to compile than to compute
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }


def run_command(*arguments: str, home: Path, timeout_s: float = 300) -> Any:
    """The finished process of `python -m gemma_keras_tune <arguments>`."""
    return subprocess.run(
        [sys.executable, "-m", "gemma_keras_tune", *arguments],
        capture_output=True,
        text=True,
        env=environment(home),
        timeout=timeout_s,
        stdin=subprocess.DEVNULL,
    )

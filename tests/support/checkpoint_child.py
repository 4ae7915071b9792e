"""A process that commits checkpoints until it is killed; no JAX, so that it starts in no time.

`python -m tests.support.checkpoint_child DIR ATTEMPT` prints each step that was committed.
`python -m tests.support.checkpoint_child DIR every-call` forks once for each system call of one
commit, dies right there, and prints what it found in the folder afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gemma_keras_tune import durable
from gemma_keras_tune.training.checkpoint_folder import CheckpointFolder
from gemma_keras_tune.training.checkpoint_manifest import check_folder

DURABLE_CALLS = ("_open", "_write", "_fsync", "_rename")
OTHER_CALLS = ("mkdir", "unlink", "rmdir")


def write_files(folder: Path, step: int) -> None:
    """What stands for the arrays of `step`: three files in two folders."""
    (folder / "deeper").mkdir()
    for name in ("a", "b", "deeper/c"):
        (folder / name).write_bytes(f"{step} {name}\n".encode() * 4000)


def commit(folder: CheckpointFolder, step: int, *, best: bool = False) -> None:
    folder.commit(
        step,
        lambda path: write_files(path, step),
        manifest={"meta": {"step": step}},
        size_bytes=100_000,
        best=best,
    )


def open_folder(directory: Path, attempt: int | None, **options: Any) -> CheckpointFolder:
    return CheckpointFolder(directory, attempt=attempt, spare_bytes=0, **options)


def whole_and_listed(directory: Path) -> dict[str, Any]:
    """What a reader finds: the listed steps, the newest, and what is wrong with any listed one."""
    folder = open_folder(directory, None)
    index = folder.index()
    problems = [check_folder(directory / e.name, e.manifest_sha256)[1] for e in index.entries]
    newest = folder.newest()
    return {
        "steps": [entry.step for entry in index.entries],
        "newest": newest.entry.step if newest else None,
        "problems": [problem for problem in problems if problem],
    }


def commit_for_ever(directory: Path, attempt: int) -> None:
    folder = open_folder(directory, attempt)
    newest = folder.newest()
    step = newest.entry.step if newest else 0
    while True:
        step += 1
        commit(folder, step, best=step % 5 == 0)
        print(step, flush=True)


def die_at_every_call(directory: Path) -> None:
    start = directory / "start"
    folder = open_folder(start, 1)
    for step in (1, 2, 3):
        commit(folder, step, best=step == 1)
    die_at = 0
    while True:
        die_at += 1
        here = directory / str(die_at)
        shutil.copytree(start, here)
        pid = os.fork()
        if pid == 0:
            _die_at(die_at)
            commit(open_folder(here, 2), 4)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        found = whole_and_listed(here)
        commit(open_folder(here, 3), 5)
        after = whole_and_listed(here)
        names = sorted(path.name for path in here.iterdir())
        print(json.dumps({"code": code, "found": found, "after": after, "names": names}))
        shutil.rmtree(here)
        if code == 0:
            return


def _die_at(die_at: int) -> None:
    calls = 0

    def dying(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == die_at:
                if name == "_write":
                    real(args[0], bytes(args[1])[: len(args[1]) // 2])
                os._exit(137)
            return real(*args, **kwargs)

        return call

    for name in DURABLE_CALLS:
        setattr(durable, name, dying(name, getattr(durable, name)))
    for name in OTHER_CALLS:
        setattr(os, name, dying(name, getattr(os, name)))


if __name__ == "__main__":
    if sys.argv[2] == "every-call":
        die_at_every_call(Path(sys.argv[1]))
    else:
        commit_for_ever(Path(sys.argv[1]), int(sys.argv[2]))

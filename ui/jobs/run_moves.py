"""Runs' folders on their way: a folder from elsewhere linked in, and a folder on its way out."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from gemma_keras_tune import locks
from gemma_keras_tune.durable import rename
from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.run_folder import RunFolder

_TRASH = ".trash"
_LONGEST_NAME = 100


def is_run(path: Path) -> bool:
    """Whether a folder holds a run."""
    folder = RunFolder(path)
    return folder.recipe_json.is_file() or folder.events.is_file()


def checked_run(path: Path, runs: Path) -> Path:
    """The whole path of a run's folder outside of `runs`.

    Raises:
        TuneError: `ADOPT_NO_RUN`; `ADOPT_TWICE` if it is among the runs.
    """
    target = path.expanduser()
    if not target.is_absolute() or not target.is_dir() or not is_run(target):
        raise TuneError(
            f"{path} is no run: give the whole path of a folder with recipe.json or events.jsonl.",
            code="ADOPT_NO_RUN",
        )
    target = target.resolve()
    if target.is_relative_to(runs.resolve()):
        raise TuneError(f"{target} is among the runs already.", code="ADOPT_TWICE")
    runs.mkdir(parents=True, exist_ok=True)
    return target


def free_id(target: Path, runs: Path) -> str:
    """An id for a folder's link in `runs`, made of its name."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in target.name)
    name = plain.lstrip("._-")[:_LONGEST_NAME] or "run"
    number, run_id = 1, name
    while os.path.lexists(runs / run_id):
        number += 1
        run_id = f"{name}-{number}"
    return run_id


def set_aside(run_id: str, runs: Path, *, is_link: bool) -> Path | None:
    """Where a run's folder is now, to be removed; None if there is nothing to remove.

    Args:
        run_id: The run.
        runs: The folder of all runs.
        is_link: Whether it was adopted; then its folder is left alone, and only the link goes.

    Raises:
        TuneError: `RUN_LOCKED` while somebody writes there; `RUN_NOT_WRITABLE`.
    """
    path = runs / run_id
    if is_link:
        path.unlink(missing_ok=True)
        return None
    if not path.is_dir():
        return None
    try:
        handle = locks.take(path / "lock")
    except BlockingIOError:
        raise TuneError(
            f"Somebody works on the run {run_id}. Stop it first.", code="RUN_LOCKED"
        ) from None
    except OSError as error:
        raise _not_removed(run_id, error) from error
    try:
        trash = runs / _TRASH
        trash.mkdir(exist_ok=True)
        doomed = trash / f"{run_id}.{os.urandom(4).hex()}"
        rename(path, doomed)
    except OSError as error:
        raise _not_removed(run_id, error) from error
    finally:
        locks.release(handle)
    return doomed


def empty_trash(runs: Path) -> None:
    """Removes what a server before this one had no time to remove."""
    shutil.rmtree(runs / _TRASH, ignore_errors=True)


def _not_removed(run_id: str, error: OSError) -> TuneError:
    return TuneError(
        f"The run {run_id} can't be removed: {error.strerror or error}.", code="RUN_NOT_WRITABLE"
    )

"""The names of the files in a run's folder, and how runs are made and found.

The folder is the interface between the library, the command line, the web app and the cloud.
Who may write in it is in `writing.py`.
"""

from __future__ import annotations

import os
import re
import shlex
import time
import unicodedata
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from .durable import fsync_folder
from .errors import TuneError
from .writing import WorkFolder, Writer, current_writer, open_for_writing

__all__ = [
    "HOME_VARIABLE",
    "RunFolder",
    "Writer",
    "current_writer",
    "data_root",
    "find_run",
    "new_run",
    "open_for_writing",
    "slug",
]

HOME_VARIABLE = "GEMMA_KERAS_TUNE_HOME"

_LONGEST_NAME = 40  # characters of a run's name that go into its id
_LONGEST_LIST = 8  # runs named in an error


@dataclass(frozen=True)
class RunFolder(WorkFolder):
    """The files of one run. Making this value touches no disk."""

    what: ClassVar[str] = "run"

    @property
    def recipe_json(self) -> Path:
        """The resolved recipe; a resume with other settings of the same result writes it anew."""
        return self.path / "recipe.json"

    @property
    def lineage_json(self) -> Path:
        """Hashes of data, tokenizer, weights and code; versions; device."""
        return self.path / "lineage.json"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints and their index."""
        return self.path / "checkpoints"

    @property
    def starting_adapter(self) -> Path:
        """A copy of the adapter that training started from, where it had one."""
        return self.path / "starting_adapter"

    @property
    def adapter(self) -> Path:
        """The trained adapter, as PEFT reads it."""
        return self.path / "adapter"

    @property
    def predictions(self) -> Path:
        """What the model answered on the held-back rows."""
        return self.path / "predictions.jsonl"

    @property
    def report_json(self) -> Path:
        """The evaluation, for programs."""
        return self.path / "report.json"

    @property
    def report_md(self) -> Path:
        """The evaluation, for people."""
        return self.path / "report.md"

    @property
    def artifacts(self) -> Path:
        """The folder of the exported models, one folder a format."""
        return self.path / "artifacts"


def data_root() -> Path:
    """The folder of all runs and jobs: `$GEMMA_KERAS_TUNE_HOME`, or `~/.gemma-keras-tune`."""
    named = os.environ.get(HOME_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".gemma-keras-tune"


def token_cache() -> Path:
    """Where the tokens of data sets are kept, for the next run on the same rows."""
    return data_root() / "cache" / "tokens"


def new_run(root: str | os.PathLike[str], name: str) -> RunFolder:
    """A new, empty folder `root/runs/<id>`; ids sort by the time of their making.

    Args:
        root: The data root.
        name: The run's name, as a person wrote it. Only letters, digits and dashes of it go into
            the id.

    Raises:
        TuneError: `ROOT_NOT_WRITABLE` if the folder can't be made.
    """
    runs = Path(root) / "runs"
    try:
        runs.mkdir(parents=True, exist_ok=True)
        while True:
            now = datetime.now(UTC)
            stamp = f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03d}"
            path = runs / f"{stamp}-{slug(name)}"
            if any(runs.glob(f"{stamp}-*")):  # taken in this very millisecond
                time.sleep(0.001)
                continue
            with suppress(FileExistsError):
                path.mkdir()
                fsync_folder(runs)
                return RunFolder(path)
    except OSError as error:
        raise TuneError(
            f"No run can be made in {runs}: {error.strerror or error}. "
            f"Choose another folder with --root or the variable {HOME_VARIABLE}.",
            code="ROOT_NOT_WRITABLE",
        ) from error


def slug(name: str) -> str:
    """A person's name for something as part of a file name: `a-z`, `0-9` and dashes, 40 at most."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")
    return words[:_LONGEST_NAME].strip("-") or "run"


def find_run(
    root: str | os.PathLike[str], name_or_path: str, *, allow_paths: bool = True
) -> RunFolder:
    """The run that is meant: a path, an id, the unique start of an id, a name, or `latest`.

    Args:
        root: The data root.
        name_or_path: What a person wrote.
        allow_paths: Whether it may be a path; false where it comes from another person's request.

    Raises:
        TuneError: `RUN_NOT_FOUND` or `RUN_AMBIGUOUS`, with the runs that there are.
    """
    path = Path(name_or_path).expanduser() if allow_paths and name_or_path else None
    if path is not None and _is_run(path):
        return RunFolder(path.resolve())
    runs = _runs(root)
    by_id = [run for run in runs if run.id == name_or_path]
    by_start = [run for run in runs if name_or_path and run.id.startswith(name_or_path)]
    by_name = [run for run in runs if name_or_path and _name_part(run.id) == name_or_path]
    newest = runs[-1:] if name_or_path == "latest" else []
    for found in (by_id, by_start, by_name, newest):
        if len(found) == 1:
            return found[0]
        if found:
            raise TuneError(
                f"{name_or_path!r} could be any of {len(found)} runs:\n{_listed(found)}\n"
                "Write more of the id.",
                code="RUN_AMBIGUOUS",
            )
    raise TuneError(_not_found(root, name_or_path, path=path, runs=runs), code="RUN_NOT_FOUND")


def resume_command(folder: WorkFolder) -> str:
    """The command line that goes on with a run, from whatever folder it is given."""
    path = folder.path.resolve()
    is_known = path.parent == (data_root() / "runs").resolve()
    return shlex.join(["gemma-keras-tune", "resume", folder.id if is_known else str(path)])


def _runs(root: str | os.PathLike[str]) -> list[RunFolder]:
    try:
        paths = sorted((Path(root) / "runs").iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [RunFolder(path) for path in paths if not path.name.startswith(".") and _is_run(path)]


def _is_run(path: Path) -> bool:
    folder = RunFolder(path)
    with suppress(OSError, ValueError):
        return folder.recipe_json.is_file() or folder.events.is_file()
    return False


def _name_part(run_id: str) -> str:
    return re.sub(r"^\d{8}-\d{6}-\d{3}-", "", run_id)


def _listed(runs: list[RunFolder]) -> str:
    newest = [f"  {run.id}" for run in reversed(runs)]
    more = len(newest) - _LONGEST_LIST
    return "\n".join(newest[:_LONGEST_LIST] + ([f"  and {more} more"] if more > 0 else []))


def _not_found(
    root: str | os.PathLike[str], name: str, *, path: Path | None, runs: list[RunFolder]
) -> str:
    if path is not None and path.is_dir():
        return f"{path} is a folder, but no run: it has neither recipe.json nor events.jsonl."
    if not runs:
        return (
            f"There is no run {name!r}: {Path(root) / 'runs'} holds none yet. "
            "Start one with: gemma-keras-tune train RECIPE"
        )
    return (
        f"There is no run {name!r}. Give a run's folder, its id, the start of its id, or 'latest'. "
        f"In {Path(root) / 'runs'}, newest first:\n{_listed(runs)}"
    )

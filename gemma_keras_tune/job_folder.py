"""A job's folder, `ROOT/jobs/<id>/`: what was asked, what is happening, and what came of it.

Whoever wants work done writes `job.json` and starts a process on the folder. The process says in
`events.jsonl` how far it is, and writes `result.json` last and whole. So a folder whose process is
gone and that has no result is that of a job which died.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from .durable import FULL_DISK, atomic_write_bytes, fsync_folder
from .errors import TuneError
from .job_spec import LARGEST_JOB, JobSpec, parse_job_json
from .locks import Holder
from .run_folder import RunFolder
from .writing import WorkFolder, current_writer, stored_attempt

DONE, OUR_FAULT, USER_CAN_FIX, STOPPED = 0, 1, 2, 75  # exit codes
LARGEST_RESULT = 32 << 20  # bytes; a server reads it whole

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True)
class JobFolder(WorkFolder):
    """The files of one job. Making this value touches no disk."""

    what: ClassVar[str] = "job"

    @property
    def root(self) -> Path:
        """The data root, under which the job's runs are, too."""
        return self.path.parent.parent

    @property
    def job_json(self) -> Path:
        """What is asked; written once, before the process starts."""
        return self.path / "job.json"

    @property
    def log(self) -> Path:
        """Standard output and standard error of the process."""
        return self.path / "log.txt"

    @property
    def result_json(self) -> Path:
        """What came of it; written whole, as the last thing."""
        return self.path / "result.json"

    def answers(self, table: str) -> Path:
        """The table that a job of the kind `answer` has answered: its name ends as the table's."""
        return self.path / f"answers{Path(table).suffix.lower()}"

    def run(self, spec: JobSpec) -> RunFolder:
        """The folder of the job's run.

        Raises:
            ValueError: If the job has none.
        """
        if spec.run is None:
            raise ValueError(f"a job of the kind {spec.kind!r} without a run")
        return RunFolder(self.root / "runs" / spec.run)


class Result(BaseModel):
    """What came of a job: `result.json`.

    Attributes:
        status: `done`, `failed`, or `stopped` by request.
        code: Stable code of a failure; `INTERNAL` where the fault is ours.
        message: For a person.
        value: What the kind of job gives back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    status: Literal["done", "failed", "stopped"]
    code: str = ""
    message: str = ""
    value: dict[str, JsonValue] = {}

    @property
    def exit_code(self) -> int:
        """What the job's process ends with: 0, 1, 2 or 75."""
        if self.status == "failed":
            return OUR_FAULT if self.code == "INTERNAL" else USER_CAN_FIX
        return DONE if self.status == "done" else STOPPED


@dataclass(frozen=True, kw_only=True)
class JobState:
    """How it stands with a job, as its folder shows it.

    Attributes:
        state: `waiting` (no process has begun), `working`, `ended` (there is a result), or `died`
            (a process began, is gone, and left no result).
        holder: The process that works on it.
        result: What came of it.
    """

    state: Literal["waiting", "working", "ended", "died"]
    holder: Holder | None = None
    result: Result | None = None


def new_job_id() -> str:
    """A name for a job's folder: 32 hexadecimal digits that nobody can guess."""
    return uuid.uuid4().hex


def write_job(root: str | os.PathLike[str], job_id: str, spec: JobSpec) -> JobFolder:
    """The job's folder under `root`, with `job.json` in it. Writing the same again is harmless.

    Args:
        root: The data root.
        job_id: Of `new_job_id`, or another word of small letters, digits and dashes.
        spec: What is asked.

    Raises:
        TuneError: `JOB_EXISTS` if another job has this id; `JOB_TOO_LARGE`, `JOB_NOT_WRITABLE` or
            `NEEDS_SPACE`.
        ValueError: If the id is no such word.
    """
    if not _ID.fullmatch(job_id):
        raise ValueError(f"{job_id!r} is no name for a job's folder")
    folder = JobFolder(Path(root) / "jobs" / job_id)
    text = spec.model_dump_json(by_alias=True, indent=2).encode() + b"\n"
    parse_job_json(text)  # what is written can be read again
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        if folder.job_json.exists():
            if read_job(folder) != spec:
                raise TuneError(
                    f"There is another job with the id {job_id}. Take a new id.", code="JOB_EXISTS"
                )
            return folder
        atomic_write_bytes(folder.job_json, text)
        fsync_folder(folder.path.parent)
    except OSError as error:
        raise _not_written(folder, error) from error
    return folder


def read_job(folder: JobFolder) -> JobSpec:
    """What the job is asked to do.

    Raises:
        TuneError: `JOB_NOT_FOUND`, `JOB_INVALID` or `JOB_TOO_LARGE`.
    """
    try:
        with folder.job_json.open("rb") as file:
            text = file.read(LARGEST_JOB + 1)
    except OSError as error:
        raise TuneError(
            f"{_short(folder.path)} is no job: its job.json can't be read ({error.strerror}).",
            code="JOB_NOT_FOUND",
        ) from error
    return parse_job_json(text, where=f"{folder.id}/job.json")


def write_result(folder: JobFolder, result: Result) -> None:
    """Writes `result.json`, whole or not at all. Only the job's writer does this, as the last.

    Raises:
        TuneError: `RESULT_TOO_LARGE`, `JOB_NOT_WRITABLE` or `NEEDS_SPACE`.
    """
    text = json.dumps(result.model_dump(), ensure_ascii=True, allow_nan=False).encode()
    if len(text) > LARGEST_RESULT:
        raise TuneError(
            f"The result has {len(text):,} bytes, more than the {LARGEST_RESULT:,} that are kept. "
            "Ask for fewer rows.",
            code="RESULT_TOO_LARGE",
        )
    try:
        atomic_write_bytes(folder.result_json, text + b"\n")
    except OSError as error:
        raise _not_written(folder, error) from error


def read_result(folder: JobFolder) -> Result | None:
    """What came of the job, or None while it has not ended (or has died).

    Raises:
        TuneError: `JOB_RESULT` if the file is damaged.
    """
    try:
        text: Any = folder.result_json.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return Result.model_validate_json(text)
    except ValidationError as error:
        raise TuneError(
            f"{folder.result_json} is damaged. Start the job again under a new id.",
            code="JOB_RESULT",
        ) from error


def job_state(folder: JobFolder) -> JobState:
    """How it stands with a job. Only looks.

    Raises:
        TuneError: As `read_result`.
    """
    # In this order: a process that begins or ends meanwhile is never taken for dead.
    has_begun = stored_attempt(folder) is not None
    holder = current_writer(folder)
    result = read_result(folder)
    if holder is not None:
        return JobState(state="working", holder=holder)
    if result is not None:
        return JobState(state="ended", result=result)
    return JobState(state="died" if has_begun else "waiting")


def _not_written(folder: JobFolder, error: OSError) -> TuneError:
    full = error.errno in FULL_DISK
    advice = "Free some space" if full else "Check the permissions"
    return TuneError(
        f"{folder.path} can't be written: {error.strerror or error}. {advice}, then try again.",
        code="NEEDS_SPACE" if full else "JOB_NOT_WRITABLE",
    )


def _short(path: Path) -> str:
    text = str(path)
    return text if len(text) <= 300 else f"{text[:300]}..."

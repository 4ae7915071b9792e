"""Who may write in the folder of a run or a job: one process at a time, and the newest attempt.

The process holds a lock for as long as it lives, and has an attempt number that it checks before
each commit, so that a writer that was given up for dead and comes back finds itself fenced out.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from . import locks
from .durable import FULL_DISK, atomic_write_json
from .errors import TuneError
from .events import last_record


@dataclass(frozen=True)
class WorkFolder:
    """The files that a run and a job have alike. Making this value touches no disk."""

    path: Path

    what: ClassVar[str] = "folder"

    @property
    def id(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def events(self) -> Path:
        """What the work says, one JSON line an event; written by its process only."""
        return self.path / "events.jsonl"

    @property
    def control(self) -> Path:
        """What the work is asked, one JSON line a command; written by others only."""
        return self.path / "control.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the one process that writes; says which."""
        return self.path / "lock"

    @property
    def attempt_json(self) -> Path:
        """The number of the newest attempt: the fence."""
        return self.path / "attempt.json"


Folder = TypeVar("Folder", bound=WorkFolder)


@dataclass(frozen=True, kw_only=True)
class Writer(Generic[Folder]):
    """The right to write in a folder, for as long as `still_mine` says so.

    Attributes:
        folder: The folder.
        attempt: This attempt's number, from 1; each time the folder is opened it is one higher.
        token: Tells two attempts apart that got the same number by somebody's copying of files.
    """

    folder: Folder
    attempt: int
    token: str

    def still_mine(self) -> bool:
        """Whether no newer attempt has begun. Ask right before each commit."""
        stored = stored_attempt(self.folder)
        return stored is not None and stored == (self.attempt, self.token)


@contextmanager
def open_for_writing(folder: Folder, *, wait_s: float = 0.0) -> Iterator[Writer[Folder]]:
    """The right to write in `folder`, held until the block ends or the process dies.

    A lock that a killed process left behind is simply taken: the system let go of it. Each opening
    has the next attempt number, stored durably before the block begins.

    Args:
        folder: The folder of a run or a job; made if it is missing.
        wait_s: How long to wait for another writer to finish, in seconds.

    Raises:
        TuneError: `RUN_LOCKED` (of a job: `JOB_LOCKED`) if another process writes there, and which
            one it is; `RUN_NOT_WRITABLE` (`JOB_NOT_WRITABLE`) or `NEEDS_SPACE` if the folder can't
            be written.
    """
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        handle = locks.take(folder.lock, wait_s=wait_s)
    except BlockingIOError:
        raise _locked(folder) from None
    except OSError as error:
        raise _not_writable(folder, error) from error
    try:
        yield _begin_attempt(folder, handle)
    finally:
        locks.release(handle)


def current_writer(folder: WorkFolder) -> locks.Holder | None:
    """Which process writes in `folder` now, or None. Looks only: it never takes the lock.

    A writer on another machine can't be looked at, and is believed.
    """
    return locks.holder(folder.lock)


def refuse_while_written(folder: WorkFolder) -> None:
    """Refuse to go on while another process writes in `folder`.

    Raises:
        TuneError: `RUN_LOCKED` or `JOB_LOCKED`.
    """
    if current_writer(folder) is not None:
        raise _locked(folder)


def stored_attempt(folder: WorkFolder) -> tuple[int, str] | None:
    """Number and token of the newest attempt; None where there is none, or the file is damaged."""
    try:
        stored = json.loads(folder.attempt_json.read_text(encoding="utf-8"))
        return int(stored["attempt"]), str(stored["token"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _begin_attempt(folder: Folder, handle: int) -> Writer[Folder]:
    writer = Writer(folder=folder, attempt=_last_attempt(folder) + 1, token=secrets.token_hex(8))
    fence = {"attempt": writer.attempt, "token": writer.token}
    try:
        locks.describe(handle)  # first: who sees an attempt without a holder takes it for dead
        atomic_write_json(folder.attempt_json, fence)
    except OSError as error:
        raise _not_writable(folder, error) from error
    return writer


def _not_writable(folder: WorkFolder, error: OSError) -> TuneError:
    if error.errno in FULL_DISK:
        return TuneError(
            f"The disk that holds {folder.path} is full. Free some space, then start again.",
            code="NEEDS_SPACE",
        )
    return TuneError(
        f"Nothing can be written in {folder.path}: {error.strerror or error}. "
        f"Check its permissions, or copy the {folder.what} elsewhere.",
        code="JOB_NOT_WRITABLE" if folder.what == "job" else "RUN_NOT_WRITABLE",
    )


def _locked(folder: WorkFolder) -> TuneError:
    return TuneError(
        _locked_message(folder), code="JOB_LOCKED" if folder.what == "job" else "RUN_LOCKED"
    )


def _locked_message(folder: WorkFolder) -> str:
    info = current_writer(folder)
    name = f"The {folder.what} {folder.id}"
    if info is None:
        return f"{name} is being written by another process. Wait until it has ended."
    return (
        f"{name} is being written by process {info.pid} on {info.host}, since "
        f"{info.since}. Wait until it has ended, or stop it with: kill {info.pid}"
    )


def _last_attempt(folder: WorkFolder) -> int:
    """The highest attempt on record, also where `attempt.json` was lost or is damaged."""
    stored = stored_attempt(folder)
    last = last_record(folder.events)
    return max(stored[0] if stored else 0, last["attempt"] if last else 0)

"""`work`: does one job, from its `job.json` to its `result.json`.

The process speaks through the job's folder only. It ends with 0 (done), 2 (the user can fix it),
1 (our fault) or 75 (stopped by SIGTERM or a command, to be gone on with). A job that died is
started again by calling this again; one that has its result is not done twice.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any

from .control_file import read_commands, size_of
from .errors import StoppedWithCheckpoint, TuneError
from .events import Event, EventWriter, RunStarted
from .job_folder import JobFolder, Result, read_job, read_result, write_result
from .stages import told_how_it_ended
from .work_kinds import Kept, Task, carry_out
from .writing import Writer, open_for_writing

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def work(
    job_dir: str | os.PathLike[str], *, kept: Kept | None = None, stops_at_signals: bool = True
) -> int:
    """The exit code of the job, now that it has ended.

    Args:
        job_dir: The job's folder.
        kept: What a warm process has from before.
        stops_at_signals: Whether SIGTERM and SIGINT stop the job.

    Raises:
        TuneError: `JOB_LOCKED` if another process works on it; `JOB_NOT_WRITABLE`, `NEEDS_SPACE`
            if not even the result can be written.
    """
    folder = JobFolder(Path(job_dir).resolve())
    _need_job(folder)
    stops = Stops(folder)
    with (
        stops.at_signals() if stops_at_signals else nullcontext(),
        open_for_writing(folder) as writer,
    ):
        earlier = read_result(folder)
        if earlier is not None and earlier.status != "stopped":
            return earlier.exit_code
        folder.result_json.unlink(missing_ok=True)
        with EventWriter(folder.events, writer.attempt) as events:
            result = _result_of(writer, events, kept or Kept(), stops)
        return _keep(writer, result)


def fail(folder: JobFolder, error: TuneError) -> int:
    """The exit code of a job whose process died, after its end is written in its place.

    Does nothing where there is a result, or another process has taken the job up.

    Raises:
        TuneError: As `work`.
    """
    with open_for_writing(folder, wait_s=1.0) as writer:
        result = read_result(folder)
        if result is not None:
            return result.exit_code
        with EventWriter(folder.events, writer.attempt) as events:
            try:
                with told_how_it_ended(events):
                    raise error
            except TuneError:
                return _keep(writer, Result(status="failed", code=error.code, message=str(error)))


def _need_job(folder: JobFolder) -> None:
    """Refuse a folder without a job, before anything is made in it.

    Raises:
        TuneError: `JOB_NOT_FOUND`. What else is wrong with the job becomes its result.
    """
    try:
        read_job(folder)
    except TuneError as error:
        if error.code == "JOB_NOT_FOUND":
            raise


def _keep(writer: Writer[JobFolder], result: Result) -> int:
    """The exit code, once the result is written: never by a writer that was given up for dead."""
    if not writer.still_mine():
        raise TuneError(
            f"Another process has taken over the job {writer.folder.id}; nothing is written.",
            code="JOB_LOCKED",
        )
    try:
        write_result(writer.folder, result)
    except TuneError as error:
        if error.code != "RESULT_TOO_LARGE":
            raise
        result = Result(status="failed", code=error.code, message=str(error))
        write_result(writer.folder, result)
    return result.exit_code


def _result_of(writer: Writer[JobFolder], events: EventWriter, kept: Kept, stops: Stops) -> Result:
    try:
        with told_how_it_ended(events):
            found = _value_of(writer, events, kept, stops)
            return Result(status="done", value=json.loads(json.dumps(found, allow_nan=False)))
    except StoppedWithCheckpoint as stop:
        return Result(
            status="stopped", code=stop.code, message=str(stop), value={"step": stop.step}
        )
    except TuneError as error:
        findings = [item.to_json() for item in getattr(error, "findings", ())]
        value: dict[str, Any] = {"findings": findings} if findings else {}
        return Result(status="failed", code=error.code, message=str(error), value=value)
    except Exception as error:  # noqa: BLE001 - the process's edge: whoever waits must hear of it
        traceback.print_exc()
        return Result(status="failed", code="INTERNAL", message=f"{type(error).__name__}: {error}")


def _value_of(
    writer: Writer[JobFolder], events: EventWriter, kept: Kept, stops: Stops
) -> dict[str, Any]:
    """What came of the job.

    Raises:
        TuneError: What the user can fix, a lack of memory among it.
    """
    spec = read_job(writer.folder)
    events(RunStarted(name=spec.kind))

    def tell(event: Event) -> None:
        events(event)
        if spec.kind != "train" and stops.wanted():
            raise _stopped()

    task = Task(folder=writer.folder, tell=tell, stop_wanted=stops.wanted, kept=kept)
    with nullcontext() if spec.kind == "train" else stops.at_once():
        try:
            return carry_out(task, spec)
        except (MemoryError, RuntimeError) as error:
            lack = _lack_of_memory(error)
            if lack is None:
                raise
            raise lack from error


class Stops:
    """Whether a job was asked to stop: by a signal, or by a command in its control file.

    Args:
        folder: The job's folder; commands that stand there already were for an earlier attempt.
    """

    def __init__(self, folder: JobFolder) -> None:
        self._control, self._after = folder.control, size_of(folder.control)
        self._wanted = self._at_once = False

    def wanted(self) -> bool:
        """Whether the job is to stop."""
        if not self._wanted and size_of(self._control) > self._after:
            commands, self._after = read_commands(self._control, self._after)
            self._wanted = any(command.command == "stop" for command in commands)
        return self._wanted

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A signal leaves the block wherever it is.

        Raises:
            StoppedWithCheckpoint: At the first signal, or at once if it has come already.
        """
        self._at_once = True
        try:
            if self._wanted:
                raise _stopped()
            yield
        finally:
            self._at_once = False

    @contextmanager
    def at_signals(self) -> Iterator[None]:
        """Hears SIGTERM and SIGINT while the block runs; outside the main thread nobody can."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: FrameType | None) -> None:
            is_first, self._wanted = not self._wanted, True
            if self._at_once and is_first:
                raise _stopped()

        before = {number: signal.signal(number, note) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _stopped() -> StoppedWithCheckpoint:
    return StoppedWithCheckpoint("Stopped as asked; nothing of it is kept.", step=0)


def _lack_of_memory(error: Exception) -> TuneError | None:
    """What to do about it, where the error says that memory ran out; else None."""
    if isinstance(error, MemoryError):
        return TuneError(
            "There is not enough memory for it here. Take a smaller file or model, fewer rows, or "
            "less of train.micro_batch_tokens.",
            code="OUT_OF_MEMORY",
        )
    if "RESOURCE_EXHAUSTED" not in str(error):
        return None
    return TuneError(
        "The accelerator has not enough memory. Lower train.micro_batch_tokens, data.max_length or "
        "model.lora.rank, or take a smaller model.",
        code="OOM_DEVICE",
    )

"""Processes that do one job after another: what is imported and loaded stays.

They read the folder of a job on each line of standard input, and answer one JSON line when it has
ended: `{"job": id, "exit": code}`. A line `{"forget": true}` asks them to give memory back. They
end after what runs when standard input ends, or at SIGTERM.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

from . import limits
from .errors import TuneError
from .job_folder import USER_CAN_FIX, JobFolder, read_job, read_result
from .limits import Child, End, Limits
from .work import fail, work
from .work_kinds import Kept

_LONGEST_LINE = 65_536  # bytes
_NEEDED_LATER = ("chardet", "clevercsv", "sentencepiece")  # slow to import, once a child
_WATCHED = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)


def serve_data(*, limit: Limits, jobs: int, models: list[str]) -> int:
    """0, after standard input has ended and every job, too.

    Each job is done by a limited child forked from this process. At SIGTERM the children are asked
    to stop.

    Args:
        limit: What a child may use.
        jobs: How many work at once.
        models: Models whose tokenizers every child finds loaded.

    Raises:
        ModelError: If such a model can't be read.
    """
    from .work_data import template_of

    for name in _NEEDED_LATER:
        import_module(name)
    kept = Kept()
    for preset in models:
        kept.templates[preset] = template_of(preset, {})
    with _quiet_output() as answers, _Wishes() as wishes:
        limits.adopt_orphans()
        gc.collect()
        gc.freeze()  # the children share these pages as long as nobody writes to them
        pool = _Pool(limit, jobs, kept)
        while pool.busy or not (wishes.over or wishes.stopped):
            for wish in wishes.next(pool.seconds_left()):
                if isinstance(wish, dict):
                    answers.say({"forgot": True})
                else:
                    pool.add(wish)
            if wishes.stopped:
                pool.stop()
            for folder, code, error in pool.step():
                answers.say(_answer(folder, code, error))
    return 0


def serve_generate() -> int:
    """0, after standard input has ended, or at SIGTERM after the job at hand.

    The model that was used last stays loaded, and what was compiled.
    """
    from .work_models import Models

    models = Models()
    return _serve(Kept(models=models), forget=models.forget)


def serve_plan() -> int:
    """0, as `serve_generate`. The tokenizers of the catalogue's models stay loaded."""
    kept = Kept()
    return _serve(kept, forget=kept.templates.clear)


def _serve(kept: Kept, *, forget: Callable[[], object]) -> int:
    """Does one job after another in this process."""
    waiting: deque[Path | dict[str, Any]] = deque()
    with _quiet_output() as answers, _Wishes() as wishes:
        while not wishes.stopped and (waiting or not wishes.over):
            waiting.extend(wishes.next(0.0 if waiting else None))
            if not waiting or wishes.stopped:
                continue
            wish = waiting.popleft()
            if isinstance(wish, dict):
                forget()
                answers.say({"forgot": True})
            else:
                answers.say(_do(JobFolder(wish), kept))
    return 0


def work_limited(job_dir: Path, *, limit: Limits) -> int:
    """The exit code of one `data` job, done by a limited child of this process.

    Raises:
        TuneError: As `work`.
    """
    with _Wishes(read_input=False) as wishes:
        limits.adopt_orphans()
        pool = _Pool(limit, 1, Kept())
        pool.add(job_dir)
        while True:
            for _, code, error in pool.step():
                if error is not None:
                    raise error
                return code
            wishes.next(pool.seconds_left())
            if wishes.stopped:
                pool.stop()


def _do(folder: JobFolder, kept: Kept) -> dict[str, Any]:
    try:
        read_job(folder)
    except TuneError as error:
        if error.code == "JOB_NOT_FOUND":
            return _answer(folder, USER_CAN_FIX, error)
    log = os.open(folder.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        with _output_to(log):
            return _answer(folder, work(folder.path, kept=kept, stops_at_signals=False))
    except TuneError as error:
        return _answer(folder, USER_CAN_FIX, error)
    finally:
        os.close(log)


def _answer(folder: JobFolder, code: int, error: TuneError | None = None) -> dict[str, Any]:
    answer: dict[str, Any] = {"job": folder.id, "exit": code}
    if error is not None:  # there is no result.json that says so
        answer |= {"code": error.code, "message": str(error)}
    return answer


class _Pool:
    """Jobs that wait, and the limited children that do some of them."""

    def __init__(self, limit: Limits, size: int, kept: Kept) -> None:
        self._limit, self._size, self._kept = limit, size, kept
        self._waiting: deque[JobFolder] = deque()
        self._children: dict[JobFolder, Child] = {}
        self._stopping = False

    @property
    def busy(self) -> bool:
        """Whether any job has not ended."""
        return bool(self._waiting or self._children)

    def add(self, path: Path) -> None:
        """Puts a job at the end of those that wait."""
        if not self._stopping:
            self._waiting.append(JobFolder(path.resolve()))

    def stop(self) -> None:
        """Asks every child to stop, once, and starts none."""
        if not self._stopping:
            self._stopping = True
            self._waiting.clear()
            for child in self._children.values():
                with suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGTERM)

    def seconds_left(self) -> float | None:
        """Until there is something to do: a job to start, or a child whose time is up."""
        if self._waiting and len(self._children) < self._size:
            return 0.0
        deadlines = [child.deadline for child in self._children.values()]
        return max(0.0, min(deadlines) - monotonic()) if deadlines else None

    def step(self) -> Iterator[tuple[JobFolder, int, TuneError | None]]:
        """(folder, exit code, what is wrong where there is no result) of jobs that ended."""
        while self._waiting and len(self._children) < self._size:
            folder = self._waiting.popleft()
            error = _refused(folder)
            if error is not None:
                yield folder, USER_CAN_FIX, error
                continue
            self._children[folder] = limits.start(
                lambda folder=folder: _in_child(folder, self._kept),  # type: ignore[misc]
                limits=self._limit,
                log=folder.log,
            )
        for folder, child in list(self._children.items()):
            end = limits.ended(child)
            if end is not None:
                del self._children[folder]
                limits.sweep(self._children.values())
                yield folder, *_outcome(folder, end)


def _outcome(folder: JobFolder, end: End) -> tuple[int, TuneError | None]:
    """The exit code of a job whose child has ended, and what is wrong if no result can say it."""
    try:
        result = read_result(folder)
        if result is not None and result.exit_code == end.exit_code:
            return end.exit_code, None
        return fail(folder, end.reason), None
    except TuneError as error:
        return USER_CAN_FIX, error


def _refused(folder: JobFolder) -> TuneError | None:
    """Why no child is started for the folder, or None."""
    try:
        spec = read_job(folder)
    except TuneError as error:
        return error if error.code == "JOB_NOT_FOUND" else None  # the child says what is wrong
    if spec.kind != "data":
        return TuneError(
            f"The job {folder.id} is of the kind {spec.kind!r}; this process does 'data' only.",
            code="WRONG_WORKER",
        )
    return None


def _in_child(folder: JobFolder, kept: Kept) -> int:
    try:
        return work(folder.path, kept=kept)
    except TuneError as error:
        print(f"Error {error.code}: {error}", file=sys.stderr)
        return USER_CAN_FIX


class _Wishes:
    """The lines of standard input, and the signals that end the process or tell of a child."""

    def __init__(self, *, read_input: bool = True) -> None:
        self.over = not read_input
        self.stopped = False
        self._rest = b""
        self._selector = selectors.DefaultSelector()
        self._ours, self._signals = socket.socketpair()
        for end in (self._ours, self._signals):
            end.setblocking(False)
        self._selector.register(self._ours, selectors.EVENT_READ)
        if read_input:
            self._selector.register(0, selectors.EVENT_READ)

    def __enter__(self) -> _Wishes:
        self._fd_before = signal.set_wakeup_fd(self._signals.fileno(), warn_on_full_buffer=False)
        self._before = {number: signal.signal(number, self._note) for number in _WATCHED}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._fd_before)
        self._selector.close()
        self._ours.close()
        self._signals.close()

    def next(self, timeout_s: float | None) -> list[Path | dict[str, Any]]:
        """What was asked since the last time; waits for a line, a signal, or `timeout_s`.

        Without anything to wait for, as when the input is over, it waits for a signal.
        """
        found: list[Path | dict[str, Any]] = []
        for key, _ in self._selector.select(timeout_s):
            if key.fileobj is self._ours:
                with suppress(BlockingIOError):
                    self._ours.recv(4096)
                continue
            data = os.read(0, _LONGEST_LINE)
            if not data:
                self._selector.unregister(0)
                self.over = True
            *lines, self._rest = (self._rest + data).split(b"\n")
            self._rest = self._rest[-_LONGEST_LINE:]
            found += [_wish(line) for line in lines if line.strip()]
        return found

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self.stopped = True


def _wish(line: bytes) -> Path | dict[str, Any]:
    """A job's folder, or `{"forget": true}`."""
    text = os.fsdecode(line.strip()).replace("\0", "?")  # in no name that there is
    if text.startswith("{"):
        with suppress(ValueError):
            if json.loads(text) == {"forget": True}:
                return {"forget": True}
    return Path(text)


class _Answers:
    """The one place where this process answers: nothing that a job prints comes between."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def say(self, values: dict[str, Any]) -> None:
        """Writes one line."""
        rest = json.dumps(values).encode() + b"\n"
        while rest:
            rest = rest[os.write(self._handle, rest) :]


@contextmanager
def _quiet_output() -> Iterator[_Answers]:
    """Standard output for answers only: what is printed goes to standard error."""
    sys.stdout.flush()
    handle = os.dup(1)
    os.set_inheritable(handle, False)
    try:
        with _output_to(2):
            yield _Answers(handle)
    finally:
        os.close(handle)


@contextmanager
def _output_to(handle: int) -> Iterator[None]:
    """Standard output (and, where `handle` is another file, standard error) go to `handle`."""
    targets = (1,) if handle == 2 else (1, 2)
    before = [os.dup(number) for number in targets]
    try:
        for number in targets:
            os.dup2(handle, number)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, old in zip(targets, before, strict=True):
            os.dup2(old, number)
            os.close(old)

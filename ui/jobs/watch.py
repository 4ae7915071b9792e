"""Following one job's child to its end: beats, wishes carried out, and a child that hangs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from gemma_keras_tune.control_file import send
from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.job_folder import JobFolder, read_result
from gemma_keras_tune.run_folder import RunFolder

from ..logs import logger
from .children import Child
from .job import Job
from .marks import Marks
from .oom import oom_kills
from .processes import catches
from .queue import Queue

_log = logger("jobs")
_T = TypeVar("_T")
UNREACHABLE = (SQLAlchemyError, OSError, TimeoutError)
"""What the database answers while it is locked, full or away."""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long a supervisor waits before it does more, in seconds.

    Attributes:
        look_s: Between two looks at a child.
        beat_s: Between two renewals of a lease; a third of the lease.
        stop_s: After the command to stop, before SIGTERM.
        term_s: After SIGTERM, before SIGKILL.
        pause_s: As `stop_s` and `term_s` for a pause, which may save a large checkpoint first.
        hang_s: Without a new event, before a child is taken for hung.
        retry_s: Between two tries while the database or the disk doesn't answer.
    """

    look_s: float = 0.5
    beat_s: float = 10.0
    stop_s: float = 15.0
    term_s: float = 30.0
    pause_s: float = 300.0
    hang_s: float = 1800.0
    retry_s: float = 1.0


class Watch:
    """One job with its child.

    Args:
        queue: The queue that the job was claimed from.
        job: The job, as it was claimed or adopted.
        folder: Its folder.
        child: Its process.
        patience: How long to wait for what.
        say: Told what keeps the watch from its work, and "" when nothing does any more.
    """

    def __init__(
        self,
        queue: Queue,
        job: Job,
        *,
        folder: JobFolder,
        child: Child,
        patience: Patience,
        say: Callable[[str], None],
    ) -> None:
        self.queue, self.job, self.folder, self.child = queue, job, folder, child
        self.patience, self.say = patience, say
        run = RunFolder(folder.root / "runs" / job.run_id) if job.run_id else None
        self._control = run.control if run and job.kind == "train" else folder.control
        files = [folder.events] + ([run.events] if run and job.kind == "train" else [])
        self._marks = Marks(*files)
        self._sent: set[tuple[str, int]] = set()
        self._hung = False
        self._kills_before = oom_kills()
        self._heard = self._now

    @property
    def silent_s(self) -> float:
        """For how long the work has said nothing; 0 while it waits because somebody paused it."""
        return 0.0 if self._marks.is_paused else self._now - self._heard

    async def follow(self) -> None:
        """Returns when the job's end is recorded, or it is another server's."""
        gone = asyncio.ensure_future(self.child.ended())
        beaten = float("-inf")
        try:
            while not gone.done():
                if self._now - beaten >= self.patience.beat_s:
                    if not await self._beat():
                        return
                    beaten = self._now
                if await self._has_news() or self._marks.is_paused:
                    self._heard = self._now
                await self._carry_out_wish()
                if self.silent_s >= self.patience.hang_s and not self._hung:
                    await self._end_hung()
                await asyncio.wait({gone}, timeout=self.patience.look_s)
            gone.result()
        finally:
            gone.cancel()
        await self._record_end()

    def wished(self, job: Job) -> None:
        """Takes note of what the database says of the job now."""
        if job.fence == self.job.fence:
            self.job = job

    @property
    def _now(self) -> float:
        return self.queue.clock().seconds

    async def _beat(self) -> bool:
        """Whether the job is still ours, as far as the database answers."""
        try:
            job = await self.queue.beat(self.job, progress=self._marks.progress)
        except UNREACHABLE as error:
            self.say(f"the database doesn't answer: {error}")
            return True
        self.say("")
        if job is None:
            _log.warning("job_lost", job=self.job.id, fence=self.job.fence)
            return False
        self.job = job
        return True

    async def _has_news(self) -> bool:
        try:
            return await asyncio.to_thread(self._marks.look)
        except OSError as error:
            self.say(f"{self.folder.path} can't be read: {error}")
            return False

    async def _carry_out_wish(self) -> None:
        wish, asked = self.job.wish, self.job.wish_at
        if wish is None or asked is None:
            return
        waited = self._now - asked
        stop_s, term_s = self.patience.stop_s, self.patience.term_s
        if wish == "pause":
            stop_s = term_s = self.patience.pause_s
        # Once more from time to time: what was said before the child could hear is refused by it.
        if self._is_first(wish, -int(waited // self.patience.stop_s)):
            await self._tell_to_stop(wish)
        if waited >= stop_s and self._is_first(wish, 1):
            self.child.signal(signal.SIGTERM)
        if waited >= stop_s + term_s and self._is_first(wish, 2):
            self.child.signal(signal.SIGKILL)

    def _is_first(self, wish: str, stage: int) -> bool:
        if (wish, stage) in self._sent:
            return False
        self._sent.add((wish, stage))
        _log.info(
            "job_asked", job=self.job.id, wish=wish, stage=("stop", "term", "kill")[max(stage, 0)]
        )
        return True

    async def _tell_to_stop(self, wish: str) -> None:
        try:
            await asyncio.to_thread(send, self._control, "stop", by=f"{wish} of the job")
        except (TuneError, OSError) as error:
            _log.warning("job_control", job=self.job.id, error=str(error))
            self.child.signal(signal.SIGTERM)

    async def _end_hung(self) -> None:
        """Has a child that said nothing for too long show where it is, and kills it."""
        self._hung = True
        _log.warning("job_hung", job=self.job.id, seconds=self.patience.hang_s)
        if catches(self.child.process, signal.SIGUSR1):
            self.child.signal(signal.SIGUSR1)
            await asyncio.sleep(min(2.0, self.patience.term_s))
        self.child.signal(signal.SIGKILL)

    async def _record_end(self) -> None:
        await self._has_news()  # its last words
        progress = self._marks.progress
        seen = await self._surely(lambda: self.queue.beat(self.job, progress=progress))
        self.job = seen or self.job
        try:
            result = await self._surely(lambda: asyncio.to_thread(read_result, self.folder))
        except TuneError as error:
            await self._put_back(error.code, str(error))
            return
        if result is None:
            await self._record_death()
        elif result.status == "stopped" and not (self.job.wish or self._marks.was_told_to_stop):
            said = "It was stopped by a signal, with a checkpoint."
            await self._put_back("PREEMPTED", said)
        else:
            _log.info("job_ended", job=self.job.id, status=result.status, code=result.code)
            await self._finish(result.status, result.code, result.message)

    async def _record_death(self) -> None:
        code, message = "DIED", f"Its process {_how(self.child.exit_code)} without a result."
        is_killed = self.child.exit_code in (None, -signal.SIGKILL)
        if self._hung:
            code = "HUNG"
            message = f"It said nothing for {self.patience.hang_s:.0f} seconds and was killed."
        elif is_killed and oom_kills() > self._kills_before:
            code, message = (
                "OOM_HOST",
                (
                    "The system ended its process because memory ran out. Choose a smaller batch, "
                    "shorter rows or a smaller model."
                ),
            )
        _log.warning("job_died", job=self.job.id, code=code, exit_code=self.child.exit_code)
        # The same again would end the same: once for a hang may be chance, memory never is.
        if code == "OOM_HOST" or (code == "HUNG" and self.job.code == "HUNG"):
            await self._finish("failed", code, message)
        else:
            await self._put_back(code, message)

    async def _finish(self, state: str, code: str, message: str) -> None:
        await self._surely(lambda: self.queue.finish(self.job, state, code=code, message=message))

    async def _put_back(self, code: str, message: str) -> None:
        await self._surely(lambda: self.queue.died(self.job, code=code, message=message))

    async def _surely(self, act: Callable[[], Awaitable[_T]]) -> _T:
        """What `act` gives, tried until the database and the disk answer."""
        while True:
            try:
                value = await act()
            except UNREACHABLE as error:
                self.say(f"the end of job {self.job.id} can't be recorded yet: {error}")
                await asyncio.sleep(self.patience.retry_s)
            else:
                self.say("")
                return value


def _how(exit_code: int | None) -> str:
    if exit_code is None:
        return "ended"
    if exit_code < 0:
        return f"was ended by signal {-exit_code}"
    return f"ended with exit code {exit_code}"

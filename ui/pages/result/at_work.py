"""What a job that writes in a run does now: its stage, how far it is, and whether it failed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from nicegui import ui

from ...api.asking import Asking
from ...api.jobs import find, folder_of_job, result_of
from ...api.run_rows import job_on_run
from ...jobs.job import Job
from ...jobs.tail import Tail
from ...words import export as words
from ..visit import Visit
from ..widgets import card, note, show_share


@dataclass
class ExportState:
    """How far an export is, by its job's events.

    Attributes:
        stage: Which of `words.STAGES` it is at.
        share: How much of that stage is done; None where it can't be told.
        has_ended: Whether it has said its last word.
    """

    stage: int = 0
    share: float | None = None
    has_ended: bool = False

    def hear(self, kind: str, said: Mapping[str, Any]) -> None:
        """Takes in one event; of kinds that say nothing about it, nothing."""
        if kind == "run_started":  # also after a job that died
            self.stage, self.share, self.has_ended = 0, None, False
        elif kind == "progress" and said.get("stage") == "export":
            self.stage = 1
            self.share = said["done"] / said["total"] if said.get("total") else None
        elif kind == "note":  # an export has only one: that its files are checked now
            self.stage, self.share = 2, None
        elif kind == "run_ended":
            self.has_ended = True


class AtWork:
    """The part of the page that tells of the job, where the page is built now.

    Args:
        visit: The open page.
        run_id: The run.
    """

    def __init__(self, visit: Visit, run_id: str) -> None:
        self._visit, self._run_id = visit, run_id
        self._job: Job | None = None
        self._tail: Tail | None = None
        self._state = ExportState()
        self._failed = ui.column().classes("w-full")
        self._failed.set_visibility(False)
        with card(words.AT_WORK) as self._card:
            self._stage = ui.label().props("role=status").mark("at-work")
            self._bar = ui.linear_progress(show_value=False, size="0.75rem").props("rounded")
            self._bar.props(f'aria-label="{words.AT_WORK}"')
            self._time = ui.label().classes("gkt-note")
            ui.label(words.MAY_LEAVE).classes("gkt-soft max-w-prose")
        self._card.set_visibility(False)

    async def look(self, asked: Asking) -> bool:
        """Shows how the job stands now; whether there is one."""
        job, before = await job_on_run(asked.rows, self._run_id), self._job
        if (job and job.id) != (before and before.id):
            await self._change(asked, before, job)
        self._job = job
        if job is not None and self._tail is not None:
            for line in await asyncio.to_thread(self._tail.read):
                self._state.hear(line.kind, line.fields)
            self._show(job)
        # What has said its last word is only put away: there is nothing to wait for any more.
        self._card.set_visibility(job is not None and not self._state.has_ended)
        return job is not None

    @property
    def is_shown(self) -> bool:
        """Whether the page tells of a job now."""
        return self._card.visible

    async def _change(self, asked: Asking, before: Job | None, job: Job | None) -> None:
        """Another job is the first one now, or none."""
        if job is not None:
            self._tail, self._state = Tail(folder_of_job(asked, job.id).events), ExportState()
            self._failed.clear()
            self._failed.set_visibility(False)
        if before is not None:
            await self._tell_failure(asked, before.id)

    def _show(self, job: Job) -> None:
        self._stage.text = _stage_of(job, self._state)
        show_share(self._bar, self._state.share if job.kind == "export" else None)
        self._bar.set_visibility(job.state != "paused")
        self._time.set_visibility(job.started_at is not None)
        if job.started_at is not None:
            seconds = (datetime.now(UTC) - job.started_at).total_seconds()
            self._time.text = words.SINCE.format(time=self._visit.reader.duration(seconds))

    async def _tell_failure(self, asked: Asking, job_id: str) -> None:
        result = await result_of(asked, await find(asked, job_id))
        if result is not None and result.status == "failed":
            self._failed.set_visibility(True)
            with self._failed:
                text = words.EXPORT_FAILED.format(why=self._visit.without_paths(result.message))
                note(text, kind="bad")


def _stage_of(job: Job, state: ExportState) -> str:
    if job.state in words.WAITING:
        return words.WAITING[job.state]
    if job.kind != "export":
        return words.OTHER_WORK[job.kind]
    number, total = state.stage + 1, len(words.STAGES)
    return words.STAGE.format(number=number, total=total, stage=words.STAGES[state.stage])

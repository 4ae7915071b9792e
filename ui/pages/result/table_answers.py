"""What became of the tables that a run was given: the one at work, and those with answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from ...api.answered import answering_jobs, table_name
from ...api.asking import Asking
from ...api.job_views import ResultView
from ...api.jobs import cancel_job, folder_of_job, result_of
from ...identity.access import Action
from ...jobs.job import Job
from ...jobs.tail import Tail
from ...words import table as words
from ..tables import Cell, Chip, Column, Line, LinesTable, Link, shortened
from ..visit import Visit
from ..widgets import card, confirm, heading, note, primary, secondary, show_share

_LOOK_S = 1.0
_MOST = 10  # tables that are listed
_LONGEST = 300  # characters of a text in a cell
_STAGE = "answering"  # as the job's progress calls it


class TableAnswers:
    """The part of the page that is about tables which were started.

    Args:
        visit: The open page.
        run_id: The run.
        is_labelled: Whether its answers are labels.
    """

    def __init__(self, visit: Visit, run_id: str, *, is_labelled: bool) -> None:
        self._visit, self._run_id, self._is_labelled = visit, run_id, is_labelled
        self._looking = asyncio.Lock()
        self._job: Job | None = None
        self._tail: Tail | None = None
        self._shown: object = None
        with card() as self._work:
            self._title = heading("", level=2)
            self._stage = ui.label().props("role=status").mark("stage")
            self._bar = ui.linear_progress(show_value=False, size="0.75rem").props("rounded")
            self._bar.props(f'aria-label="{words.TITLE}"')
            self._left = ui.label().classes("gkt-note")
            ui.label(words.MAY_LEAVE).classes("gkt-soft max-w-prose")
            if visit.may(Action.CANCEL_JOB):
                secondary(words.CANCEL, visit.tells(self._cancel), icon="stop").mark("stop")
        self._work.set_visibility(False)
        self._results = ui.column().classes("w-full gap-6")

    async def start(self) -> None:
        """Shows what there is, and what comes."""
        await self.look()
        ui.timer(_LOOK_S, self._visit.tells(self.look))

    async def look(self) -> None:
        """Shows how it stands now."""
        async with self._looking:
            asked = await self._visit.asked_now(Action.VIEW_JOBS)
            found = await answering_jobs(asked, self._run_id, limit=_MOST)
            working = [job for job in found if not job.has_ended]
            await self._show_work(asked, working[-1] if working else None)
            now = [(job.id, job.state) for job in found]
            if now != self._shown:
                self._shown = now
                await self._show_results(asked, [job for job in found if job.has_ended])

    async def _show_work(self, asked: Asking, job: Job | None) -> None:
        """The table that is answered now, or the next one."""
        self._work.set_visibility(job is not None)
        if job is None:
            self._job = None
            return
        if self._job is None or self._job.id != job.id:
            self._tail = Tail(folder_of_job(asked, job.id).events)
            self._title.text = words.AT_WORK.format(name=await table_name(asked, job))
            self._progress(words.WAITING, None, "")
        self._job = job
        if job.state == "queued" or self._tail is None:
            return
        if self._stage.text == words.WAITING:
            self._progress(words.LOADING, None, "")
        for line in await asyncio.to_thread(self._tail.read):
            if line.kind == "progress" and line.fields["stage"] == _STAGE:
                self._hear(line.fields)

    def _hear(self, said: Mapping[str, Any]) -> None:
        number = self._visit.reader.number
        done, total, seconds = said["done"], said["total"], said.get("seconds_left")
        left = ""
        if seconds is not None and seconds >= 1:
            left = words.LEFT.format(time=self._visit.reader.duration(seconds))
        text = words.ANSWERING.format(done=number(done), total=number(total))
        self._progress(text, done / total if total else None, left)

    def _progress(self, stage: str, share: float | None, left: str) -> None:
        self._stage.text, self._left.text = stage, left
        show_share(self._bar, share)

    async def _cancel(self) -> None:
        if self._job is not None and await confirm(
            words.CANCEL_TITLE, words.CANCEL_TEXT, yes=words.CANCEL, destroys=True
        ):
            await cancel_job(self._visit.asked(Action.CANCEL_JOB), self._job.id)
            await self.look()

    async def _show_results(self, asked: Asking, jobs: Sequence[Job]) -> None:
        """The newest table whole, and the others that have answers by their names."""
        names = [await table_name(asked, job) for job in jobs]
        newest = await result_of(asked, jobs[0]) if jobs else None
        self._results.clear()
        with self._results:
            if newest is not None:
                term = "confidence" if self._is_labelled else ""
                with card(words.RESULT.format(name=names[0]), term=term):
                    self._result(jobs[0], newest)
            earlier = [
                Line(job.id, (self._file(job, name), self._visit.reader.time(job.ended_at)))
                for job, name in list(zip(jobs, names, strict=True))[1:]
                if job.state == "done"
            ]
            if earlier:
                with card(words.EARLIER):
                    columns = [Column(name) for name in words.EARLIER_COLUMNS]
                    LinesTable(words.EARLIER, columns).show(earlier)

    def _file(self, job: Job, name: str) -> Cell:
        return Link(name, _file_of(job)) if self._visit.may(Action.DOWNLOAD) else name

    def _result(self, job: Job, result: ResultView) -> None:
        if job.state == "cancelled" or result.status == "stopped":
            note(words.STOPPED)
            return
        if result.status != "done":
            note(words.FAILED.format(why=self._visit.without_paths(result.message)), kind="bad")
            return
        value: Mapping[str, Any] = result.value
        self._say(value)
        if self._visit.may(Action.DOWNLOAD):
            button = primary(words.DOWNLOAD, icon="download").mark("download")
            button.props(f'href="{_file_of(job)}" download')
        if value["counts"]:
            self._counts(value)
        self._first(value["first"])

    def _say(self, value: Mapping[str, Any]) -> None:
        number = self._visit.reader.number
        rows, answered = number(value["rows"]), number(value["answered"])
        lines = [words.ANSWERED.format(answered=answered, rows=rows)]
        if value["not_answered"]:
            reasons: dict[str, int] = {}
            for one in value["not_answered"]:
                reason = words.REASONS.get(one["code"], words.OTHER_REASON)
                reasons[reason] = reasons.get(reason, 0) + one["rows"]
            lines += [
                words.NOT_ANSWERED.format(count=number(count), reason=reason)
                for reason, count in reasons.items()
            ]
            lines.append(words.IN_THE_FILE.format(column=value["columns"][-1]))
        if value.get("doubtful"):  # those of older versions don't say it
            count, column = number(value["doubtful"]), value["columns"][-2]
            lines.append(words.DOUBTFUL.format(count=count, column=column))
        for key, text in (
            ("shortened", words.SHORTENED),
            ("cut_off", words.CUT_OFF),
            ("guarded", words.GUARDED),
        ):
            if value[key]:
                lines.append(text.format(count=number(value[key])))
        kind = "warning" if value["not_answered"] else "good"
        note("\n".join(lines), kind=kind).mark("answered")

    def _counts(self, value: Mapping[str, Any]) -> None:
        reader = self._visit.reader
        heading(words.COUNTS, level=3)
        first, *others = words.COUNT_COLUMNS
        columns = [Column(first), *(Column(name, right=True) for name in others)]
        LinesTable(words.COUNTS, columns).show(
            [
                Line(
                    one["answer"],
                    (
                        one["answer"],
                        reader.number(one["rows"]),
                        reader.percent(one["rows"] / value["answered"]),
                    ),
                )
                for one in value["counts"]
            ]
        )

    def _first(self, rows: Sequence[Mapping[str, Any]]) -> None:
        heading(words.FIRST, level=3)
        names = words.FIRST_COLUMNS if self._is_labelled else words.FIRST_COLUMNS_TEXT
        LinesTable(words.FIRST, [Column(name) for name in names]).show(
            [Line(str(one["row"]), self._cells(one)) for one in rows]
        )

    def _cells(self, one: Mapping[str, Any]) -> tuple[Cell, ...]:
        reader, answer = self._visit.reader, shortened(one["answer"], _LONGEST)
        sure = (self._confidence(one),) if self._is_labelled else ()
        return (
            reader.number(one["row"]),
            shortened(one["asked"], _LONGEST),
            answer,
            *sure,
            one["remark"],
        )

    def _confidence(self, one: Mapping[str, Any]) -> Cell:
        share = self._visit.reader.percent(one["confidence"])
        if one.get("is_doubtful"):
            return Chip(words.DOUBTFUL_ONE.format(confidence=share), "warning")
        return share


def _file_of(job: Job) -> str:
    return f"/api/v1/jobs/{job.id}/table"

"""Jobs: submit one, see how it stands and what came of it, cancel, pause and resume it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from starlette.responses import StreamingResponse

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.job_folder import JobFolder, Result, read_result
from gemma_keras_tune.recipe import Recipe

from ..identity.access import Action
from ..identity.refusals import NotFound, not_found
from ..jobs.job import Job, job_of
from ..store.tables import jobs
from .asking import Ask, Asking, to
from .job_args import real_args
from .job_views import JobView, JobWhole, Kind, NewJob, Priority, ResultView
from .naming import Names, Shown
from .pages import ONLY_KNOWN, Limit, Listed, Offset, Sort, order
from .problems import PREFIX, REFUSALS
from .recipes_given import check_recipe
from .streams import STREAM, After, Follow, LastEventId, Stream, View, event_stream
from .submitting import Wanted, submit
from .text_files import TAIL_BYTES, log_tail

router = APIRouter(prefix=f"{PREFIX}/jobs", tags=["jobs"], responses={**REFUSALS})

JobId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", examples=["5f0c…"])]
Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=r"^[!-~]{1,80}$",
        description="Sent again with the same work it gives the same job, and never a second one.",
    ),
]
May = Annotated[Asking, Depends(to(Action.VIEW_JOBS))]

SUBMITS: Mapping[str, Action] = {
    "data": Action.SUBMIT_DATA,
    "plan": Action.SUBMIT_PLAN,
    "train": Action.SUBMIT_TRAIN,
    "evaluate": Action.SUBMIT_EVALUATE,
    "answer": Action.SUBMIT_GENERATE,
    "generate": Action.SUBMIT_GENERATE,
    "export": Action.SUBMIT_EXPORT,
}
"""Which action it is to submit each kind of job."""


@router.post(
    "",
    status_code=201,
    responses={200: {"model": JobWhole, "description": "The same job as before, by its key."}},
)
async def submit_job(asked: Ask, new: NewJob, response: Response, key: Key = None) -> JobWhole:
    """Submits a job, which waits for its turn."""
    asked.authorize(SUBMITS[new.kind])
    if new.priority > 0:
        asked.authorize(Action.RANK_JOBS)
    names = Names(asked.rows, asked.root)
    recipe: Recipe | None = None
    if new.recipe is not None:
        settings = new.recipe.settings(Shown(asked.root))
        recipe = (await check_recipe(settings, names)).real
    wanted = Wanted(
        kind=new.kind,
        run=new.run,
        args=await real_args(new.kind, new.args, names),
        recipe=recipe,
        key=key,
        priority=new.priority,
    )
    job, is_new = await submit(asked, wanted)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"{PREFIX}/jobs/{job.id}"
    return whole(job, asked)


@router.get("", dependencies=ONLY_KNOWN)
async def list_jobs(
    asked: May,
    limit: Limit = 50,
    offset: Offset = 0,
    sort: Sort = "-number",
    state: Annotated[str | None, Query(max_length=12)] = None,
    kind: Kind | None = None,
    run: Annotated[str | None, Query(max_length=120)] = None,
    user_id: Annotated[str | None, Query(max_length=32)] = None,
) -> Listed[JobView]:
    """Lists the workspace's jobs, the newest first."""
    wanted = {"state": state, "kind": kind, "run_id": run, "user_id": user_id}
    field, descending = order(sort)
    rows, total = await asked.rows.page(
        jobs,
        sort=field,
        descending=descending,
        filters={name: value for name, value in wanted.items() if value is not None},
        limit=limit,
        offset=offset,
    )
    shown = Shown(asked.root)
    return Listed(items=[JobView(**_plain(job_of(row), shown)) for row in rows], total=total)


@router.get("/{job_id}")
async def get_job(asked: May, job_id: JobId) -> JobWhole:
    """Tells how it stands with a job."""
    return whole(await find(asked, job_id), asked)


@router.post("/{job_id}/cancel")
async def cancel_job(
    asked: Annotated[Asking, Depends(to(Action.CANCEL_JOB))], job_id: JobId
) -> JobWhole:
    """Cancels a job: at once if it waits, else it is told to stop, and in the end killed."""
    return await _ask(asked, job_id, "cancel")


@router.post("/{job_id}/pause")
async def pause_job(
    asked: Annotated[Asking, Depends(to(Action.PAUSE_JOB))], job_id: JobId
) -> JobWhole:
    """Stops a training with a checkpoint, and frees its device, until it is resumed."""
    return await _ask(asked, job_id, "pause")


@router.post("/{job_id}/resume")
async def resume_job(
    asked: Annotated[Asking, Depends(to(Action.RESUME_JOB))], job_id: JobId
) -> JobWhole:
    """Puts a paused job, or one in quarantine, into the queue again."""
    found = await asked.parts.queue.resume(job_id, workspace_id=asked.principal.workspace_id)
    if found is None:
        raise not_found("The job")
    await asked.note("job.resumed", job_id)
    return whole(found, asked)


@router.post("/{job_id}/priority")
async def rank_job(
    asked: Annotated[Asking, Depends(to(Action.RANK_JOBS))], job_id: JobId, new: Priority
) -> JobWhole:
    """Changes the priority of a job that waits."""
    await find(asked, job_id)
    waits = (jobs.c.id == job_id) & jobs.c.state.in_(("queued", "paused"))
    if not await asked.rows.update(jobs, waits, priority=new.priority):
        raise TuneError(
            "The job doesn't wait any more, so its priority means nothing.", code="JOB_NOT_QUEUED"
        )
    await asked.note("job.ranked", job_id, priority=new.priority)
    asked.parts.queue.on_change()
    return whole(await find(asked, job_id), asked)


@router.get("/{job_id}/result")
async def job_result(asked: May, job_id: JobId) -> ResultView:
    """Gives what came of a job that has ended."""
    job = await find(asked, job_id)
    result = await result_of(asked, job)
    if result is None:
        raise TuneError(
            f"The job is {job.state} and has no result yet. Follow its events, or ask again later.",
            code="JOB_NOT_ENDED",
        )
    return result


@router.get("/{job_id}/log", response_class=Response, responses={200: TAIL_BYTES})
async def job_log(
    asked: Annotated[Asking, Depends(to(Action.DOWNLOAD))], job_id: JobId
) -> Response:
    """Gives the end of what a job's process wrote, as a text file."""
    await find(asked, job_id)
    folder = folder_of_job(asked, job_id)
    return await log_tail(folder.log, Shown(asked.root), name=f"job-{job_id}.txt")


@router.get("/{job_id}/events", response_class=StreamingResponse, responses={**STREAM})
async def job_events(
    asked: Annotated[Asking, Depends(to(Action.VIEW_EVENTS))],
    job_id: JobId,
    after: After = 0,
    follow: Follow = True,
    view: View = "resolved",
    last_event_id: LastEventId = None,
) -> Response:
    """Streams a job's events; of a training, its run's events say more."""
    await find(asked, job_id)

    async def is_over() -> bool:
        return (await find(asked, job_id)).has_ended

    stream = Stream(
        path=folder_of_job(asked, job_id).events,
        after=after if last_event_id is None else last_event_id,
        follow=follow,
        view=view,
        is_over=is_over,
        is_reconnect=last_event_id is not None,
    )
    return await event_stream(asked, stream)


async def find(asked: Asking, job_id: str) -> Job:
    """The job, if it is the open workspace's.

    Raises:
        NotFound: If not.
    """
    try:
        return job_of(await asked.rows.one(jobs, job_id))
    except NotFound:
        raise not_found("The job") from None


async def result_of(asked: Asking, job: Job) -> ResultView | None:
    """What came of a job; None before its end."""
    if not job.has_ended and job.state != "paused":
        return None
    found: Result | None = await asyncio.to_thread(read_result, folder_of_job(asked, job.id))
    shown = Shown(asked.root)
    if found is not None:
        value = shown.value(found.value)
        return ResultView(
            status=found.status, code=found.code, message=shown.text(found.message), value=value
        )
    if job.state in ("failed", "quarantined", "cancelled"):
        message = job.message or f"The job was {job.state}."
        code = job.code or job.state.upper()
        return ResultView(status="failed", code=code, message=shown.text(message), value={})
    return None


def folder_of_job(asked: Asking, job_id: str) -> JobFolder:
    """Where a job's files are."""
    return JobFolder(asked.root / "jobs" / job_id)


def whole(job: Job, asked: Asking) -> JobWhole:
    """A job as the API shows it."""
    shown = Shown(asked.root)
    return JobWhole(**_plain(job, shown), args=shown.value(dict(job.args)))


def _plain(job: Job, shown: Shown) -> dict[str, Any]:
    names = JobView.model_fields.keys() - {"run", "message"}
    values = {name: getattr(job, name) for name in names}
    message = None if job.message is None else shown.text(job.message)
    return values | {"run": job.run_id, "message": message}


async def _ask(asked: Asking, job_id: str, wish: str) -> JobWhole:
    found = await asked.parts.queue.ask(job_id, wish, workspace_id=asked.principal.workspace_id)
    if found is None:
        raise not_found("The job")
    await asked.note(f"job.{wish}", job_id)
    return whole(found, asked)

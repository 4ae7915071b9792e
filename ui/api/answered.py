"""Tables that a run has answered: the jobs, what people call the tables, and the files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import FileResponse, Response

from ..gate.downloads import download, file_in
from ..gate.upload_files import DATA_SUFFIXES
from ..identity.access import Action
from ..identity.refusals import not_found
from ..jobs.job import Job, job_of
from ..store.tables import datasets, jobs
from .artifacts import FILE
from .asking import Asking, to
from .jobs import JobId, find, folder_of_job
from .naming import Shown
from .problems import PREFIX, REFUSALS

router = APIRouter(prefix=f"{PREFIX}/jobs", tags=["jobs"], responses={**REFUSALS})

_KIND = "answer"


@router.get("/{job_id}/table", response_class=FileResponse, responses={**FILE})
async def download_table(
    asked: Annotated[Asking, Depends(to(Action.DOWNLOAD))], job_id: JobId
) -> Response:
    """Downloads the table that a job of the kind `answer` has answered."""
    job = await find(asked, job_id)
    if job.kind != _KIND or job.state != "done":
        raise not_found("The table")
    folder = folder_of_job(asked, job_id)
    name = folder.answers(str(job.args["data"])).name
    path = await asyncio.to_thread(file_in, folder.path, name, allowed=[name])
    table = Path(await table_name(asked, job))
    title = table.stem if table.suffix.lower() in DATA_SUFFIXES else table.name
    return download(path, name=f"{title} {path.name}")


async def answering_jobs(asked: Asking, run_id: str, *, limit: int) -> list[Job]:
    """The newest jobs that answer a table with the run, the newest first."""
    of_run = (jobs.c.run_id == run_id) & (jobs.c.kind == _KIND)
    rows = await asked.rows.select(jobs, of_run, order_by=[jobs.c.number.desc()], limit=limit)
    return [job_of(row) for row in rows]


async def table_name(asked: Asking, job: Job) -> str:
    """What people call the table that the job answers, also one that was deleted meanwhile."""
    kind, _, rest = Shown(asked.root).text(str(job.args["data"])).partition(":")
    if kind != "dataset":
        return rest
    found = await asked.rows.select(datasets, datasets.c.id == rest, limit=1)
    return str(found[0]["name"]) if found else rest

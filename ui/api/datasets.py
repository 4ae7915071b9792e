"""Data sets: made of uploads, looked at by jobs, and deleted into the trash."""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from sqlalchemy.engine import RowMapping

from gemma_keras_tune.durable import fsync_folder, rename
from gemma_keras_tune.errors import TuneError

from ..gate.names import display_name
from ..identity.access import Action
from ..identity.refusals import NotFound, not_found
from ..jobs.job import Job
from ..store.tables import UNFINISHED, datasets, jobs
from ..store.workspace import MOST_ROWS, WorkspaceRows
from .asking import Asking, to
from .dataset_settings import checked_settings
from .job_args import real_args
from .job_views import JobWhole, ResultView
from .jobs import find, result_of, whole
from .naming import Names
from .pages import ONLY_KNOWN, Limit, Listed, Offset, Sort, order
from .problems import PREFIX, REFUSALS
from .submitting import Wanted, submit

router = APIRouter(prefix=f"{PREFIX}/datasets", tags=["data sets"], responses={**REFUSALS})

DatasetId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
May = Annotated[Asking, Depends(to(Action.VIEW_DATA))]
MayLook = Annotated[Asking, Depends(to(Action.SUBMIT_DATA))]
_LOOK_S = 0.1


class DatasetView(BaseModel):
    """One data set."""

    id: str
    """What to name it by: `dataset:ID` in recipes and jobs."""
    name: str
    """What people call it."""
    file_name: str
    """What its file was called."""
    size: int
    """Bytes."""
    sha256: str
    """Of the file."""
    user_id: str
    """Who uploaded it."""
    created_at: datetime
    """When."""
    settings: dict[str, JsonValue] | None
    """What was said of it, as a recipe's section `data` without paths; null: nothing yet."""


class NewDataset(BaseModel):
    """An upload of which all pieces are here."""

    model_config = ConfigDict(extra="forbid")

    upload: str = Field(pattern="^[0-9a-f]{32}$")
    """The upload's id."""
    name: str | None = Field(default=None, min_length=1, max_length=80)
    """What to call it; without it, as its file."""


class DatasetChanges(BaseModel):
    """What to change of a data set; what is left out stays."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"settings": {"task": "classification", "columns": {"text": "message"}}}]
        },
    )

    name: str | None = Field(default=None, min_length=1, max_length=80)
    """What to call it."""
    settings: dict[str, JsonValue] | None = None
    """What it is, in the place of all that was said before: a recipe's section `data` without
    paths."""


class Look(BaseModel):
    """How to look at a data set."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"data": {"task": "classification"}, "rows": 10}]},
    )

    data: dict[str, JsonValue] = {}
    """What is known of the recipe's section `data`; the rest is guessed."""
    model: str | None = Field(default=None, min_length=1, max_length=300)
    """Whose tokens to count."""
    rows: int = Field(default=20, ge=1, le=1000)
    """How many rows to show."""
    offset: int = Field(default=0, ge=0, le=100_000_000)
    """How many rows to leave out first."""
    lines: list[Annotated[int, Field(ge=1, le=100_000_000)]] = Field(default=[], max_length=1000)
    """Show only the rows at these lines of the file."""
    wait_s: float = Field(default=5.0, ge=0, le=10)
    """How long to wait for the answer, in seconds; what takes longer is answered as a job."""


@router.get("", dependencies=ONLY_KNOWN)
async def list_datasets(
    asked: May,
    limit: Limit = 50,
    offset: Offset = 0,
    sort: Sort = "-created_at",
    name: Annotated[str | None, Query(max_length=80)] = None,
    user_id: Annotated[str | None, Query(max_length=32)] = None,
) -> Listed[DatasetView]:
    """Lists the workspace's data sets, the newest first."""
    wanted = {"name": name, "user_id": user_id}
    field, descending = order(sort)
    rows, total = await asked.rows.page(
        datasets,
        datasets.c.deleted_at.is_(None),
        sort=field,
        descending=descending,
        filters={key: value for key, value in wanted.items() if value is not None},
        limit=limit,
        offset=offset,
    )
    return Listed(items=[_view(row) for row in rows], total=total)


@router.post("", status_code=201)
async def create_dataset(
    asked: Annotated[Asking, Depends(to(Action.CREATE_DATASET))], new: NewDataset
) -> DatasetView:
    """Makes a data set of a finished upload; one with the same bytes is given back instead."""
    finished = await asked.parts.uploads.finish(asked.principal, new.upload)
    if finished.purpose != "dataset":
        raise TuneError(
            "The upload was declared as a model; it is named as model:ID and is no data set.",
            code="UPLOAD_PURPOSE",
        )
    if new.name is not None and not finished.is_duplicate:
        this = datasets.c.id == finished.id
        await asked.rows.update(datasets, this, name=display_name(new.name)[:80])
    await asked.note("dataset.created", finished.id, upload=new.upload, sha256=finished.sha256)
    return _view(await _row(asked, finished.id))


@router.get("/{dataset_id}")
async def get_dataset(asked: May, dataset_id: DatasetId) -> DatasetView:
    """Gives one data set."""
    return _view(await _row(asked, dataset_id))


@router.patch("/{dataset_id}")
async def change_dataset(
    asked: Annotated[Asking, Depends(to(Action.CHANGE_DATA))],
    dataset_id: DatasetId,
    changes: DatasetChanges,
) -> DatasetView:
    """Renames a data set, or says what its columns are and how it is split."""
    await _row(asked, dataset_id)
    values: dict[str, Any] = {}
    if changes.name is not None:
        values["name"] = display_name(changes.name)[:80]
    if changes.settings is not None:
        values["settings"] = checked_settings(changes.settings)
    if values:
        await asked.rows.update(datasets, datasets.c.id == dataset_id, **values)
        await asked.note("dataset.changed", dataset_id, changed=sorted(values))
    return _view(await _row(asked, dataset_id))


@router.delete("/{dataset_id}", status_code=204)
async def delete_dataset(
    asked: Annotated[Asking, Depends(to(Action.DELETE_DATA))], dataset_id: DatasetId
) -> None:
    """Deletes a data set that no job needs; its file goes to the trash.

    Jobs of kind `data`, which only look at it, are cancelled.
    """
    async with asked.services.submitting:  # no job that uses it can come between
        await _row(asked, dataset_id)
        async with asked.rows.begin() as rows:
            looks = await _looks_at(rows, dataset_id)
            here = datasets.c.id == dataset_id
            await rows.update(datasets, here, deleted_at=datetime.now(UTC))
    for job_id in looks:
        await asked.parts.queue.ask(job_id, "cancel", workspace_id=asked.principal.workspace_id)
    await asyncio.to_thread(_to_trash, asked.root, dataset_id)
    await asked.note("dataset.deleted", dataset_id)


@router.post("/{dataset_id}/check", responses={202: {"model": JobWhole}})
async def check_dataset(
    asked: MayLook, dataset_id: DatasetId, look: Look, response: Response
) -> ResultView | JobWhole:
    """Gives the health report of a data set; if that takes long, the job that makes it."""
    return await _look(asked, dataset_id, "check", look, response)


@router.post("/{dataset_id}/preview", responses={202: {"model": JobWhole}})
async def preview_dataset(
    asked: MayLook, dataset_id: DatasetId, look: Look, response: Response
) -> ResultView | JobWhole:
    """Shows rows token by token, as a model would see them."""
    return await _look(asked, dataset_id, "preview", look, response)


@router.post("/{dataset_id}/columns", responses={202: {"model": JobWhole}})
async def dataset_columns(
    asked: MayLook, dataset_id: DatasetId, look: Look, response: Response
) -> ResultView | JobWhole:
    """Shows rows as a table; columns are called c0, c1, ..., and their names are values."""
    return await _look(asked, dataset_id, "columns", look, response)


async def _look(
    asked: Asking,
    dataset_id: str,
    action: Literal["check", "preview", "columns"],
    look: Look,
    response: Response,
) -> ResultView | JobWhole:
    await _row(asked, dataset_id)
    given = look.model_dump(exclude={"wait_s"}) | {"action": action}
    args = await real_args(
        "data", given | {"path": f"dataset:{dataset_id}"}, Names(asked.rows, asked.root)
    )
    job, _ = await submit(asked, Wanted(kind="data", run=None, args=args))
    ended = await _ended(asked, job, look.wait_s)
    result = None if ended is None else await result_of(asked, ended)
    response.headers["Location"] = f"{PREFIX}/jobs/{job.id}"
    if result is not None:
        return result
    response.status_code = 202
    return whole(await find(asked, job.id), asked)


async def _ended(asked: Asking, job: Job, wait_s: float) -> Job | None:
    """The job once it has ended, if that is soon enough."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_s
    while True:
        now = await find(asked, job.id)
        if now.has_ended:
            return now
        if loop.time() >= until:
            return None
        await asyncio.sleep(_LOOK_S)


async def _looks_at(rows: WorkspaceRows, dataset_id: str) -> list[str]:
    """The jobs that wait or work and only look at the data set.

    Raises:
        TuneError: `DATASET_IN_USE` if another job reads it.
    """
    looks: list[str] = []
    start = 0
    while True:
        found = await rows.select(
            jobs, jobs.c.state.in_(UNFINISHED), order_by=[jobs.c.number], offset=start
        )
        for job in found:
            if f"/datasets/{dataset_id}/" not in str(job["args"]):
                continue
            if job["kind"] != "data":
                raise TuneError(
                    f"The {job['kind']} job {job['id']} uses this data set. Cancel it, or wait for "
                    "its end.",
                    code="DATASET_IN_USE",
                )
            looks.append(job["id"])
        if len(found) < MOST_ROWS:
            return looks
        start += len(found)


def _to_trash(root: FilePath, dataset_id: str) -> None:
    folder = root / "datasets" / dataset_id
    if folder.is_dir():
        trash = root / "trash" / "datasets"
        trash.mkdir(mode=0o700, parents=True, exist_ok=True)
        rename(folder, trash / f"{dataset_id}.{os.urandom(4).hex()}")
        fsync_folder(folder.parent)


async def _row(asked: Asking, dataset_id: str) -> RowMapping:
    try:
        return await asked.rows.one(datasets, dataset_id, datasets.c.deleted_at.is_(None))
    except NotFound:
        raise not_found("The data set") from None


def _view(row: RowMapping) -> DatasetView:
    return DatasetView(**{name: row[name] for name in DatasetView.model_fields})

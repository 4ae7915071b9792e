"""Runs: the list, one with its recipe and report, its events, and steering it while it trains."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator
from sqlalchemy.engine import RowMapping
from starlette.responses import StreamingResponse

from gemma_keras_tune.control_file import send_to
from gemma_keras_tune.errors import RecipeError, TuneError
from gemma_keras_tune.recipe_files import load_recipe
from gemma_keras_tune.run_folder import RunFolder, current_writer
from gemma_keras_tune.run_result import read_lineage, read_report

from ..identity.access import Action
from ..identity.refusals import not_found
from ..store.tables import runs
from .asking import Asking, to
from .naming import Shown
from .pages import ONLY_KNOWN, Limit, Listed, Offset, Sort
from .problems import PREFIX, REFUSALS
from .run_rows import folder_of, has_unfinished_job, job_on_run, log_of, run_row, runs_page
from .streams import STREAM, After, Follow, LastEventId, Stream, View, event_stream
from .text_files import TAIL_BYTES, log_tail

router = APIRouter(prefix=f"{PREFIX}/runs", tags=["runs"], responses={**REFUSALS})

RunId = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$")]
May = Annotated[Asking, Depends(to(Action.VIEW_RUNS))]
MayTag = Annotated[Asking, Depends(to(Action.TAG_RUN))]
MayDelete = Annotated[Asking, Depends(to(Action.DELETE_RUN))]
MaySteer = Annotated[Asking, Depends(to(Action.CONTROL_RUN))]
MayAdopt = Annotated[Asking, Depends(to(Action.ADOPT_FOLDER))]
Tag = Annotated[str, Field(min_length=1, max_length=40)]


class RunView(BaseModel):
    """One run, as the list shows it."""

    id: str
    """What to ask for it by: the name of its folder."""
    name: str
    """What people call it."""
    tags: list[str]
    """What people filed it under."""
    state: str
    """new, running, done, stopped, failed, died or missing."""
    step: int
    """Optimizer steps done."""
    total_steps: int
    """Of so many; 0 if unknown."""
    loss: float | None
    """Of the last step, in nats per answer token."""
    measured_loss: float | None
    """Of the tuned model on the held-back rows, in nats per answer token; null before that."""
    accuracy: float | None
    """Its share of right labels on the held-back rows; null where they have none."""
    size: int
    """Bytes of all its files."""
    seen_seq: int
    """The number of the last event that this is made of."""
    user_id: str | None
    """Who started it; null: somebody in a terminal."""
    created_at: datetime
    """When it was first seen."""
    changed_at: datetime
    """When anything of this last changed."""


class RunWhole(RunView):
    """One run, with what went into it."""

    recipe: dict[str, JsonValue] | None
    """Its resolved recipe; null before it has begun."""
    lineage: dict[str, JsonValue] | None
    """Hashes of data, weights and code, and the versions at work; null before training."""
    is_at_work: bool
    """Whether a process works on it now, so that it can be steered."""


class RunChanges(BaseModel):
    """What to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=80)
    """What to call it."""
    tags: list[Tag] | None = Field(default=None, max_length=20)
    """What to file it under."""

    @field_validator("name", "tags")
    @classmethod
    def _on_one_line(cls, value: Any) -> Any:
        for text in [value] if isinstance(value, str) else value or []:
            if not text.isprintable() or not text.strip():
                raise ValueError("write it on one line, with letters that can be seen")
        return value


class NewCommand(BaseModel):
    """A command to a run that is at work."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"command": "pause"},
                {"command": "set", "key": "learning_rate", "value": 1e-4},
                {"command": "sample", "value": "Is this spam?"},
            ]
        },
    )

    command: str = Field(max_length=100)
    """pause, resume, checkpoint, sample, stop or set."""
    key: str | None = Field(default=None, max_length=100)
    """What to set."""
    value: JsonValue = None
    """To what; or the prompt of a sample."""


class CommandSent(BaseModel):
    """A command that now waits for the run's next step."""

    id: str
    """The event `control_applied` or `control_refused` names it."""


class NewRunFolder(BaseModel):
    """A run's folder outside the data root."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(min_length=1, max_length=4096, pattern=r"^/[^\x00]*$")
    """Its whole path on the server."""


@router.get("", dependencies=ONLY_KNOWN)
async def list_runs(
    asked: May,
    limit: Limit = 50,
    offset: Offset = 0,
    sort: Sort = "-created_at",
    state: Annotated[str | None, Query(max_length=12)] = None,
    name: Annotated[str | None, Query(max_length=80)] = None,
    user_id: Annotated[str | None, Query(max_length=32)] = None,
    search: Annotated[str | None, Query(max_length=80, description="A part of the name.")] = None,
    tag: Annotated[str | None, Query(max_length=40)] = None,
) -> Listed[RunView]:
    """Lists the workspace's runs, the newest first."""
    rows, total = await runs_page(
        asked.rows,
        limit=limit,
        offset=offset,
        sort=sort,
        filters={"state": state, "name": name, "user_id": user_id},
        search=search,
        tag=tag,
    )
    return Listed(items=[RunView(**_plain(row)) for row in rows], total=total)


@router.post("/adopt", status_code=201)
async def adopt_run(asked: MayAdopt, new: NewRunFolder) -> RunView:
    """Lists a run's folder from outside the data root. Only for administrators of the server."""
    run_id = await asked.parts.runs.adopt(
        FilePath(new.path),
        workspace_id=asked.principal.workspace_id,
        user_id=asked.principal.user_id,
    )
    await asked.note("run.adopted", run_id, path=new.path)
    return RunView(**_plain(await run_row(asked.rows, run_id)))


@router.get("/{run_id}")
async def get_run(asked: May, run_id: RunId) -> RunWhole:
    """Gives one run with its recipe and lineage."""
    return await _whole(asked, await run_row(asked.rows, run_id))


@router.patch("/{run_id}")
async def change_run(asked: MayTag, run_id: RunId, changes: RunChanges) -> RunWhole:
    """Renames a run, or files it under other tags."""
    await run_row(asked.rows, run_id)
    values = changes.model_dump(exclude_none=True)
    if values:
        await asked.rows.update(runs, runs.c.id == run_id, **values)
        await asked.note("run.changed", run_id, **values)
    return await _whole(asked, await run_row(asked.rows, run_id))


@router.delete("/{run_id}", status_code=204)
async def delete_run(asked: MayDelete, run_id: RunId) -> None:
    """Deletes a run with all its files; of an adopted one only that it is listed."""
    await run_row(asked.rows, run_id)
    workspace_id = asked.principal.workspace_id
    job = await job_on_run(asked.rows, run_id)
    if job is not None and job.state == "paused":  # nobody works on it, nor will
        await asked.parts.queue.ask(job.id, "cancel", workspace_id=workspace_id)
    if not await asked.parts.runs.delete(run_id, workspace_id=workspace_id):
        raise not_found("The run")
    await asked.note("run.deleted", run_id)


_NOT_YET = {
    "queued": "waits for its turn; send the command once it works.",
    "paused": "is paused; resume the job first.",
}
"""What a job says that is to train the run, by its state."""


@router.post("/{run_id}/control", status_code=202)
async def control_run(asked: MaySteer, run_id: RunId, new: NewCommand) -> CommandSent:
    """Sends a command to a run that is at work; its events say when it took effect."""
    await run_row(asked.rows, run_id)
    folder, by = folder_of(asked.root, run_id), asked.principal.name
    try:
        sent = await asyncio.to_thread(
            send_to, folder, new.command, key=new.key, value=new.value, by=by
        )
    except TuneError as error:
        job = await job_on_run(asked.rows, run_id)
        if error.code != "NOT_RUNNING" or job is None or job.kind != "train":
            raise
        if job.state not in _NOT_YET:
            raise
        raise TuneError(
            f"The run's job {job.id} {_NOT_YET[job.state]} Or cancel the job.", code="NOT_RUNNING"
        ) from error
    await asked.note("run.controlled", run_id, command=new.command, setting=new.key, id=sent)
    return CommandSent(id=sent)


@router.get("/{run_id}/report")
async def get_report(asked: May, run_id: RunId) -> dict[str, JsonValue]:
    """Gives what was measured at the end, before and after."""
    await run_row(asked.rows, run_id)
    report = await asyncio.to_thread(read_report, folder_of(asked.root, run_id))
    if report is None:
        raise not_found("The report")
    found: dict[str, JsonValue] = _finite(Shown(asked.root).value(report))
    return found


@router.get("/{run_id}/log", response_class=Response, responses={200: TAIL_BYTES})
async def run_log(
    asked: Annotated[Asking, Depends(to(Action.DOWNLOAD))], run_id: RunId
) -> Response:
    """Gives the end of what the run's training wrote, as a text file."""
    await run_row(asked.rows, run_id)
    log = await log_of(asked.rows, asked.root, run_id)
    return await log_tail(log, Shown(asked.root), name=f"run-{run_id}.txt")


@router.get("/{run_id}/events", response_class=StreamingResponse, responses={**STREAM})
async def run_events(
    asked: Annotated[Asking, Depends(to(Action.VIEW_EVENTS))],
    run_id: RunId,
    after: After = 0,
    follow: Follow = True,
    view: View = "resolved",
    last_event_id: LastEventId = None,
) -> Response:
    """Streams a run's events: its history, and then what happens."""
    await run_row(asked.rows, run_id)
    folder = folder_of(asked.root, run_id)

    async def is_over() -> bool:
        if await has_unfinished_job(asked.rows, run_id):
            return False
        return await asyncio.to_thread(current_writer, folder) is None

    stream = Stream(
        path=folder.events,
        after=after if last_event_id is None else last_event_id,
        follow=follow,
        view=view,
        is_over=is_over,
        is_reconnect=last_event_id is not None,
    )
    return await event_stream(asked, stream)


async def _whole(asked: Asking, row: RowMapping) -> RunWhole:
    folder, shown = folder_of(asked.root, row["id"]), Shown(asked.root)
    recipe, lineage, holder = await asyncio.to_thread(_read, folder)
    return RunWhole(
        **_plain(row),
        recipe=_finite(shown.value(recipe)),
        lineage=_finite(shown.value(lineage)),
        is_at_work=holder is not None,
    )


def _read(folder: RunFolder) -> tuple[dict[str, Any] | None, dict[str, Any] | None, object]:
    recipe = None
    if folder.recipe_json.is_file():
        try:
            recipe = json.loads(load_recipe(folder.recipe_json).to_json())
        except RecipeError as error:
            raise TuneError(str(error), code="RUN_FILE") from error
    return recipe, read_lineage(folder), current_writer(folder)


def _plain(row: RowMapping) -> dict[str, Any]:
    return {name: row[name] for name in RunView.model_fields}


def _finite(value: Any) -> Any:
    """The same with NaN and infinities as texts, which JSON has no numbers for."""
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return value

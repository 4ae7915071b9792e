"""The runs of a workspace: their rows and their folders."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from sqlalchemy import ColumnElement, Text, cast, func
from sqlalchemy.engine import RowMapping

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.job_folder import JobFolder
from gemma_keras_tune.recipe import Recipe
from gemma_keras_tune.recipe_files import load_recipe, parse_recipe
from gemma_keras_tune.run_folder import RunFolder

from ..identity.refusals import NotFound, not_found
from ..jobs.job import WRITERS, Job, job_of
from ..store.tables import UNFINISHED, jobs, runs
from ..store.workspace import WorkspaceStore
from .pages import order

_NUMBERED = re.compile(r"-[1-9]\d?$")
_LONGEST = 60  # of a name that gets a number; a recipe takes 64


async def run_row(rows: WorkspaceStore, run_id: str) -> RowMapping:
    """The row of a run that isn't deleted.

    Raises:
        NotFound: If the workspace has no such run.
    """
    try:
        return await rows.one(runs, run_id, runs.c.deleted_at.is_(None))
    except NotFound:
        raise not_found("The run") from None


def folder_of(root: Path, run_id: str) -> RunFolder:
    """Where a run's files are, also those of an adopted one, which is linked there."""
    return RunFolder(root / "runs" / run_id)


def recipe_of(folder: RunFolder) -> Recipe | None:
    """The run's recipe; None if it has none yet, or an older or foreign one that can't be read."""
    try:
        return load_recipe(folder.recipe_json)
    except TuneError:
        return None


async def given_recipe(rows: WorkspaceStore, root: Path, run_id: str) -> Recipe:
    """The run's recipe; of a run that hasn't begun, the one that its job was given.

    Raises:
        RecipeError: If there is none, or an older or foreign one that can't be read.
    """
    file = folder_of(root, run_id).recipe_json
    if not file.is_file():
        begins = (jobs.c.run_id == run_id) & (jobs.c.kind == "train")
        found = await rows.select(jobs, begins, order_by=[jobs.c.number], limit=1)
        if found:
            return parse_recipe(job_of(found[0]).args["recipe"], where=run_id)
    return await asyncio.to_thread(load_recipe, file)


async def runs_page(
    rows: WorkspaceStore,
    *,
    limit: int,
    offset: int = 0,
    sort: str = "-created_at",
    filters: Mapping[str, str | None] | None = None,
    search: str | None = None,
    tag: str | None = None,
) -> tuple[list[RowMapping], int]:
    """A page of the workspace's runs, and how many there are in all.

    Args:
        rows: The workspace's rows.
        limit: At most so many.
        offset: How many to leave out first.
        sort: A field; with a minus before it, the greatest first.
        filters: Fields and what they must be; None: anything.
        search: A part of the name, whatever its case.
        tag: A tag that they must have.

    Raises:
        TuneError: `UNKNOWN_FIELD` or `FILTER_VALUE`.
    """
    where: list[ColumnElement[bool]] = [runs.c.deleted_at.is_(None)]
    if search:
        where.append(func.lower(runs.c.name).contains(search.lower(), autoescape=True))
    if tag:  # the list is kept as JSON text, so a tag stands in it with its quotes
        where.append(cast(runs.c.tags, Text).contains(json.dumps(tag), autoescape=True))
    field, descending = order(sort)
    return await rows.page(
        runs,
        *where,
        sort=field,
        descending=descending,
        filters={key: value for key, value in (filters or {}).items() if value is not None},
        limit=limit,
        offset=offset,
    )


async def free_name(rows: WorkspaceStore, wanted: str) -> str:
    """A name that no run of the workspace has: the wanted one, or one with a number behind it.

    Args:
        rows: The workspace's rows.
        wanted: As a recipe may name a run.
    """
    stem = _NUMBERED.sub("", wanted)
    like = runs.c.name.startswith(stem, autoescape=True)
    taken = {row["name"] for row in await rows.select(runs, runs.c.deleted_at.is_(None), like)}
    if wanted not in taken:
        return wanted
    numbered = (f"{stem[:_LONGEST]}-{number}" for number in count(2))
    return next(name for name in numbered if name not in taken)


async def has_unfinished_job(rows: WorkspaceStore, run_id: str) -> bool:
    """Whether a job on the run waits or works."""
    at_work = (jobs.c.run_id == run_id) & jobs.c.state.in_(UNFINISHED)
    return await rows.count(jobs, at_work) > 0


async def log_of(rows: WorkspaceStore, root: Path, run_id: str) -> Path:
    """Where what the run's training wrote is: the log of the job that trained it last.

    Raises:
        NotFound: If no job did, as of a run that was adopted.
    """
    trains = (jobs.c.run_id == run_id) & (jobs.c.kind == "train")
    found = await rows.select(jobs, trains, order_by=[jobs.c.number.desc()], limit=1)
    if not found:
        raise not_found("The log")
    return JobFolder(root / "jobs" / found[0]["id"]).log


async def job_on_run(rows: WorkspaceStore, run_id: str) -> Job | None:
    """The unfinished job that writes in the run, the first in the queue; None if there is none."""
    writes = (jobs.c.run_id == run_id) & jobs.c.state.in_(UNFINISHED) & jobs.c.kind.in_(WRITERS)
    found = await rows.select(jobs, writes, order_by=[jobs.c.number], limit=1)
    return job_of(found[0]) if found else None

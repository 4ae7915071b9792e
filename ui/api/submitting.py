"""Putting a job into the queue for a request, with the run that it makes and the audit line."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.recipe import Recipe
from gemma_keras_tune.recipe_files import load_recipe
from gemma_keras_tune.run_folder import RunFolder, new_run

from ..jobs.job import Job, job_of
from ..jobs.submit import check_work, insert_job
from ..store.tables import jobs, runs
from .asking import Asking
from .job_args import work_of
from .run_rows import folder_of, run_row


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A job as a request wants it, with paths in the place of names.

    Attributes:
        kind: The kind of job.
        run: The run it is about; None also for a training that begins a new one.
        args: Its arguments, without the recipe.
        recipe: What to train or to plan.
        key: Makes the request idempotent.
        priority: Among the jobs of the same person.
    """

    kind: str
    run: str | None
    args: dict[str, Any]
    recipe: Recipe | None = None
    key: str | None = None
    priority: int = 0


async def submit(asked: Asking, wanted: Wanted) -> tuple[Job, bool]:
    """The job, which waits for its turn, and whether it is new: with a key it may be the old one.

    Raises:
        NotFound: If the workspace has no such run.
        TuneError: `JOB_INVALID`, `JOB_KEY_REUSED`, `QUOTA_QUEUED_JOBS`, `QUOTA_DISK` or
            `NEEDS_SPACE`.
    """
    recipe = wanted.recipe
    if wanted.run is not None:
        row = await run_row(asked.rows, wanted.run)
        if wanted.kind == "train":
            recipe = await asyncio.to_thread(_recipe_of, folder_of(asked.root, row["id"]))
    async with asked.services.submitting:  # so that one key never makes two runs
        return await _submit(asked, wanted, recipe)


async def _submit(asked: Asking, wanted: Wanted, recipe: Recipe | None) -> tuple[Job, bool]:
    begins = wanted.kind == "train" and wanted.run is None
    old = await _job_of_key(asked, wanted.key)
    run = wanted.run or (old.run_id if begins and old is not None else None)
    made: RunFolder | None = None
    work = work_of(wanted.kind, run or ("new" if begins else None), wanted.args, recipe)
    if begins and run is None:
        if recipe is None:
            raise ValueError("a training begins with a recipe")
        made = await asyncio.to_thread(new_run, asked.root, recipe.name)
        work = work_of(wanted.kind, made.id, wanted.args, recipe)
    try:
        check_work(work, wanted.priority)
        async with asked.identity.audit.begin() as entries:
            if made is not None and recipe is not None:
                await entries.connection.execute(insert(runs).values(_new_row(asked, made, recipe)))
            job = await insert_job(
                entries.connection,
                work,
                workspace_id=asked.principal.workspace_id,
                user_id=asked.principal.user_id,
                key=wanted.key,
                priority=wanted.priority,
                defaults=asked.parts.queue.defaults,
            )
            if old is None:
                await entries.write(
                    asked.principal.workspace_id,
                    asked.principal.user_id,
                    "job.submitted",
                    job.id,
                    {"kind": job.kind, "run": job.run_id},
                    address=asked.address,
                )
    except BaseException:
        if made is not None:
            await asyncio.to_thread(made.path.rmdir)
        raise
    asked.parts.queue.on_change()
    return job, old is None


async def _job_of_key(asked: Asking, key: str | None) -> Job | None:
    """The job of an earlier request with this key."""
    if key is None:
        return None
    found = await asked.rows.select(jobs, jobs.c.key == key, limit=1)
    return job_of(found[0]) if found else None


def _new_row(asked: Asking, folder: RunFolder, recipe: Recipe) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {
        "id": folder.id,
        "workspace_id": asked.principal.workspace_id,
        "user_id": asked.principal.user_id,
        "name": recipe.name,
        "tags": [],
        "state": "new",  # as the mirror of folders says it
        "step": 0,
        "total_steps": 0,
        "seen_seq": 0,
        "size": 0,
        "created_at": now,
        "changed_at": now,
    }


def _recipe_of(folder: RunFolder) -> Recipe:
    if not folder.recipe_json.is_file():
        raise TuneError(
            f"The run {folder.id} has no recipe yet, so there is nothing to go on with. Resume its "
            "job, or start a new training.",
            code="RUN_UNTRAINED",
        )
    return load_recipe(folder.recipe_json)

"""The runs of a workspace: their rows and their folders."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import RowMapping

from gemma_keras_tune.run_folder import RunFolder

from ..identity.refusals import NotFound, not_found
from ..store.tables import UNFINISHED, jobs, runs
from ..store.workspace import WorkspaceStore


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


async def has_unfinished_job(rows: WorkspaceStore, run_id: str) -> bool:
    """Whether a job on the run waits or works."""
    at_work = (jobs.c.run_id == run_id) & jobs.c.state.in_(UNFINISHED)
    return await rows.count(jobs, at_work) > 0

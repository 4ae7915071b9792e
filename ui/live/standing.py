"""How a run stands beside what its events say: its row, its job, and whether it is at work.

One look for everybody who watches the run. Whoever watches was let in by the run's row; pages go
by the row's workspace when they show this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import func, select

from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune.writing import current_writer

from ..jobs.job import Job, job_of
from ..store.engine import Store
from ..store.tables import UNFINISHED, jobs, runs


@dataclass(frozen=True)
class Standing:
    """How a run stands.

    Attributes:
        row: Its row; empty once it is deleted.
        job: The unfinished job on it, or None.
        ahead: How many jobs wait before that one.
        is_at_work: Whether a process works on it.
    """

    row: Mapping[str, Any] = field(default_factory=dict)
    job: Job | None = None
    ahead: int = 0
    is_at_work: bool = False


async def standing_of(store: Store, folder: RunFolder) -> Standing:
    """How the run of a folder stands now.

    Raises:
        OSError: If the folder can't be read.
    """
    on_it = (jobs.c.run_id == folder.id) & jobs.c.state.in_(UNFINISHED)
    row = select(runs).where(runs.c.id == folder.id, runs.c.deleted_at.is_(None))
    job = select(jobs).where(on_it).order_by(jobs.c.number).limit(1)
    async with store.begin() as connection:
        known = (await connection.execute(row)).mappings().first()
        found = (await connection.execute(job)).mappings().first()
        ahead = 0
        if found is not None and found["state"] == "queued":
            before = (jobs.c.pool == found["pool"]) & (jobs.c.number < found["number"])
            here = jobs.c.workspace_id == found["workspace_id"]
            waiting = select(func.count()).where(jobs.c.state == "queued", before, here)
            ahead = int(await connection.scalar(waiting) or 0)
    if known is None:
        return Standing()
    holder = await asyncio.to_thread(current_writer, folder)
    return Standing(
        row=dict(known),
        job=None if found is None else job_of(found),
        ahead=ahead,
        is_at_work=holder is not None,
    )

"""What a data job finds out about a file; what was found out before isn't waited for again."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from gemma_keras_tune import __version__
from gemma_keras_tune.errors import TuneError

from ...api.asking import Asking
from ...api.job_args import real_args, work_of
from ...api.job_views import ResultView
from ...api.jobs import find, result_of
from ...api.naming import Names
from ...api.submitting import Wanted, submit
from ...identity.access import Action
from ...jobs.job import Job, job_of
from ...store.tables import jobs
from ..visit import Visit

_LOOK_S = 0.1
_ANSWERS = 2  # counted up when an action answers otherwise than before


async def look(visit: Visit, name: str, action: str, **args: Any) -> dict[str, Any]:
    """What the job found, an older one's answer if it looked at the same in the same way.

    Args:
        visit: The page.
        name: The file, as `dataset:ID` or `shipped:FILE`.
        action: What to do; `job_spec.DataArgs` has them all.
        args: The action's arguments.

    Raises:
        TuneError: Why the job failed, or that it may not be asked for.
    """
    asked = await visit.asked_now(Action.VIEW_DATA)
    names = Names(asked.rows, asked.root)
    real = await real_args("data", {"action": action, "path": name, **args}, names)
    work = work_of("data", None, real, None)
    key = _key(real)
    old = await _job_of(asked, key)
    result = None
    if old is not None and old.args_hash == work.hash:
        result = await _answer(asked, old)
    if result is None or result.status != "done":
        asked.authorize(Action.SUBMIT_DATA)
        wanted = Wanted(kind="data", run=None, args=real, key=key if old is None else None)
        job, _ = await submit(asked, wanted)
        result = await _answer(asked, job)
    if result is None or result.status != "done":
        message = result.message if result is not None else "The job has left no answer."
        raise TuneError(message, code=result.code if result is not None else "JOB_LOST")
    return dict(result.value)


def _key(args: Mapping[str, Any]) -> str:
    """The same for the same look by the same version: paths have their data set's id in them."""
    text = json.dumps([__version__, _ANSWERS, args], sort_keys=True)
    return "look-" + hashlib.sha256(text.encode()).hexdigest()


async def _job_of(asked: Asking, key: str) -> Job | None:
    found = await asked.rows.select(jobs, jobs.c.key == key, limit=1)
    return job_of(found[0]) if found else None


async def _answer(asked: Asking, job: Job) -> ResultView | None:
    """What came of a job, once it has ended."""
    while not job.has_ended:
        await asyncio.sleep(_LOOK_S)
        job = await find(asked, job.id)
    return await result_of(asked, job)

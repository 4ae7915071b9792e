"""The command `work`: which kind of process it becomes."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import TuneError
from ..job_folder import JobFolder, read_job
from ..limits import Limits
from ..run_folder import HOME_VARIABLE


def work(
    job: Path | None,
    *,
    warm: str | None,
    memory_bytes: int,
    seconds: float,
    jobs: int,
    models: list[str],
) -> int:
    """The exit code, after the job or all jobs have ended.

    Args:
        job: The one job's folder.
        warm: Which kind of jobs are taken from standard input instead.
        memory_bytes: Of a data job.
        seconds: Of a data job.
        jobs: Data jobs at once.
        models: Models whose tokenizers a warm `data` process keeps.

    Raises:
        TuneError: `WORK_USAGE`, `WORK_KIND`; or as `work.work`.
    """
    if (job is None) == (warm is None):
        raise TuneError(
            "Name either a job's folder or --warm data|plan|generate.", code="WORK_USAGE"
        )
    limit = Limits(memory_bytes=memory_bytes, seconds=seconds)
    if job is not None:
        return _one(JobFolder(job.resolve()), limit)
    if warm == "data":
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # a process that forks has one thread
        from ..work_warm import serve_data

        return serve_data(limit=limit, jobs=jobs, models=models)
    if warm == "generate":
        from ..work_warm import serve_generate

        return serve_generate()
    if warm == "plan":
        from ..work_warm import serve_plan

        return serve_plan()
    raise TuneError(f"There is no warm {warm!r}: only data, plan and generate.", code="WORK_KIND")


def _one(folder: JobFolder, limit: Limits) -> int:
    os.environ.setdefault(HOME_VARIABLE, str(folder.root))
    if _is_data(folder):
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from .. import work_data  # noqa: F401 - before the child is forked and limited
        from ..work_warm import work_limited

        return work_limited(folder.path, limit=limit)
    from ..work import work as work_on

    return work_on(folder.path)


def _is_data(folder: JobFolder) -> bool:
    try:
        return read_job(folder).kind == "data"
    except TuneError:
        return False  # which `work` tells, in a result

"""From what a request asks for to the work of a job: names become paths, and all is checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gemma_keras_tune.errors import RecipeError, TuneError
from gemma_keras_tune.job_spec import parse_job
from gemma_keras_tune.recipe import Recipe

from ..jobs.job import Work
from .naming import Names

_WHERE = "The job"


async def real_args(kind: str, args: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """The arguments with paths in the place of names.

    Args:
        kind: The kind of job.
        args: As the request has them, without a recipe.
        names: Knows the workspace's files.

    Raises:
        RecipeError: `NAME_INVALID` or `NAME_UNKNOWN`.
    """
    real = dict(args)
    if kind == "data":
        await _put_data(real, names)
    elif kind == "answer" or (kind == "evaluate" and real.get("data") is not None):
        real["data"] = await names.data("args.data", real.get("data"))
    elif kind == "generate" and real.get("model") is not None:
        real["model"] = await names.model("args.model", real["model"])
    return real


async def _put_data(real: dict[str, Any], names: Names) -> None:
    find = names.model if real.get("action") == "inspect_model" else names.data
    real["path"] = await find("args.path", real.get("path"))
    if real["path"].partition("://")[1] or not real["path"].startswith("/"):
        raise RecipeError(
            "args.path: only an uploaded model can be looked at; name it as model:ID.",
            code="NAME_INVALID",
        )
    if real.get("model") is not None:
        real["model"] = await names.model("args.model", real["model"])
    settings = real.get("data")
    if isinstance(settings, dict):
        paths = {key for key in settings if key.endswith("path") and settings[key] is not None}
        real["data"] = settings | {
            key: await names.data(f"args.data.{key}", settings[key]) for key in sorted(paths)
        }


def work_of(kind: str, run: str | None, args: Mapping[str, Any], recipe: Recipe | None) -> Work:
    """The work, checked as the job's own process will check it.

    Raises:
        TuneError: `JOB_INVALID` with all that is wrong by dotted key, or `JOB_TOO_LARGE`.
    """
    whole = dict(args)
    if recipe is not None:
        whole["recipe"] = json.loads(recipe.to_json())
    try:
        spec = parse_job({"kind": kind, "run": run, "args": whole}, where=_WHERE)
    except TuneError:
        raise
    plain = json.loads(spec.model_dump_json(by_alias=True))
    return Work(kind=kind, run=run, args=plain["args"])

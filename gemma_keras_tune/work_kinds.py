"""What each kind of job does: the functions that the command line calls, and a plain value."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from .catalogue import is_here
from .errors import TuneError
from .events import Event, Progress, Step, last_record
from .job_folder import JobFolder
from .job_spec import (
    AnswerJob,
    DataJob,
    EvaluateJob,
    ExportJob,
    GenerateJob,
    JobSpec,
    PlanJob,
    TrainJob,
)
from .recipe import ModelRecipe
from .run_folder import RunFolder
from .run_result import run_result
from .stages import OnEvent
from .writing import refuse_while_written

if TYPE_CHECKING:
    from .text.template import Template
    from .work_models import Models


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a warm process has from before.

    Attributes:
        templates: By the model's name.
        models: What is loaded; None in a process that has done nothing yet.
    """

    templates: dict[str, Template] = field(default_factory=dict)
    models: Models | None = None


@dataclass(frozen=True, kw_only=True)
class Task:
    """A job that is being done.

    Attributes:
        folder: Its folder.
        tell: Receives the events; raises `StoppedWithCheckpoint` if the job is to stop.
        stop_wanted: Whether the job was asked to stop; a run then saves a checkpoint first.
        kept: What a warm process has from before.
    """

    folder: JobFolder
    tell: OnEvent
    stop_wanted: Callable[[], bool]
    kept: Kept


def carry_out(task: Task, spec: JobSpec) -> dict[str, Any]:
    """What came of the job, as plain JSON values.

    Raises:
        TuneError: What the user can fix.
        StoppedWithCheckpoint: If it was to stop.
    """
    match spec:
        case DataJob():
            from .work_data import look_at_data

            return look_at_data(spec.args, task.kept.templates)
        case PlanJob():
            from .planning.make import plan

            args = spec.args
            template = _kept_template(args.recipe.model, task.kept)
            found = plan(args.recipe, compile=args.compile, probe=args.probe, template=template)
            return found.to_json()
        case TrainJob():
            return _train(task, spec)
        case EvaluateJob():
            return _evaluate(task, spec)
        case AnswerJob():
            return _answer(task, spec)
        case GenerateJob():
            return _generate(task, spec)
        case ExportJob():
            return _export(task, spec)
    raise ValueError(f"no work for {type(spec).__name__}")


def _kept_template(recipe: ModelRecipe, kept: Kept) -> Template | None:
    """The template of a model of the catalogue, whose files don't change, read once a process."""
    if recipe.template != "auto" or not is_here(recipe.preset):
        return None
    if recipe.preset not in kept.templates:
        from .model.load import describe_model

        kept.templates[recipe.preset] = describe_model(recipe).template
    return kept.templates[recipe.preset]


def _train(task: Task, spec: TrainJob) -> dict[str, Any]:
    """Starts the run or goes on with it; one that is done already is only read."""
    run = task.folder.run(spec)
    last = last_record(run.events) or {}
    if not (last.get("kind") == "run_ended" and last.get("status") == "done"):
        from . import pipeline

        args = spec.args
        tell = _about_run(task)
        pipeline.run(args.recipe, run.path, on_event=tell, ignore_plan=args.ignore_plan)
    return run_result(run)


def _evaluate(task: Task, spec: EvaluateJob) -> dict[str, Any]:
    from .after_training import measure_run, report_on_run

    run = _existing(task, spec)
    if spec.args.data is None:
        return {"report": report_on_run(run, tell=task.tell)}
    refuse_while_written(run)
    data, out = Path(spec.args.data), task.folder.path
    return {"report": measure_run(run, data=data, out=out, tell=task.tell).to_json()}


def _answer(task: Task, spec: AnswerJob) -> dict[str, Any]:
    from .after_training import answer_table

    run, args = _existing(task, spec), spec.args
    refuse_while_written(run)
    how = args.model_dump(include={"column", "encoding", "delimiter", "max_tokens", "doubt_below"})
    out = task.folder.answers(args.data)
    return answer_table(run.path, args.data, out, on_event=task.tell, **how).to_json()


def _generate(task: Task, spec: GenerateJob) -> dict[str, Any]:
    from .work_models import Models, answer

    run = None if spec.run is None else _existing(task, spec)
    return answer(spec.args, run, task.kept.models or Models(), tell=task.tell)


def _export(task: Task, spec: ExportJob) -> dict[str, Any]:
    from .after_training import export_run

    artifacts = export_run(_existing(task, spec), [spec.args], tell=task.tell)
    return {
        "artifacts": [
            {"format": one.format, "path": str(one.path), "parity": one.parity} for one in artifacts
        ]
    }


def _existing(task: Task, spec: JobSpec) -> RunFolder:
    run = task.folder.run(spec)
    if not run.recipe_json.is_file():
        raise TuneError(
            f"There is no run {run.id} under {run.path.parent}. Name one that is there.",
            code="RUN_NOT_FOUND",
        )
    return run


def _about_run(task: Task) -> OnEvent:
    """Passes a wish to stop on to the run, and the run's progress to the job's events.

    Progress is told twice a second at most; the run's own folder has the rest.
    """
    told: dict[str, float] = {}
    asked = False

    def pass_on(event: Event) -> None:
        nonlocal asked
        if task.stop_wanted() and not asked:
            asked = True
            signal.raise_signal(signal.SIGTERM)  # which the run has taken over from us
        if isinstance(event, Step):
            event = Progress(stage="training", done=event.step, total=event.total_steps)
        if isinstance(event, Progress):
            now = monotonic()
            if event.done < event.total and now - told.get(event.stage, -1.0) < 0.5:
                return
            told[event.stage] = now
            task.tell(event)

    return pass_on

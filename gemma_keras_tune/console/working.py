"""The commands that compute: train, resume, evaluate, export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from .. import peers
from ..errors import ExportError, RecipeError, TuneError
from ..recipe import SAME_RESULT, ExportRecipe, ModelRecipe
from ..recipe_files import load_recipe
from ..run_folder import RunFolder, slug
from ..run_result import run_result
from . import reports, running, screen, sources
from .progress import RunView

if TYPE_CHECKING:
    from ..exporters.artifact import Artifact
    from ..peers import Meeting


def train(
    source: str,
    settings: Mapping[str, Any],
    *,
    task: str | None = None,
    columns: Mapping[str, str] | None = None,
    run_dir: Path | None,
    root: Path,
    json_output: bool,
    ignore_plan: bool = False,
    meeting: Meeting | None = None,
) -> None:
    """A run from its start to its end, or this process's part in one.

    Args:
        source: A recipe or a data file.
        settings: Overrides by dotted key.
        task: Of a data file, where its columns don't tell.
        columns: Column by part of the task, for a data file.
        run_dir: The run's folder; None for a new one under `root`.
        root: The data root.
        json_output: Whether to print one JSON object instead of the report.
        ignore_plan: Whether to start a run that can't fit into memory.
        meeting: Where several processes that train together meet.

    Raises:
        TuneError: As `pipeline.run` and `peers.join`; `RUN_DIR_NEEDED`.
        typer.Exit: With 75, after a stop.
    """
    recipe = sources.named_recipe(source, settings, task=task, columns=columns)
    if meeting is not None and run_dir is None:
        raise RecipeError(
            "A run of several processes needs --run-dir: only then does the same command go on "
            "with it after a stop.",
            code="RUN_DIR_NEEDED",
        )
    if meeting is not None:
        peers.join(meeting)
    if not peers.leads():
        running.follow(recipe)
        return
    if not json_output:
        running.show_licence()
    folder, view = running.start_run(recipe, root=root, run_dir=run_dir, ignore_plan=ignore_plan)
    _show(folder, view, root=root, json_output=json_output)


def resume(
    folder: RunFolder,
    settings: Mapping[str, Any],
    *,
    root: Path,
    json_output: bool,
    ignore_plan: bool = False,
) -> None:
    """The rest of a run.

    Args:
        folder: The run's.
        settings: Overrides by dotted key, of `recipe.SAME_RESULT` only.
        root: The data root.
        json_output: Whether to print one JSON object instead of the report.
        ignore_plan: Whether to go on with a run that can't fit into memory.

    Raises:
        TuneError: As `pipeline.run`; `RESUME_SETTING` for any other setting.
        typer.Exit: With 75, after another stop.
    """
    from ..events import last_record

    _check_recipe(folder)
    others = [key for key in settings if key not in SAME_RESULT]
    if others:
        raise RecipeError(
            f"{', '.join(others)}: a run can't go on with another value, since its result would be "
            f"neither one's. What may be set here is {', '.join(SAME_RESULT)}; for anything else "
            "start a new run.",
            code="RESUME_SETTING",
        )
    recipe = load_recipe(folder.recipe_json, settings)
    last = last_record(folder.events) or {}
    if last.get("kind") == "run_ended" and last.get("status") == "done":
        screen.say(screen.err(), f"The run {folder.id} is done already.")
        view = None
    else:
        view = running.continue_run(recipe, folder, root=root, ignore_plan=ignore_plan)
    _show(folder, view, root=root, json_output=json_output)


def measure(folder: RunFolder, *, data: Path | None, out: Path | None, json_output: bool) -> None:
    """A trained run and its base model on held-back rows; the run's own report stays as it is.

    Raises:
        TuneError: If the run isn't trained, or the rows can't be used.
    """
    from ..after_training import measure_run

    _check_recipe(folder)
    running.show_licence()
    with RunView() as view:
        report = measure_run(folder, data=data, out=out, tell=view)
    values = report.to_json()
    if json_output:
        screen.print_json(values)
        return
    console = screen.out()
    reports.show_evaluation(console, values)
    reports.show_answers(console, values["samples"])
    if out is not None:
        screen.say(console, f"Written: report.md, report.json, predictions.jsonl in {out}")


def export_as(
    name: str,
    formats: Sequence[str],
    *,
    out: Path | None,
    dtype: str,
    root: Path,
    json_output: bool,
) -> None:
    """A run or a model in each of the formats, through the gate.

    Raises:
        TuneError: If something is unknown, can't be read or written, or fails the gate.
    """
    from ..after_training import export_run

    wishes = [_export_recipe(format, dtype) for format in formats]
    found = sources.named_model(name, root)
    if isinstance(found, RunFolder):
        _check_recipe(found)
    running.show_licence()
    with RunView() as view:
        if isinstance(found, RunFolder):
            artifacts = export_run(found, wishes, out=out, tell=view)
        else:
            target = out or root / "exports" / slug(Path(found.preset).name)
            artifacts = _export_model(found, wishes, target, view)
    listed = [(one.format, screen.path_name(one.path), one.parity) for one in artifacts]
    if json_output:
        keys = ("format", "path", "parity")
        screen.print_json({"artifacts": [dict(zip(keys, one, strict=True)) for one in listed]})
    else:
        reports.show_exports(screen.out(), listed)


def _show(folder: RunFolder, view: RunView | None, *, root: Path, json_output: bool) -> None:
    if json_output:
        screen.print_json(run_result(folder))
    else:
        running.show_result(folder, view, root=root)


def _check_recipe(folder: RunFolder) -> None:
    """Refuse a run that doesn't say what it is.

    Raises:
        TuneError: `RUN_NO_RECIPE`.
    """
    if not folder.recipe_json.is_file():
        raise TuneError(
            f"{screen.path_name(folder.path)} has no recipe.json, so nobody knows how to go on. "
            "Start the run again.",
            code="RUN_NO_RECIPE",
        )


def _export_model(
    recipe: ModelRecipe, wishes: Sequence[ExportRecipe], target: Path, view: RunView
) -> list[Artifact]:
    """A model that no run made, in each of the formats."""
    from ..exporters.artifact import export, refuse_stranger
    from ..model.load import load_model

    for wish in wishes:
        refuse_stranger(target / wish.format)
    model = load_model(recipe)
    return [export(model, wish.format, target, recipe=wish, on_event=view) for wish in wishes]


def _export_recipe(format: str, dtype: str) -> ExportRecipe:
    """The wish as a recipe's section.

    Raises:
        ExportError: `EXPORT_FORMAT` or `EXPORT_DTYPE`.
    """
    for key, value in (("format", format), ("dtype", dtype)):
        allowed = get_args(ExportRecipe.model_fields[key].annotation)
        if value not in allowed:
            raise ExportError(
                f"There is no export {key} {value!r}. Choose one of: {', '.join(allowed)}.",
                code=f"EXPORT_{key.upper()}",
            )
    return ExportRecipe.model_validate({"format": format, "dtype": dtype})

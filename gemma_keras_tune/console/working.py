"""The commands that compute: train, resume, evaluate, export."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from ..errors import ExportError, TuneError
from ..recipe import ExportRecipe, Recipe
from ..recipe_files import load_recipe
from ..run_folder import RunFolder, open_for_writing, slug
from . import reports, running, screen, sources
from .progress import RunView

if TYPE_CHECKING:
    from ..data.examples import Split
    from ..model.value import Model


def train(
    source: str,
    settings: Mapping[str, Any],
    *,
    task: str | None = None,
    columns: Mapping[str, str] | None = None,
    run_dir: Path | None,
    root: Path,
    json_output: bool,
) -> None:
    """A run from its start to its end.

    Args:
        source: A recipe or a data file.
        settings: Overrides by dotted key.
        task: Of a data file, where its columns don't tell.
        columns: Column by part of the task, for a data file.
        run_dir: The run's folder; None for a new one under `root`.
        root: The data root.
        json_output: Whether to print one JSON object instead of the report.

    Raises:
        TuneError: As `pipeline.run`.
        typer.Exit: With 75, after a stop.
    """
    recipe = sources.named_recipe(source, settings, task=task, columns=columns)
    if not json_output:
        running.show_licence()
    folder, view = running.start_run(recipe, root=root, run_dir=run_dir)
    _show(folder, view, root=root, json_output=json_output)


def resume(folder: RunFolder, *, root: Path, json_output: bool) -> None:
    """The rest of a run.

    Raises:
        TuneError: As `pipeline.run`.
        typer.Exit: With 75, after another stop.
    """
    from ..events import last_record

    recipe = _recipe_of(folder)
    last = last_record(folder.events) or {}
    if last.get("kind") == "run_ended" and last.get("status") == "done":
        screen.say(screen.err(), f"The run {folder.id} is done already.")
        view = None
    else:
        view = running.continue_run(recipe, folder, root=root)
    _show(folder, view, root=root, json_output=json_output)


def measure(folder: RunFolder, *, data: Path | None, out: Path | None, json_output: bool) -> None:
    """A trained run and its base model on held-back rows; the run's own report stays as it is.

    Raises:
        TuneError: If the run isn't trained, or the rows can't be used.
    """
    from ..durable import atomic_write_json, atomic_write_text
    from ..evaluation.report import evaluate

    recipe, model = _trained(folder)
    split = _rows(folder, recipe, data)
    if out is not None:
        _make_folder(out)
    with RunView() as view:
        report = evaluate(
            model,
            split,
            recipe.evaluate,
            base=model.replace(adapters=None),
            on_event=view,
            predictions_path=None if out is None else out / "predictions.jsonl",
        )
    values = report.to_json()
    if out is not None:
        atomic_write_json(out / "report.json", values)
        atomic_write_text(out / "report.md", report.to_markdown())
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
    from ..exporters.artifact import export, refuse_stranger

    wishes = [_export_recipe(format, dtype) for format in formats]
    found = sources.named_model(name, root)
    known: dict[str, Any] = {}
    with ExitStack() as stack:
        if isinstance(found, RunFolder):
            target = out or found.artifacts
            if out is None:
                stack.enter_context(open_for_writing(found))
            _, model = _trained(found)
            known["base"] = model.replace(adapters=None)
            known["report"] = running.read_report(found)
            known["lineage"] = _lineage(found)
        else:
            from ..model.load import load_model

            target = out or root / "exports" / slug(Path(found.preset).name)
            running.show_licence()
            model = load_model(found)
        for format in formats:
            refuse_stranger(target / format)
        view = stack.enter_context(RunView())
        artifacts = [
            export(model, wish.format, target, recipe=wish, on_event=view, **known)
            for wish in wishes
        ]
    listed = [(one.format, screen.path_name(one.path), one.parity) for one in artifacts]
    if json_output:
        keys = ("format", "path", "parity")
        screen.print_json({"artifacts": [dict(zip(keys, one, strict=True)) for one in listed]})
    else:
        reports.show_exports(screen.out(), listed)


def _show(folder: RunFolder, view: RunView | None, *, root: Path, json_output: bool) -> None:
    if json_output:
        screen.print_json(running.result_json(folder))
    else:
        running.show_result(folder, view, root=root)


def _recipe_of(folder: RunFolder) -> Recipe:
    if not folder.recipe_json.is_file():
        raise TuneError(
            f"{screen.path_name(folder.path)} has no recipe.json, so nobody knows how to go on. "
            "Start the run again.",
            code="RUN_NO_RECIPE",
        )
    return load_recipe(folder.recipe_json)


def _trained(folder: RunFolder) -> tuple[Recipe, Model]:
    from ..run_outputs import load_run

    _recipe_of(folder)
    running.show_licence()
    return load_run(folder.path)


def _rows(folder: RunFolder, recipe: Recipe, data: Path | None) -> Split:
    """The rows that the run held back, or all rows of a file read as the recipe says.

    Raises:
        DataError: If they can't be used.
    """
    from ..data.examples import Split, load_examples, read_examples
    from ..data.findings import raise_errors

    if data is None:
        examples = load_examples(recipe.data)
        _warn_of_changes(folder, examples.sources)
        return examples.test
    labels = recipe.data.labels or _labels(folder)
    if recipe.data.task == "classification" and not labels:
        labels = load_examples(recipe.data).labels
    found = read_examples(recipe.data, str(data.expanduser().absolute()), labels=labels)
    raise_errors(found.findings)
    return Split(
        examples=found.examples,
        task=recipe.data.task,
        labels=labels,
        max_length=recipe.data.max_length,
        too_long=recipe.data.too_long,
    )


def _labels(folder: RunFolder) -> tuple[str, ...]:
    """The labels that the run was measured with, in order; empty where there is no report."""
    report = running.read_report(folder) or {}
    return tuple(report.get("tuned", {}).get("confusion", {}).get("labels", ()))


def _warn_of_changes(folder: RunFolder, now: Mapping[str, str]) -> None:
    """Say so if the files are not those that the run was trained on."""
    then = {entry["sha256"] for entry in (_lineage(folder) or {}).get("data", [])}
    changed = [Path(path).name for path, digest in now.items() if digest not in then]
    if then and changed:
        screen.say(
            screen.err(),
            f"Warning: {', '.join(changed)} changed since the run was trained; rows that it "
            "learned from may be among those that are measured now.",
        )


def _lineage(folder: RunFolder) -> dict[str, Any] | None:
    with suppress(OSError, ValueError):
        values: dict[str, Any] = json.loads(folder.lineage_json.read_text("utf-8"))
        return values
    return None


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


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TuneError(
            f"{path} can't be made: {error}. Name another folder with --out.", code="OUT_FOLDER"
        ) from error

"""What can be done with a trained run: ask it, measure it on other rows, export it once more.

The command line and the jobs of the web app both come here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .data.examples import Split, load_examples, read_examples
from .data.findings import raise_errors
from .durable import atomic_write_json, atomic_write_text
from .errors import TuneError
from .evaluation.report import Report, evaluate
from .events import Warned
from .exporters.artifact import Artifact, export, refuse_stranger
from .exporters.consumer import need_consumer
from .recipe import ExportRecipe, Recipe
from .run_folder import RunFolder
from .run_outputs import keep_report, load_run
from .run_result import read_lineage, read_report
from .stages import OnEvent
from .writing import open_for_writing


def measure_run(folder: RunFolder, *, data: Path | None, out: Path | None, tell: OnEvent) -> Report:
    """A trained run and its base model on held-back rows; the run's own report stays as it is.

    Args:
        folder: The run's folder.
        data: A file whose rows are measured instead of those that the run held back.
        out: A folder that gets the report and every prediction.
        tell: Receives the events.

    Raises:
        TuneError: `RUN_UNTRAINED`; or if the rows can't be used, or the model not be read.
    """
    recipe, model = load_run(folder.path)
    rows = rows_to_measure(folder, recipe, data, tell=tell)
    if out is not None:
        _make_folder(out)
    report = evaluate(
        model,
        rows,
        recipe.evaluate,
        base=model.replace(adapters=None),
        on_event=tell,
        predictions_path=None if out is None else out / "predictions.jsonl",
    )
    if out is not None:
        atomic_write_text(out / "report.md", report.to_markdown())
        atomic_write_json(out / "report.json", report.to_json())
    return report


def report_on_run(folder: RunFolder, *, tell: OnEvent) -> dict[str, Any] | None:
    """The run's own report, made now if it isn't there; None where no rows were held back.

    Raises:
        TuneError: `RUN_LOCKED` while somebody else works on the run; else as `measure_run`.
    """
    with open_for_writing(folder):
        if not folder.report_json.exists():
            recipe, model = load_run(folder.path)
            rows = rows_to_measure(folder, recipe, None, tell=tell)
            keep_report(folder, recipe, model, rows, base=model.replace(adapters=None), tell=tell)
        return read_report(folder)


def rows_to_measure(
    folder: RunFolder, recipe: Recipe, data: Path | None, *, tell: OnEvent
) -> Split:
    """The rows that the run held back, or all rows of a file read as the recipe says.

    Raises:
        DataError: If they can't be used.
    """
    if data is None:
        examples = load_examples(recipe.data)
        _warn_of_changes(folder, examples.sources, tell)
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


def export_run(
    folder: RunFolder,
    wishes: Sequence[ExportRecipe],
    *,
    out: Path | None = None,
    tell: OnEvent,
) -> list[Artifact]:
    """A trained run in each of the formats, through the gate.

    Args:
        folder: The run's folder.
        wishes: One for each format.
        out: A folder that gets one folder a format; the run's own without it, and then nobody
            else may write in the run meanwhile.
        tell: Receives the events.

    Raises:
        TuneError: `RUN_UNTRAINED`, `RUN_LOCKED`; or if an artifact can't be written or fails the
            gate.
    """
    target = out or folder.artifacts
    for wish in wishes:
        need_consumer(wish.format)
        refuse_stranger(target / wish.format)
    with ExitStack() as stack:
        if out is None:
            stack.enter_context(open_for_writing(folder))
        _, model = load_run(folder.path)
        known: dict[str, Any] = {
            "base": model.replace(adapters=None),
            "report": read_report(folder),
            "lineage": read_lineage(folder),
        }
        return [
            export(model, wish.format, target, recipe=wish, on_event=tell, **known)
            for wish in wishes
        ]


def _labels(folder: RunFolder) -> tuple[str, ...]:
    """The labels that the run was measured with, in order; empty where there is no report."""
    report = read_report(folder) or {}
    return tuple(report.get("tuned", {}).get("confusion", {}).get("labels", ()))


def _warn_of_changes(folder: RunFolder, now: Mapping[str, str], tell: OnEvent) -> None:
    """Say so if the files are not those that the run was trained on."""
    then = {entry["sha256"] for entry in (read_lineage(folder) or {}).get("data", [])}
    changed = [Path(path).name for path, digest in now.items() if digest not in then]
    if then and changed:
        said = (
            f"{', '.join(changed)} changed since the run was trained; rows that it "
            "learned from may be among those that are measured now."
        )
        tell(Warned(code="DATA_CHANGED", message=said))


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TuneError(
            f"{path} can't be made: {error}. Name another folder with --out.", code="OUT_FOLDER"
        ) from error

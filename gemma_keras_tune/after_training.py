"""What can be done with a trained run: answer a table, measure it on other rows, export it again.

The command line and the jobs of the web app both come here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .data.examples import Example, Split, load_examples, read_examples, rows_in_common
from .data.findings import raise_errors
from .data.whole_table import WholeTable, check_name, read_whole_table
from .durable import atomic_write_json, atomic_write_text
from .errors import DataError, TuneError
from .evaluation.answered import AnsweredTable, HowToAnswer, answer_rows
from .evaluation.report import Report, evaluate
from .events import Warned
from .exporters.artifact import Artifact, export, refuse_stranger
from .exporters.consumer import need_consumer
from .recipe import ASKED_PART, ExportRecipe, Recipe
from .recipe_files import load_recipe, parse_recipe
from .run_folder import RunFolder, data_root, find_run
from .run_outputs import keep_report, load_run, need_adapter, with_changes
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


def answer_table(
    run_dir: str | Path,
    table: str | Path,
    out: str | Path,
    *,
    column: str | None = None,
    encoding: str = "auto",
    delimiter: str = "auto",
    max_tokens: int | None = None,
    raw: bool = False,
    doubt_below: float | None = None,
    on_event: OnEvent | None = None,
) -> AnsweredTable:
    """A table of rows without answers, written anew with those of a trained run.

    Behind the table's own columns stand the label and the confidence of a classification, or the
    written answer, and a remark where a row has no answer or something was cut off. A name that
    the table has already gets a number: `label (2)`. Every row keeps its place. CSV is written as
    UTF-8 with a byte-order mark and with decimal commas where the table has them, JSONL as JSONL.

    Args:
        run_dir: The run's folder, its id, the start of it, its name, or `latest`.
        table: A CSV or JSONL file; it is read as data sets are, but refused if any row of it can't
            be read.
        out: The file that gets all of it, whole or not at all; an older one is replaced.
        column: What is read of each row; without it, the column that the run was trained on.
        encoding: The table's; `auto` takes a byte-order mark or UTF-8.
        delimiter: Between columns of CSV; `auto` finds it.
        max_tokens: The longest written answer; without it, the recipe's `evaluate.max_tokens`.
        raw: Leave cells as they are that a program for tables would compute as formulas; else they
            get an apostrophe before them.
        doubt_below: Mark answers whose confidence is below it (0 to 1) in a column `doubtful`: yes
            or no, in JSONL true or false. Only for a classification; without it no such column.
        on_event: Receives the events.

    Raises:
        ValueError: If `doubt_below` isn't between 0 and 1.
        TuneError: `RUN_NOT_FOUND`, `RUN_AMBIGUOUS`, `RUN_UNTRAINED`, `TABLE_TASK`,
            `DOUBT_NEEDS_LABELS`, `OUT_IS_TABLE`, `ANSWERS_FILE`.
        RecipeError: If `delimiter` is none.
        DataError: `MISSING_COLUMN`, `OUT_FORMAT`; or if the table can't be read.
        ModelError: If the model can't be read, or `LOSS_NOT_FINITE`.
        OutOfMemory: If there isn't enough memory.
    """
    folder, source, target = find_run(data_root(), str(run_dir)), Path(table), Path(out)
    need_adapter(folder)
    recipe = load_recipe(folder.recipe_json)
    asked = column or recipe.data.column(_asked_part(recipe))
    _check_doubt(recipe, doubt_below)
    if target.exists() and source.exists() and target.samefile(source):
        raise TuneError(
            f"{out} is the table itself. Name another file for the answers.", code="OUT_IS_TABLE"
        )
    _check_place(target)
    reading = {"encoding": encoding, "delimiter": delimiter}
    values = {"name": "table", "data": {"path": str(source), "task": "text", **reading}}
    parse_recipe(values, where="The table")  # checks them as a recipe's
    wanted = _columns_read(recipe, asked)
    rows = read_whole_table(source, wanted=wanted, encoding=encoding, delimiter=delimiter)
    _need_columns(rows, wanted)
    check_name(rows, target)
    labels = _labels_to_choose_from(folder, recipe, tell=on_event or (lambda event: None))
    _, model = load_run(folder.path)
    how = HowToAnswer(
        column=asked,
        labels=labels,
        max_tokens=recipe.evaluate.max_tokens if max_tokens is None else max_tokens,
        raw=raw,
        doubt_below=doubt_below,
    )
    return answer_rows(model, recipe, rows, target, how=how, on_event=on_event)


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
        so = "rows that it learned from may be among those that are measured now"
        _warn_of_changes(folder, examples.sources, tell, so=so)
        return examples.test
    labels = _labels_to_choose_from(folder, recipe, tell=tell)
    found = read_examples(recipe.data, str(data.expanduser().absolute()), labels=labels)
    raise_errors(found.findings)
    _warn_of_learned(recipe, found.examples, tell)
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
        lineage = read_lineage(folder)
        known: dict[str, Any] = {
            "base": model.replace(adapters=None),
            "report": read_report(folder),
            "lineage": lineage and with_changes(folder, lineage),
        }
        return [
            export(model, wish.format, target, recipe=wish, on_event=tell, **known)
            for wish in wishes
        ]


def _labels_to_choose_from(folder: RunFolder, recipe: Recipe, *, tell: OnEvent) -> tuple[str, ...]:
    """The allowed labels of a classification, in order; else empty.

    Those of the recipe, of the run's report, or of its data files as they are now.
    """
    if recipe.data.task != "classification":
        return ()
    report = read_report(folder) or {}
    measured = tuple(report.get("tuned", {}).get("confusion", {}).get("labels", ()))
    if recipe.data.labels or measured:
        return recipe.data.labels or measured
    examples = load_examples(recipe.data)
    _warn_of_changes(folder, examples.sources, tell, so="its labels may be others now")
    return examples.labels


def _asked_part(recipe: Recipe) -> str:
    """The part of a row that asks.

    Raises:
        TuneError: `TABLE_TASK`.
    """
    part = ASKED_PART.get(recipe.data.task)
    if part is None:
        raise TuneError(
            f"The run was trained on plain text (the task {recipe.data.task!r}), so its rows ask "
            f"nothing that could be answered. Tables are for runs of the tasks "
            f"{', '.join(ASKED_PART)}.",
            code="TABLE_TASK",
        )
    return part


def _check_doubt(recipe: Recipe, below: float | None) -> None:
    """Refuse a bound that no confidence can be compared with.

    Raises:
        ValueError: If it isn't between 0 and 1.
        TuneError: `DOUBT_NEEDS_LABELS`.
    """
    if below is None:
        return
    if not 0 <= below <= 1:
        raise ValueError(f"doubt_below is {below}; it is a probability, 0 to 1")
    if recipe.data.task != "classification":
        raise TuneError(
            f"The run writes its answers (the task {recipe.data.task!r}), and only labels come "
            "with a confidence. Leave out --doubt-below.",
            code="DOUBT_NEEDS_LABELS",
        )


def _check_place(out: Path) -> None:
    """Refuse, before anything is computed, a file that couldn't be written in the end.

    Raises:
        TuneError: `ANSWERS_FILE`.
    """
    if out.is_dir():
        raise TuneError(f"{out} is a folder. Name a file for the answers.", code="ANSWERS_FILE")
    if not out.parent.is_dir():
        raise TuneError(
            f"{out}: the folder {out.parent} isn't there. Make it, or choose another place.",
            code="ANSWERS_FILE",
        )


def _columns_read(recipe: Recipe, asked: str) -> tuple[str, ...]:
    """The columns that a table must have: what is asked, and a system text if rows have one."""
    return (asked, *(name for part, name in recipe.data.columns.items() if part == "system"))


def _need_columns(table: WholeTable, wanted: Sequence[str]) -> None:
    """Refuse a table without a column that is read.

    Raises:
        DataError: `MISSING_COLUMN`, with the columns that there are.
    """
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise DataError(
            f"The run reads {', '.join(map(repr, missing))} of each row; {Path(table.path).name} "
            f"has {', '.join(map(repr, table.columns[:20]))}. Name the column that is to be read "
            "(--column).",
            code="MISSING_COLUMN",
        )


def _warn_of_changes(folder: RunFolder, now: Mapping[str, str], tell: OnEvent, *, so: str) -> None:
    """Say so if the files are not those that the run was trained on."""
    then = {entry["sha256"] for entry in (read_lineage(folder) or {}).get("data", [])}
    changed = [Path(path).name for path, digest in now.items() if digest not in then]
    if then and changed:
        said = f"{', '.join(changed)} changed since the run was trained; {so}."
        tell(Warned(code="DATA_CHANGED", message=said))


def _warn_of_learned(recipe: Recipe, rows: Sequence[Example], tell: OnEvent) -> None:
    """Say so if the run learned from some of the rows, or if nobody can know."""
    try:
        learned = load_examples(recipe.data).train
    except TuneError as error:
        message = f"Whether the run learned from some of these rows isn't known: {error}"
        tell(Warned(code="LEARNED_ROWS", message=message))
        return
    both = len(rows_in_common(rows, learned))
    if both:
        said = (
            f"The run learned from {both} of these {len(rows)} rows: what is measured here "
            "doesn't say how it does on new ones."
        )
        tell(Warned(code="LEARNED_ROWS", message=said))


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "it is a file" if path.is_file() else error.strerror or error
        raise TuneError(
            f"{path} can't be made: {why}. Name another folder with --out.", code="OUT_FOLDER"
        ) from error

"""What a run leaves in its folder besides events and checkpoints, and how it is read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .data.examples import Examples, Split
from .durable import atomic_write_json, atomic_write_text, new_folder
from .errors import RecipeError, StoppedWithCheckpoint, TuneError
from .evaluation.report import evaluate
from .event_types import ControlApplied
from .events import Note, read_events
from .lineage import collect_lineage
from .model.load import load_model
from .model.lora import load_adapter, save_adapter
from .model.value import Model
from .recipe import Recipe
from .recipe_files import load_recipe
from .run_folder import RunFolder, data_root, find_run, resume_command
from .stages import OnEvent
from .starting_point import adapter_sha256
from .training.changes import Changes, from_events


def load_run(run_dir: str | Path) -> tuple[Recipe, Model]:
    """The recipe of a run and its trained model, adapters live beside the base weights.

    Args:
        run_dir: The run's folder, its id, the start of it, its name, or `latest`.

    Raises:
        TuneError: `RUN_NOT_FOUND`, `RUN_AMBIGUOUS`; `RUN_UNTRAINED` if its training has not
            finished.
        ModelError: If the base model or the adapter can't be read.
    """
    folder = find_run(data_root(), str(run_dir))
    need_adapter(folder)
    recipe = load_recipe(folder.recipe_json)
    base = load_model(recipe.model)
    return recipe, base.replace(adapters=load_adapter(folder.adapter, base.config))


def need_adapter(folder: RunFolder) -> None:
    """Refuse a run whose training has not finished.

    Raises:
        TuneError: `RUN_UNTRAINED`.
    """
    if not folder.adapter.is_dir():
        raise TuneError(
            f"The run {folder.id} has no trained adapter yet. "
            f"Finish it with: {resume_command(folder)}",
            code="RUN_UNTRAINED",
        )


@contextmanager
def recipe_kept(folder: RunFolder, recipe: Recipe) -> Iterator[tuple[str, ...]]:
    """Keeps the resolved recipe in the folder while the run is carried out.

    Gives what differs from the one that was there, such as `train.remat: dots -> full`. If the run
    fails, the one that was there comes back: with the other it may never have begun.

    Raises:
        RecipeError: If the folder belongs to a run with another result.
    """
    before = folder.recipe_json.read_text("utf-8") if folder.recipe_json.exists() else None
    kept = None if before is None else load_recipe(folder.recipe_json)
    if kept is not None and not kept.gives_the_same_as(recipe):
        raise RecipeError(
            f"{folder.path} is a run with other settings. Give the new run a folder of its own, "
            f"or go on with the old one: {resume_command(folder)}",
            code="RUN_OTHER_RECIPE",
        )
    if kept != recipe:
        atomic_write_text(folder.recipe_json, recipe.to_json() + "\n")
    try:
        yield () if kept is None else kept.computed_otherwise(recipe)
    except StoppedWithCheckpoint:
        raise
    except TuneError:
        if before is not None and kept != recipe:
            atomic_write_text(folder.recipe_json, before)
        raise


def keep_lineage(
    folder: RunFolder, recipe: Recipe, base: Model, examples: Examples
) -> dict[str, Any]:
    """The lineage, as it now stands in the run's folder."""
    lineage = collect_lineage(
        recipe=recipe,
        data=examples.sources,
        base=asdict(base.source),
        tokenizer_sha256=base.tokenizer.sha256,
        adapter_sha256=adapter_sha256(recipe, kept=folder.starting_adapter),
    )
    atomic_write_json(folder.lineage_json, lineage)
    return lineage


def keep_changes(folder: RunFolder, lineage: Mapping[str, Any]) -> dict[str, Any]:
    """The lineage with what was changed in the working run, as it now stands in its folder."""
    told = with_changes(folder, lineage)
    atomic_write_json(folder.lineage_json, told)
    return told


def with_changes(folder: RunFolder, lineage: Mapping[str, Any]) -> dict[str, Any]:
    """A run's lineage with `changes`: of each change that counted `after_step`, `setting`, `value`.

    Its recipe says what the newest attempt began with; the run's own events say what was changed
    in the middle of the work.

    Raises:
        TuneError: `EVENT_UNKNOWN`.
    """
    events = (record.event for record in read_events(folder.events, kinds={"control_applied"}))
    applied = [event for event in events if isinstance(event, ControlApplied)]
    changes = Changes().with_more(from_events(applied)).effective
    told = [{"after_step": one.step, "setting": one.key, "value": one.value} for one in changes]
    return {**lineage, "changes": told}


def keep_adapter(folder: RunFolder, model: Model) -> None:
    """Write the trained adapter, whole or not at all.

    Raises:
        ValueError: If the model has none.
    """
    if model.adapters is None:
        raise ValueError("the model has no adapters to keep")
    with new_folder(folder.adapter, replace=True) as adapter:
        save_adapter(adapter, model.adapters, model.config, base_name=model.source.name)


def keep_report(
    folder: RunFolder, recipe: Recipe, model: Model, test: Split, *, base: Model, tell: OnEvent
) -> None:
    """Evaluate and write the report and the predictions, unless the report is there already.

    Args:
        folder: The run's folder.
        recipe: What to measure and show.
        model: The trained model.
        test: The held-back rows; without any there is only a note.
        base: The model before training.
        tell: Receives the events.
    """
    if folder.report_json.exists():
        return
    if not test:
        tell(Note(message="No rows are held back, so there is nothing to report on."))
        return
    report = evaluate(
        model,
        test,
        recipe.evaluate,
        base=base,
        on_event=tell,
        predictions_path=folder.predictions,
    )
    atomic_write_text(folder.report_md, report.to_markdown())
    atomic_write_json(folder.report_json, report.to_json())

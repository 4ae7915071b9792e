"""The main path: recipe -> data -> model -> training -> evaluation -> exports. Start reading here.

Each stage takes plain values and returns one. The run folder keeps what they made, so a run that
was interrupted goes on where it stopped: training from its newest checkpoint, and finished
reports and artifacts are not made again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from . import peers
from .control_inbox import Inbox
from .data.examples import Split, load_examples
from .data.parts import tokenize_parts
from .errors import StoppedWithCheckpoint, TuneError
from .evaluation.watching import make_answer, make_measure_labels
from .events import Event, EventWriter, Note, RunStarted, Warned
from .exporters.artifact import export
from .exporters.consumer import need_consumer
from .lineage import package_versions
from .load_watch import told_load
from .model.load import load_model
from .model.sharding import by_itself
from .model.value import Model
from .planning.before_start import PlannedRun
from .planning.devices import planned_mesh
from .recipe import Recipe
from .run_folder import RunFolder, Writer, open_for_writing, token_cache
from .run_outputs import keep_adapter, keep_changes, keep_lineage, keep_report, recipe_kept
from .run_result import read_report
from .stages import (
    OnEvent,
    listening,
    one_at_a_time,
    progress_of,
    stage,
    told_how_it_ended,
)
from .starting_point import start_from_adapter, with_adapters_settings
from .text.as_trained import turns_as_trained
from .training.checkpoints import CheckpointStore
from .training.control import stop_requests
from .training.live import Answer
from .training.measure import MeasureLabels
from .training.train import train


def run(
    recipe: Recipe,
    run_dir: str | Path,
    *,
    on_event: OnEvent | None = None,
    ignore_plan: bool = False,
) -> RunFolder:
    """The folder of the finished run: adapter, report and checked artifacts.

    Starts the run, or goes on with it where the folder holds the same recipe.

    Args:
        recipe: What to do.
        run_dir: The run's folder; made if it is missing.
        on_event: Receives every event, after it is in `events.jsonl`; one at a time, those of
            kind `load` from another thread.
        ignore_plan: Start a run that can't fit into memory all the same, with a warning.

    Raises:
        StoppedWithCheckpoint: After SIGTERM or SIGINT, once a checkpoint is saved.
        TuneError: `RUN_FOLDER` or `PLAN_DOES_NOT_FIT`, before anything starts; what the stages
            raise, and then the last event says so too.
    """
    folder = RunFolder(Path(run_dir).resolve())
    if folder.path.exists() and not folder.path.is_dir():
        raise TuneError(f"{run_dir} is a file. Name a folder for the run.", code="RUN_FOLDER")
    recipe = with_adapters_settings(recipe, kept=folder.starting_adapter)
    for item in recipe.export:
        need_consumer(item.format)  # better now than after hours of training
    planned = PlannedRun(recipe)
    if not ignore_plan:
        planned.refuse()
    inbox = Inbox(folder)
    with open_for_writing(folder) as writer, EventWriter(folder.events, writer.attempt) as events:
        tell = one_at_a_time(events, planned.note, on_event)
        with (
            told_how_it_ended(tell),
            planned.advising(),
            peers.parting(),
            peers.told_of_loss(),
            stop_requests() as signalled,
            recipe_kept(folder, recipe) as changes,
        ):
            for change in changes:
                tell(Note(message=f"{change}. The result may differ in the last bits."))
            _run_stages(recipe, writer, inbox, planned, tell=tell, signalled=signalled)
        planned.remember()
    return folder


def follow(recipe: Recipe) -> None:
    """Trains along with the process that leads, which keeps all that comes of it.

    Args:
        recipe: The same that the leader was given; its files must be the same too.

    Raises:
        StoppedWithCheckpoint: If the run was stopped, here or elsewhere.
        TuneError: What the stages raise.
    """
    recipe = with_adapters_settings(recipe)
    with peers.parting(), peers.told_of_loss(), stop_requests() as signalled:
        examples = load_examples(recipe.data)
        base = load_model(recipe.model, mesh=planned_mesh(recipe))
        tokenize_parts(examples, base.template, cache_dir=token_cache())
        train(
            start_from_adapter(recipe, base),
            examples.train,
            recipe.train,
            validation=examples.validation,
            should_stop=signalled,
            cache_dir=token_cache(),
        )
        peers.leave()


def _run_stages(
    recipe: Recipe,
    writer: Writer[RunFolder],
    inbox: Inbox,
    planned: PlannedRun,
    *,
    tell: OnEvent,
    signalled: Callable[[], bool],
) -> None:
    folder = writer.folder
    store = CheckpointStore(
        folder.checkpoints,
        attempt=writer.attempt,
        keep=recipe.train.keep_checkpoints,
        still_mine=writer.still_mine,
    )
    trained = store.steps[-1] if store.steps else 0
    tell(RunStarted(resumed_from=trained, name=recipe.name, versions=package_versions()))
    for event in planned.events():
        tell(event)

    def stop_if_asked() -> None:
        if not peers.is_alone():
            return  # others would wait for this process: training stops all of them together
        if signalled() or inbox.stop_waiting():
            step = store.steps[-1] if store.steps else 0
            inbox.accept_stop(step)
            raise StoppedWithCheckpoint(
                "Stopped; what is done is kept. Resume any time.", step=step
            )

    def tell_or_stop(event: Event) -> None:
        tell(event)
        stop_if_asked()

    with listening(inbox, tell), told_load(tell) as load:
        with stage("data", tell, stop_if_asked):
            examples = load_examples(recipe.data)
            for finding in examples.findings:
                tell(Warned(code=finding.code, message=str(finding)))
        with stage("model", tell, stop_if_asked):
            mesh = planned_mesh(recipe)
            if mesh is not None:
                tell(Note(message=f"On {mesh.devices} devices: {mesh}."))
            progress = progress_of("model", tell_or_stop)
            base = load_model(recipe.model, mesh=mesh, on_progress=progress)
            load.devices_ready()
            tokenize_parts(examples, base.template, cache_dir=token_cache())
            lineage = keep_lineage(folder, recipe, base, examples)
        with stage("training", tell, stop_if_asked):
            result = train(
                start_from_adapter(recipe, base, kept=folder.starting_adapter),
                examples.train,
                recipe.train,
                validation=examples.validation,
                on_event=tell,
                store=store,
                should_stop=signalled,
                cache_dir=token_cache(),
                inbox=inbox,
                answer=_answer(recipe, base),
                measure_labels=_measure_labels(recipe, base, examples.validation),
            )
            peers.leave()
            tuned, base = by_itself(result.model), by_itself(base)
            keep_adapter(folder, tuned)
            lineage = keep_changes(folder, lineage)
        inbox.close("Training is over; of all commands only stop still works.")
        with stage("evaluation", tell, stop_if_asked):
            keep_report(folder, recipe, tuned, examples.test, base=base, tell=tell_or_stop)
        if not recipe.export:
            return
        with stage("export", tell, stop_if_asked):
            for item in recipe.export:
                if (folder.artifacts / item.format / "parity.json").exists():
                    continue
                export(
                    tuned,
                    item.format,
                    folder.artifacts,
                    recipe=item,
                    base=base,
                    report=read_report(folder),
                    lineage=lineage,
                    on_event=tell_or_stop,
                )


def _answer(recipe: Recipe, base: Model) -> Answer:
    return make_answer(
        base,
        partial(turns_as_trained, recipe.data),
        prompts=recipe.train.sample_prompts,
        max_tokens=recipe.train.sample_max_tokens,
    )


def _measure_labels(recipe: Recipe, base: Model, validation: Split) -> MeasureLabels | None:
    return make_measure_labels(
        base, validation, rows=recipe.train.label_rows, batch_rows=recipe.evaluate.batch_rows
    )

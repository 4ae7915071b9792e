"""The main path: recipe -> data -> model -> training -> evaluation -> exports. Start reading here.

Each stage takes plain values and returns one. The run folder keeps what they made, so a run that
was interrupted goes on where it stopped: training from its newest checkpoint, and finished
reports and artifacts are not made again.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .data.examples import load_examples
from .errors import StoppedWithCheckpoint
from .events import Event, EventWriter, RunStarted, Warned
from .exporters.artifact import export
from .exporters.consumer import need_consumer
from .lineage import package_versions
from .model.load import load_model
from .recipe import Recipe
from .run_folder import RunFolder, Writer, data_root, open_for_writing
from .run_outputs import keep_adapter, keep_lineage, keep_recipe, keep_report
from .run_result import read_report
from .stages import OnEvent, progress_of, stage, told_how_it_ended
from .training.checkpoints import CheckpointStore
from .training.control import stop_requests
from .training.loop import train


def run(recipe: Recipe, run_dir: str | Path, *, on_event: OnEvent | None = None) -> RunFolder:
    """The folder of the finished run: adapter, report and checked artifacts.

    Starts the run, or goes on with it where the folder holds the same recipe.

    Args:
        recipe: What to do.
        run_dir: The run's folder; made if it is missing.
        on_event: Receives every event, after it is in `events.jsonl`.

    Raises:
        StoppedWithCheckpoint: After SIGTERM or SIGINT, once a checkpoint is saved.
        TuneError: What the stages raise; the last event says so too.
    """
    for item in recipe.export:
        need_consumer(item.format)  # better now than after hours of training
    folder = RunFolder(Path(run_dir).resolve())
    with open_for_writing(folder) as writer, EventWriter(folder.events, writer.attempt) as events:

        def tell(event: Event) -> None:
            events(event)
            if on_event:
                on_event(event)

        with told_how_it_ended(tell), stop_requests() as should_stop:
            keep_recipe(folder, recipe)
            _run_stages(recipe, writer, tell=tell, should_stop=should_stop)
    return folder


def _run_stages(
    recipe: Recipe, writer: Writer[RunFolder], *, tell: OnEvent, should_stop: Callable[[], bool]
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

    def stop_if_asked() -> None:
        if should_stop():
            step = store.steps[-1] if store.steps else 0
            raise StoppedWithCheckpoint(
                "Stopped; what is done is kept. Resume any time.", step=step
            )

    def tell_or_stop(event: Event) -> None:
        tell(event)
        stop_if_asked()

    with stage("data", tell, stop_if_asked):
        examples = load_examples(recipe.data)
        for finding in examples.findings:
            tell(Warned(code=finding.code, message=str(finding)))
    with stage("model", tell, stop_if_asked):
        base = load_model(recipe.model, on_progress=progress_of("model", tell_or_stop))
        lineage = keep_lineage(folder, recipe, base, examples)
    with stage("training", tell, stop_if_asked):
        result = train(
            base,
            examples.train,
            recipe.train,
            validation=examples.validation,
            on_event=tell,
            store=store,
            should_stop=should_stop,
            cache_dir=data_root() / "cache" / "tokens",
        )
        keep_adapter(folder, result.model)
    with stage("evaluation", tell, stop_if_asked):
        keep_report(folder, recipe, result.model, examples.test, base=base, tell=tell_or_stop)
    with stage("export", tell, stop_if_asked):
        for item in recipe.export:
            if (folder.artifacts / item.format / "parity.json").exists():
                continue
            export(
                result.model,
                item.format,
                folder.artifacts,
                recipe=item,
                base=base,
                report=read_report(folder),
                lineage=lineage,
                on_event=tell_or_stop,
            )

"""A run carried out in the foreground: its progress, its result, and what to do next."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import typer
from rich.text import Text

from .. import peers
from ..errors import StoppedWithCheckpoint, TuneError
from ..recipe import Recipe
from ..run_folder import RunFolder, data_root, new_run
from ..run_result import read_exports, read_report
from . import reports, screen
from .progress import RunView
from .sources import run_argument

STOPPED = 75  # exit code: stopped with a checkpoint


def start_run(
    recipe: Recipe, *, root: Path, run_dir: Path | None, ignore_plan: bool = False
) -> tuple[RunFolder, RunView]:
    """The finished run and what was seen of it; a start that fails leaves no folder behind.

    Args:
        recipe: What to do.
        root: The data root, where no folder is given.
        run_dir: The run's folder.
        ignore_plan: Whether to start a run that can't fit into memory.

    Raises:
        TuneError: As `pipeline.run`.
        typer.Exit: With 75, after a stop.
    """
    is_new = run_dir is None or not run_dir.exists()
    folder = new_run(root, recipe.name) if run_dir is None else RunFolder(run_dir.resolve())
    try:
        return folder, continue_run(recipe, folder, root=root, ignore_plan=ignore_plan)
    except (TuneError, KeyboardInterrupt):
        if is_new and not _kept_something(folder):
            shutil.rmtree(folder.path, ignore_errors=True)
        raise


def continue_run(
    recipe: Recipe, folder: RunFolder, *, root: Path, ignore_plan: bool = False
) -> RunView:
    """What was seen of the run while it went on to its end.

    Raises:
        TuneError: As `pipeline.run`.
        typer.Exit: With 75, after a stop.
    """
    again = _go_on(folder, root)
    try:
        with stop_tells_how_to_resume(folder, root=root), RunView() as view:
            from ..pipeline import run

            run(recipe, folder.path, on_event=view, ignore_plan=ignore_plan)
    except TuneError as error:
        was_refused = error.code in ("RUN_OTHER_RECIPE", "RUN_LOCKED")  # it is somebody else's work
        if _kept_something(folder) and not was_refused:
            said = f"What was done is kept. Once the following is mended, {again}"
            screen.say(screen.err(), screen.text(said))
        raise
    return view


def follow(recipe: Recipe) -> None:
    """Trains along with the process that leads.

    Raises:
        TuneError: As `pipeline.follow`.
        typer.Exit: With 75, after a stop.
    """
    from ..pipeline import follow as train_along

    screen.say(screen.err(), "Training along; process 0 shows the progress and keeps the run.")
    try:
        train_along(recipe)
    except (StoppedWithCheckpoint, KeyboardInterrupt) as stop:
        screen.say(screen.err(), str(stop) or "Interrupted.")
        raise typer.Exit(STOPPED) from None
    screen.say(screen.err(), "Trained; process 0 measures and exports.")


@contextmanager
def stop_tells_how_to_resume(folder: RunFolder, *, root: Path) -> Iterator[None]:
    """Turns a stop into exit code 75 and the command that goes on.

    Raises:
        typer.Exit: With 75.
        KeyboardInterrupt: If the run had not begun.
    """
    again = _go_on(folder, root)
    try:
        yield
    except (StoppedWithCheckpoint, KeyboardInterrupt) as stop:
        if not folder.recipe_json.is_file():  # it had not begun
            raise
        said = str(stop) or "Interrupted. What was saved before is kept."
        screen.say(screen.err(), "", said, screen.text(again[0].upper() + again[1:]))
        raise typer.Exit(STOPPED) from None


def show_licence() -> None:
    """The terms of the Gemma models, the first time that somebody uses one here."""
    from ..catalogue import LICENCE_NOTICE, licence_notice

    notice: str | None = LICENCE_NOTICE
    with suppress(OSError):  # a folder that can't be written forgets; then it is shown again
        notice = licence_notice(data_root())
    if notice:
        screen.say(screen.err(), screen.text(notice, "italic"), "")


def show_result(folder: RunFolder, view: RunView | None, *, root: Path) -> None:
    """The summary of a finished run, for a person."""
    console = screen.out()
    report = read_report(folder)
    exports = [(path.name, screen.path_name(path), parity) for path, parity in read_exports(folder)]
    if report:
        screen.say(console, screen.heading("Before and after"))
        reports.show_evaluation(console, report)
        if report["samples"]:
            screen.say(console, screen.heading("Answers"))
            reports.show_answers(console, report["samples"])
    if exports:
        screen.say(
            console,
            screen.heading("Exports, each reloaded in a fresh process and compared"),
        )
        reports.show_exports(console, exports)
    if view is not None:
        show_costs(view)
    there = "recipe, events, checkpoints, adapter, artifacts"
    there += ", report.md" if report else ""
    screen.say(
        console, screen.heading("The run"), screen.text(screen.path_name(folder.path)), there
    )
    show_next_steps(folder, report, root=root)


def show_costs(view: RunView) -> None:
    """Times, peak memory and the machine's speed."""
    from ..machine import matrix_gflops, peak_memory_bytes

    peak = peak_memory_bytes()  # before the measurement adds its own
    facts = {
        "Memory": f"{reports.memory(peak)} at its peak, this process",
        "Machine": f"{matrix_gflops():.0f} GFLOP/s in float32 matrix products",
    }
    screen.say(screen.out(), screen.heading("What it took"))
    reports.show_times(screen.out(), view.seconds, facts)


def show_next_steps(folder: RunFolder, report: Mapping[str, Any] | None, *, root: Path) -> None:
    """Commands to go on with, ready to be pasted."""
    run = run_argument(folder, root)
    steps = {
        "Ask it something": screen.command("generate", *run, _prompt(report)),
        "Measure it on other rows": screen.command("evaluate", *run, "--data", "FILE.csv"),
        "Export it somewhere else": screen.command(
            "export", *run, "--format", "hf", "--out", "my-model"
        ),
        "Look for known traps": screen.command("doctor", *run),
        "Check a table of your own, then train on it": screen.command("data", "check", "FILE.csv"),
    }
    console = screen.out()
    screen.say(console, screen.heading("What to do next"))
    for what, command in steps.items():
        screen.say(console, Text(f"  {what}:", "dim"), screen.text(f"    {command}"))
    screen.say(console, screen.text(f"    {screen.command('train', 'FILE.csv')}"))


def _prompt(report: Mapping[str, Any] | None) -> str:
    """The beginning of a held-back prompt that needs no odd quotes on a command line."""
    samples = report["samples"] if report else []
    prompts = [" ".join(sample["prompt"].split()) for sample in samples]
    fitting = [prompt for prompt in prompts if prompt.isprintable() and "'" not in prompt[:60]]
    if not fitting:
        return "What can you do?"
    return fitting[0] if len(fitting[0]) <= 60 else fitting[0][:60].rpartition(" ")[0]


def _go_on(folder: RunFolder, root: Path) -> str:
    """How to go on with a run, the command last; to be asked before it begins."""
    if not peers.is_alone():
        return "go on with the same command on all machines."
    return f"go on with: {screen.command('resume', *run_argument(folder, root))}"


def _kept_something(folder: RunFolder) -> bool:
    return folder.adapter.exists() or any(folder.checkpoints.glob("[0-9]*"))

"""The demo: says what will happen, does it, and shows what came of it."""

from __future__ import annotations

from pathlib import Path

from ..recipe import Recipe
from . import reports, running, screen


def show_demo(recipe: Recipe, *, root: Path, ignore_plan: bool = False) -> None:
    """The whole main job on a recipe that ships.

    Raises:
        TuneError: As `pipeline.run`.
        typer.Exit: With 75, after a stop.
    """
    from ..catalogue import find
    from ..data.check import check_data

    console = screen.out()
    model = find(recipe.model.preset)
    size = f", {model.parameters / 1e6:.0f} million parameters" if model else ""
    exports = " and ".join(item.format for item in recipe.export)
    screen.say(
        console,
        screen.heading("gemma-keras-tune demo"),
        screen.pairs(
            [
                ("Recipe", recipe.name),
                ("Model", f"{recipe.model.preset}: real Gemma 3{size}; the weights stay frozen"),
                ("Method", f"LoRA of rank {recipe.model.lora.rank}, {recipe.train.epochs} epochs"),
                ("Steps", "check the data, load the model, train, measure base and tuned model, "),
                ("", f"export as {exports}, reload each export and compare"),
                ("Takes", "a few minutes on two processor cores; no network"),
                ("Stop", "Ctrl-C saves a checkpoint and says how to go on"),
            ]
        ),
        "",
    )
    running.show_licence()
    screen.say(console, screen.heading("The data"))
    reports.show_data(console, check_data(recipe.data))
    screen.say(console, "")
    folder, view = running.start_run(recipe, root=root, run_dir=None, ignore_plan=ignore_plan)
    running.show_result(folder, view, root=root)

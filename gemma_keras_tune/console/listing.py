"""What can be used: models and recipes, and recipes to take away."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path

from ..errors import RecipeError, TuneError
from ..recipe_files import load_recipe, shipped_recipes
from . import reports, screen


def list_models(*, json_output: bool) -> None:
    """The catalogue, on standard output."""
    from ..catalogue import NOT_HERE, catalogue, is_here
    from ..planning.known_models import memory_to_train

    sizes = {entry.size for entry in catalogue()}
    memory = {size: memory_to_train(size) for size in sizes}
    listed = [
        reports.Listed(entry, here=is_here(entry.name), memory=memory[entry.size])
        for entry in catalogue()
    ]
    if json_output:
        models = [
            {**asdict(one.entry), "here": one.here, "memory_to_train_bytes": one.memory}
            for one in listed
        ]
        screen.print_json({"models": models, "refused": NOT_HERE})
    else:
        reports.show_models(screen.out(), listed)


def list_recipes(*, json_output: bool) -> None:
    """The recipes that ship, on standard output."""
    found = {name: load_recipe(name) for name in shipped_recipes()}
    if json_output:
        listed = [
            {
                "name": name,
                "task": recipe.data.task,
                "preset": recipe.model.preset,
                "path": str(shipped_recipes()[name]),
                "exports": [item.format for item in recipe.export],
            }
            for name, recipe in found.items()
        ]
        screen.print_json({"recipes": listed})
    else:
        reports.show_recipes(screen.out(), found)


def copy_recipe(name: str, folder: Path) -> None:
    """Copies a recipe and its data into a folder, all or nothing, over nothing.

    Raises:
        RecipeError: If no recipe that ships has this name.
        TuneError: `COPY_EXISTS` or `COPY_NOT_WRITABLE`.
    """
    source = shipped_recipes().get(name)
    if source is None:
        known = ", ".join(shipped_recipes())
        raise RecipeError(
            f"No recipe that ships is called {name!r}. There are: {known}.", code="RECIPE_NOT_FOUND"
        )
    data = load_recipe(name).data
    paths = [data.path, data.validation_path, data.test_path]
    files = [source, *(Path(path) for path in paths if path is not None)]
    targets = {file: folder / file.relative_to(source.parent) for file in files}
    there = [str(target) for target in targets.values() if target.exists()]
    if there:
        raise TuneError(
            f"{', '.join(there)}: there already, and nothing is overwritten. Name another folder: "
            f"{screen.command('recipes', 'copy', name, 'FOLDER')}",
            code="COPY_EXISTS",
        )
    try:
        for file, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
    except OSError as error:
        raise TuneError(
            f"{folder} can't be written: {error}. Name another folder.", code="COPY_NOT_WRITABLE"
        ) from error
    console = screen.out()
    screen.say(console, *(f"Wrote {target}" for target in targets.values()), "")
    screen.say(console, f"Change it as you like, then: {_train(targets[source])}")


def _train(path: Path) -> str:
    return screen.command("train", screen.path_name(path))

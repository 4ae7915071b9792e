"""The house rules: who may import whom, what loads when, and which names are public."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import gemma_keras_tune

PACKAGE = Path(gemma_keras_tune.__file__).parent

RANKS = {
    **dict.fromkeys(("errors", "data_codes", "durable", "locks", "event_types"), 0),
    **dict.fromkeys(("machine", "sheets"), 0),
    **dict.fromkeys(
        ("recipe", "recipe_files", "events", "writing", "run_folder", "lineage", "stages", "text"),
        1,
    ),
    **dict.fromkeys(("job_spec", "job_folder", "run_result", "limits"), 1),
    **dict.fromkeys(
        ("control_file", "control_inbox", "load_watch", "catalogue", "compile_cache", "peers"), 1
    ),
    "out_of_memory": 1,
    **dict.fromkeys(("data", "model"), 2),
    "starting_point": 3,
    "training": 3,
    "evaluation": 4,
    **dict.fromkeys(("exporters", "planning"), 5),
    **dict.fromkeys(("run_outputs", "after_training", "pipeline", "benchmark"), 6),
    **dict.fromkeys(("work", "work_kinds", "work_data", "work_models", "work_warm"), 7),
    **dict.fromkeys(("console", "doctor", "doctor_model", "doctor_run", "cli", "__main__"), 8),
    "__init__": 0,
}
"""Modules may import those of a lower rank, and of their own; but see `APART`."""

APART = {("data", "model"), ("model", "data")}
UI_PACKAGE = "gemma_keras_tune_ui"
UI = PACKAGE.parent / "ui"
HEAVY = ("jax", "jaxlib", "keras", "keras_hub", "tensorflow", "torch", "transformers")


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts), path


def imported_rooms(name: str, path: Path) -> set[str]:
    """Top-level rooms of this package that a file imports, wherever in the file."""
    package = name.split(".")[:-1]
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
                target = [*base, *(node.module or "").split(".")] if node.module else base
                names = [target] if node.module else [[*base, a.name] for a in node.names]
            elif (module := node.module or "").split(".")[0] == "gemma_keras_tune":
                names = [module.split(".")[1:] or [a.name] for a in node.names]
            else:
                continue
            rooms |= {parts[0] for parts in names if parts}
    return rooms


@pytest.mark.parametrize(("name", "path"), list(modules()), ids=lambda value: str(value)[:40])
def test_imports_point_down(name: str, path: Path) -> None:
    room = name.split(".")[0]
    if room == "__init__":
        return  # hands out public names, each imported when it is asked for
    assert room in RANKS, f"give {room} a rank"
    for other in imported_rooms(name, path) - {room, "__version__"}:
        assert other in RANKS, f"{name} imports {other}, which has no rank"
        assert RANKS[other] <= RANKS[room], f"{name} must not import {other}"
        assert (room, other) not in APART, f"{name} must not import {other}"


def loaded_by(code: str) -> set[str]:
    """Top-level modules that a fresh process has after running `code`."""
    script = f"{code}\nimport sys\nprint(' '.join({{m.partition('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import gemma_keras_tune",
        "import gemma_keras_tune.recipe, gemma_keras_tune.events, gemma_keras_tune.run_folder",
        "from gemma_keras_tune import load_examples, check_data",
        "import gemma_keras_tune.data.preview, gemma_keras_tune.text.template",
        "import gemma_keras_tune.cli",
    ],
)
def test_what_a_form_or_a_preview_needs_loads_no_accelerator_code(code: str) -> None:
    assert not loaded_by(code) & set(HEAVY)


def ui_modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(UI.rglob("*.py")):
        yield ".".join([UI_PACKAGE, *path.relative_to(UI).with_suffix("").parts]), path


@pytest.mark.parametrize(("name", "path"), list(ui_modules()), ids=lambda value: str(value)[:40])
def test_the_app_imports_only_what_loads_no_accelerator_code(name: str, path: Path) -> None:
    for room in imported_rooms(name, path) - {UI_PACKAGE, "__version__"}:
        assert room in RANKS, f"{name} imports {room}, which has no rank"
        assert RANKS[room] <= 1, f"{name} must not import {room}: it happens in a job"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level:
            package = (node.module or "").partition(".")[0]
            assert package != UI_PACKAGE, f"{name}, line {node.lineno}: imports inside are relative"
            assert package not in HEAVY, f"{name} must not import {package}"
        if isinstance(node, ast.Import):
            packages = {alias.name.partition(".")[0] for alias in node.names}
            assert not packages & {UI_PACKAGE, *HEAVY}, f"{name} must not import {packages}"


def test_the_app_loads_no_accelerator_code() -> None:
    loaded = loaded_by("import gemma_keras_tune_ui.app, gemma_keras_tune_ui.server")
    assert "nicegui" in loaded
    assert not loaded & set(HEAVY)


def test_the_command_line_loads_the_app_only_when_it_is_asked_for() -> None:
    loaded = loaded_by("import gemma_keras_tune.cli")
    assert not loaded & {"nicegui", "fastapi", "sqlalchemy", "uvicorn", UI_PACKAGE}


def test_recipes_and_events_load_no_numpy() -> None:
    assert "numpy" not in loaded_by("import gemma_keras_tune.recipe, gemma_keras_tune.events")


def test_the_pipeline_loads_neither_keras_nor_tensorflow() -> None:
    loaded = loaded_by("import gemma_keras_tune.pipeline")
    assert not loaded & {"keras", "keras_hub", "tensorflow", "torch", "transformers"}


def test_every_public_name_can_be_imported_and_none_is_hidden_by_a_module() -> None:
    files = {path.stem for path in PACKAGE.iterdir()}
    for name in gemma_keras_tune.__all__:
        assert not isinstance(getattr(gemma_keras_tune, name), ModuleType), name
        assert name not in files, f"the module {name} would hide the public name"


def test_public_names_have_docstrings_that_say_what_they_raise() -> None:
    for name in gemma_keras_tune.__all__:
        value = getattr(gemma_keras_tune, name)
        if inspect.isfunction(value):
            assert value.__doc__, name
            assert "Raises:" in value.__doc__, name


def test_importing_the_package_chooses_jax_for_keras() -> None:
    code = "import gemma_keras_tune, os; print(os.environ['KERAS_BACKEND'])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "jax"


def test_nothing_trusts_remote_code_a_shell_or_pickles() -> None:
    for name, path in [*modules(), *ui_modules()]:
        text = path.read_text(encoding="utf-8")
        assert "trust_remote_code=True" not in text, name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.keyword) and node.arg == "shell":
                raise AssertionError(f"{name} uses a shell")
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"pickle", "dill", "cloudpickle", "joblib"}, name


def test_only_the_edges_of_a_process_catch_everything() -> None:
    """The command line makes a message of it, the gate's worker a finding, a job its result.

    In the app: a request, a task that nobody awaits, jobs and notices that must not end each other,
    and a database's URL, at which any driver may raise anything.
    """
    allowed = {"console.exits", "exporters.gate_worker", "work"}
    edges = ("requests", "parts", "jobs.supervisor", "notices.outbox", "store.engine")
    allowed |= {f"{UI_PACKAGE}.{edge}" for edge in edges}
    for name, path in [*modules(), *ui_modules()]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                if caught in ("Exception", "everything"):
                    assert name in allowed, f"{name}, line {node.lineno}"
                if caught == "BaseException":
                    last = node.body[-1]
                    assert isinstance(last, ast.Raise) and last.exc is None, (
                        f"{name}, line {node.lineno}: must raise again what it caught"
                    )

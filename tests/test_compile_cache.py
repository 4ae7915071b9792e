"""Where compiled programs are kept: found again, kept apart, bounded, and never in the way."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from gemma_keras_tune import compile_cache
from gemma_keras_tune.compile_cache import FOLDER, compiled_folder, keep_compiled_programs
from gemma_keras_tune.run_folder import HOME_VARIABLE
from tests.support.command_line import run_command, save_tiny_model, write_recipe, write_rows


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    for name in (FOLDER, compile_cache.SHORTEST):
        monkeypatch.setenv(name, "")  # so that what the tests set is taken back
        monkeypatch.delenv(name)
    return tmp_path / "home"


def test_the_folder_is_below_the_data_root_and_of_this_processor(home: Path) -> None:
    keep_compiled_programs()
    folder = Path(os.environ[FOLDER])
    assert folder == compiled_folder() and folder.parent == home / "cache" / "programs"
    assert not home.exists()  # asking for help leaves nothing behind


def test_another_processor_has_another_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    own = compiled_folder()
    monkeypatch.setattr(compile_cache.platform, "machine", lambda: "another")
    assert compiled_folder() != own


def test_what_a_person_has_set_stays(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER, "/elsewhere")
    keep_compiled_programs()
    assert os.environ[FOLDER] == "/elsewhere" and not home.exists()


def test_a_folder_that_can_not_be_made_is_done_without(home: Path) -> None:
    home.write_text("a file")
    keep_compiled_programs()
    assert FOLDER not in os.environ


def test_the_longest_unused_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = compiled_folder()
    folder.mkdir(parents=True)
    for age, name in enumerate(("newest", "older", "oldest")):
        path = folder / name
        path.write_bytes(bytes(40))
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    monkeypatch.setattr(compile_cache, "MOST_BYTES", 100)
    keep_compiled_programs()
    assert {path.name for path in folder.iterdir()} == {"newest", "older"}


@pytest.mark.slow
def test_a_second_run_compiles_nothing_anew_and_computes_the_same(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # all is kept, however long it took: else a program near the limit is kept once and once not
    monkeypatch.setenv(compile_cache.SHORTEST, "0")
    preset = save_tiny_model(tmp_path / "model")
    write_rows(tmp_path / "rows.csv")
    recipe = write_recipe(tmp_path / "tiny.toml", data="rows.csv", preset=str(preset))

    def bench() -> tuple[Any, dict[str, int]]:
        done = run_command("bench", str(recipe), "--steps", "2", "--json", home=home)
        assert done.returncode == 0, done.stderr
        kept = {path.name: path.stat().st_mtime_ns for path in compiled_folder().glob("*-cache")}
        return json.loads(done.stdout)["loss"], kept

    first, kept = bench()
    assert any("train_step" in name for name in kept)
    second, kept_again = bench()
    assert (second, kept_again) == (first, kept)
    for name in kept:  # what a kill left half written
        path = compiled_folder() / name
        path.write_bytes(path.read_bytes()[:100])
    third, _ = bench()
    assert third == first

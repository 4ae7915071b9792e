"""Tables that are refused before any model is loaded, each with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gemma_keras_tune as gkt
from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.recipe import Recipe


@pytest.fixture
def table(tmp_path) -> Path:
    (tmp_path / "t.csv").write_text("text\nhello\n")
    return tmp_path / "t.csv"


def run_of(folder: Path, task: str, *, is_trained: bool = True, **data: Any) -> Path:
    """A run's folder with a recipe, and perhaps the folder of an adapter that nobody reads."""
    folder.mkdir()
    values = {"path": "/rows.csv", "task": task, **data}
    recipe = Recipe.model_validate({"name": "r", "data": values})
    (folder / "recipe.json").write_text(recipe.to_json())
    if is_trained:
        (folder / "adapter").mkdir()
    return folder


CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "a run that isn't trained": ("RUN_UNTRAINED", "classification", {"is_trained": False}, {}),
    "plain text": ("TABLE_TASK", "text", {}, {}),
    "the table itself": ("OUT_IS_TABLE", "classification", {}, {"out": "t.csv"}),
    "a name for Excel": ("OUT_FORMAT", "classification", {}, {"out": "o.xlsx"}),
    "a folder": ("ANSWERS_FILE", "classification", {}, {"out": "a-folder"}),
    "a folder that isn't there": ("ANSWERS_FILE", "classification", {}, {"out": "no/o.csv"}),
    "a name for JSONL": ("OUT_FORMAT", "classification", {}, {"out": "o.jsonl"}),
    "no such column": ("MISSING_COLUMN", "classification", {}, {"column": "mail"}),
    "no system text": (
        "MISSING_COLUMN",
        "instruction",
        {"columns": {"prompt": "text", "system": "rules"}},
        {},
    ),
    "a bound of the confidence without labels": (
        "DOUBT_NEEDS_LABELS",
        "instruction",
        {"columns": {"prompt": "text"}},
        {"doubt_below": 0.5},
    ),
    "a delimiter of two letters": ("RECIPE_INVALID", "classification", {}, {"delimiter": ", "}),
    "a wrong encoding": ("UNKNOWN_ENCODING", "classification", {}, {"encoding": "klingon"}),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_answered_is_refused_with_its_reason(tmp_path, table, case):
    code, task, of_run, how = CASES[case]
    how = {"out": "o.csv", **how}
    (tmp_path / "a-folder").mkdir()
    run, out = run_of(tmp_path / "run", task, **of_run), tmp_path / how.pop("out")
    with pytest.raises(TuneError) as caught:
        gkt.answer_table(run, table, out, **how)
    assert caught.value.code == code
    assert table.read_text() == "text\nhello\n" and not (tmp_path / "o.csv").exists()


def test_a_run_is_named_as_everywhere(tmp_path, table, monkeypatch):
    monkeypatch.setenv("GEMMA_KERAS_TUNE_HOME", str(tmp_path))
    with pytest.raises(TuneError, match="holds none yet") as caught:
        gkt.answer_table("latest", table, tmp_path / "o.csv")
    assert caught.value.code == "RUN_NOT_FOUND"
    (tmp_path / "runs").mkdir()
    run_of(tmp_path / "runs" / "mine", "text")
    with pytest.raises(TuneError) as caught:
        gkt.answer_table("latest", table, tmp_path / "o.csv")
    assert caught.value.code == "TABLE_TASK"


def test_the_command_that_goes_on_works_from_any_folder(tmp_path, table, monkeypatch):
    monkeypatch.setenv("GEMMA_KERAS_TUNE_HOME", str(tmp_path))
    (tmp_path / "runs").mkdir()
    known = run_of(tmp_path / "runs" / "mine", "text", is_trained=False)
    elsewhere = run_of(tmp_path / "a run", "text", is_trained=False)
    for run, words in ((known, "resume mine"), (elsewhere, f"resume '{tmp_path}/a run'")):
        with pytest.raises(TuneError) as caught:
            gkt.answer_table(run, table, tmp_path / "o.csv")
        assert str(caught.value).endswith(f"Finish it with: gemma-keras-tune {words}")


def test_a_bound_that_is_no_probability_is_a_mistake_of_the_caller(tmp_path, table):
    run = run_of(tmp_path / "run", "classification")
    with pytest.raises(ValueError, match="doubt_below is 80"):
        gkt.answer_table(run, table, tmp_path / "o.csv", doubt_below=80)

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version

from gemma_keras_tune import lineage
from gemma_keras_tune.event_types import ControlApplied
from gemma_keras_tune.events import EventWriter
from gemma_keras_tune.lineage import code_version, collect_lineage
from gemma_keras_tune.recipe_files import parse_recipe
from gemma_keras_tune.run_folder import RunFolder, open_for_writing
from gemma_keras_tune.run_outputs import with_changes


def make_recipe(**data):
    settings = {"task": "text", "path": "/home/someone/rows.csv", **data}
    return parse_recipe({"schema": 1, "name": "first", "data": settings})


def test_a_lineage_has_the_hashes_and_settings_but_no_folder():
    recipe = make_recipe(test_path="/home/someone/test.csv")
    found = collect_lineage(
        recipe=recipe,
        data={"/home/someone/rows.csv": "ab", "/home/someone/test.csv": "cd"},
        base={"name": "demo", "sha256": "ef"},
        tokenizer_sha256="01",
    )
    assert found["data"] == [
        {"file": "rows.csv", "sha256": "ab"},
        {"file": "test.csv", "sha256": "cd"},
    ]
    assert found["base"] == {"name": "demo", "sha256": "ef"}
    assert found["tokenizer"] == {"sha256": "01"}
    assert found["recipe"]["sha256"] == recipe.sha256
    assert found["recipe"]["train"]["epochs"] == recipe.train.epochs
    assert found["packages"]["numpy"] == version("numpy")
    assert "/home" not in json.dumps(found)


def test_a_preset_that_is_a_path_keeps_only_its_name():
    recipe = parse_recipe(
        {
            "schema": 1,
            "name": "first",
            "data": {"task": "text", "path": "rows.csv"},
            "model": {"preset": "/home/someone/models/mine"},
        }
    )
    assert collect_lineage(recipe=recipe)["recipe"]["model"]["preset"] == "mine"


def test_in_a_checkout_the_commit_is_named(monkeypatch, tmp_path):
    package = tmp_path / "gemma_keras_tune"
    package.mkdir()
    (package / "lineage.py").write_text("x = 1\n")
    monkeypatch.setattr(lineage, "__file__", str(package / "lineage.py"))
    assert set(code_version()) == {"version"}

    def git(*arguments):
        who = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        command = ["git", "-C", str(tmp_path), *who, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "first")
    assert code_version() | {"version": ""} == {
        "version": "",
        "commit": git("rev-parse", "HEAD"),
        "changed": False,
    }
    (package / "lineage.py").write_text("x = 2\n")
    assert code_version()["changed"] is True


def test_collecting_a_lineage_loads_no_jax_of_its_own():
    code = (
        "import sys; from gemma_keras_tune.lineage import collect_lineage; collect_lineage();"
        "assert not {'jax', 'numpy', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_lineage_tells_what_was_changed_in_the_working_run_as_it_counted(tmp_path):
    """Killed after step 5 and resumed, it is asked for another rate at step 4: that one counts."""
    folder = RunFolder(tmp_path / "run")
    asked = (
        (ControlApplied(id="a", command="set", step=2, key="patience", value=3),
         ControlApplied(id="b", command="pause", step=3),
         ControlApplied(id="c", command="set", step=5, key="learning_rate", value=1e-3)),
        (ControlApplied(id="d", command="set", step=4, key="learning_rate", value=1e-5),),
    )  # fmt: skip
    for attempt in asked:
        with open_for_writing(folder) as writer, EventWriter(folder.events, writer.attempt) as tell:
            for event in attempt:
                tell(event)
    told = with_changes(folder, {"code": {}})
    assert told["code"] == {} and told["changes"] == [
        {"after_step": 2, "setting": "patience", "value": 3},
        {"after_step": 4, "setting": "learning_rate", "value": 1e-5},
    ]

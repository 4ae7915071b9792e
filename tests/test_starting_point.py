"""Going on from an adapter, and several adapters beside one base."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

import gemma_keras_tune as gkt
from gemma_keras_tune.errors import ModelError, StoppedWithCheckpoint, TuneError
from gemma_keras_tune.events import Event, Step
from gemma_keras_tune.model.lora import load_adapter, save_adapter
from gemma_keras_tune.recipe import LoraRecipe, ModelRecipe, Recipe
from gemma_keras_tune.recipe_files import load_recipe
from gemma_keras_tune.run_folder import HOME_VARIABLE, RunFolder
from tests.model.test_forward import random_adapters
from tests.support.command_line import save_tiny_model, write_recipe, write_rows

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers")
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def recipe(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    write_rows(tmp_path / "rows.csv")
    path = write_recipe(tmp_path / "tiny.toml", data="rows.csv", preset=str(model_folder))
    return load_recipe(path, overrides={"train.max_steps": 2, "model.lora.rank": 3})


def run_of(recipe: Recipe, tmp_path: Path, name: str) -> RunFolder:
    return gkt.run(recipe, tmp_path / "home" / "runs" / name)


def stop_at_step_1(event: Event) -> None:
    """Asks this process to stop, as a terminal would."""
    if isinstance(event, Step) and event.step == 1:
        signal.raise_signal(signal.SIGTERM)


def with_adapter_of(recipe: Recipe, name: str | Path, **changes: object) -> Recipe:
    model = recipe.model.model_copy(
        update={"adapter": str(name), "lora": LoraRecipe(rank=8), **changes}
    )
    return recipe.model_copy(update={"model": model})


def test_training_goes_on_where_the_first_run_ended(recipe: Recipe, tmp_path: Path) -> None:
    first = run_of(recipe, tmp_path, "first")
    second = run_of(with_adapter_of(recipe, "latest"), tmp_path, "second")
    # its settings are the adapter's, whatever the recipe says
    assert json.loads(second.recipe_json.read_text())["model"]["lora"]["rank"] == 3
    base = gkt.load_model(recipe.model)
    before, after = (load_adapter(run.adapter, base.config) for run in (first, second))
    moved = [
        np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True)
    ]
    assert 0 < max(moved) < 0.1  # on from there: a fresh start has other numbers altogether
    started = json.loads(second.lineage_json.read_text())["adapter"]["sha256"]
    assert len(started) == 64
    assert json.loads(first.lineage_json.read_text())["adapter"] is None
    report = json.loads(second.report_json.read_text())
    assert report["base"] == json.loads(first.report_json.read_text())["base"]  # still the base


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_run_is_resumed_whether_what_it_started_from_is_gone_or_not(
    is_gone: bool, recipe: Recipe, tmp_path: Path
) -> None:
    first = run_of(recipe, tmp_path, "first")
    wish = with_adapter_of(recipe, "first")
    folder = tmp_path / "home" / "runs" / "second"
    with pytest.raises(StoppedWithCheckpoint):
        gkt.run(wish, folder, on_event=stop_at_step_1)
    sha256 = json.loads((folder / "lineage.json").read_text())["adapter"]["sha256"]
    if is_gone:
        shutil.rmtree(first.path)
        wish = load_recipe(folder / "recipe.json")
    second = gkt.run(wish, folder)  # else by the very recipe that it began with
    assert second.report_json.exists()
    assert json.loads(second.lineage_json.read_text())["adapter"]["sha256"] == sha256
    before = load_adapter(second.starting_adapter, gkt.load_model(recipe.model).config)
    assert before.config.rank == 3


def test_a_run_of_other_weights_is_no_start(recipe: Recipe, tmp_path: Path) -> None:
    first = run_of(recipe, tmp_path, "first")
    lineage = json.loads(first.lineage_json.read_text())
    lineage["base"]["sha256"] = "0" * 64
    first.lineage_json.write_text(json.dumps(lineage))
    with pytest.raises(TuneError, match="was trained beside the model") as raised:
        run_of(with_adapter_of(recipe, "first"), tmp_path, "second")
    assert raised.value.code == "ADAPTER_OTHER_BASE"


def test_a_run_that_can_not_say_what_it_was_trained_beside_is_no_start(
    recipe: Recipe, tmp_path: Path
) -> None:
    first = run_of(recipe, tmp_path, "first")
    first.lineage_json.write_text("{half")
    with pytest.raises(ModelError, match="which weights the adapter belongs to") as raised:
        gkt.with_adapter(gkt.load_model(recipe.model), "first")
    assert raised.value.code == "ADAPTER_FILE"


def test_a_name_that_two_runs_have_is_no_start(recipe: Recipe, tmp_path: Path) -> None:
    for stamp in ("20261130-120000-001", "20261130-120000-002"):
        folder = tmp_path / "home" / "runs" / f"{stamp}-mine"
        folder.mkdir(parents=True)
        (folder / "recipe.json").write_text(recipe.to_json())
    with pytest.raises(TuneError, match="any of 2 runs") as raised:
        run_of(with_adapter_of(recipe, "mine"), tmp_path, "third")
    assert raised.value.code == "RUN_AMBIGUOUS"
    with pytest.raises(ModelError, match="hasn't finished. Finish it with") as raised:
        run_of(with_adapter_of(recipe, "20261130-120000-001"), tmp_path, "third")
    assert raised.value.code == "ADAPTER_NOT_FOUND"


def test_a_run_is_no_file(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("")
    with pytest.raises(TuneError, match="is a file. Name a folder") as raised:
        gkt.run(recipe, tmp_path / "rows.txt")
    assert raised.value.code == "RUN_FOLDER"


@pytest.mark.parametrize("name", ["nothing", "second"])
def test_what_is_no_adapter_is_named_before_anything_starts(
    recipe: Recipe, tmp_path: Path, name: str
) -> None:
    (tmp_path / "home" / "runs" / "second").mkdir(parents=True)
    with pytest.raises(ModelError, match=name) as raised:
        run_of(with_adapter_of(recipe, name), tmp_path, "third")
    assert raised.value.code == "ADAPTER_NOT_FOUND"
    assert not (tmp_path / "home" / "runs" / "third").exists()


def test_a_path_is_read_from_the_recipes_folder(recipe: Recipe, tmp_path: Path) -> None:
    path = write_recipe(tmp_path / "further.toml", data="rows.csv", preset=recipe.model.preset)
    path.write_text(path.read_text().replace("[model]\n", '[model]\nadapter = "./mine"\n'))
    assert load_recipe(path).model.adapter == str(tmp_path / "mine")
    assert load_recipe(path, overrides={"model.adapter": "latest"}).model.adapter == "latest"


def test_several_adapters_share_the_weights_of_one_base(recipe: Recipe, tmp_path: Path) -> None:
    base = gkt.load_model(ModelRecipe(preset=recipe.model.preset))
    for number in (1, 2):
        folder = tmp_path / f"adapter-{number}"
        folder.mkdir()
        adapters = random_adapters(base.config, LoraRecipe(rank=number), size=0.05)
        save_adapter(folder, adapters, base.config, base_name="tiny")
    one, two = (gkt.with_adapter(base, tmp_path / f"adapter-{number}") for number in (1, 2))
    assert one.weights is base.weights and two.weights is base.weights
    assert one.adapters is not None and two.adapters is not None
    assert (one.adapters.config.rank, two.adapters.config.rank) == (1, 2)
    assert gkt.with_adapter(one, tmp_path / "adapter-2").adapters is not one.adapters

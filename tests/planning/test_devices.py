"""The mesh that is chosen: few cuts where a device holds the weights, more where it doesn't."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gemma_keras_tune.errors import ModelError
from gemma_keras_tune.model.mesh import MeshShape
from gemma_keras_tune.planning import devices, room
from gemma_keras_tune.planning.devices import (
    as_planned,
    fitting_mesh,
    planned_mesh,
    with_mesh,
)
from gemma_keras_tune.planning.known_models import known_config
from gemma_keras_tune.planning.make import plan
from gemma_keras_tune.planning.values import Room
from gemma_keras_tune.recipe import DataRecipe, MeshRecipe, ModelRecipe, Recipe

RECIPE = Recipe(
    name="mesh",
    data=DataRecipe(path="rows.csv", task="text"),
    model=ModelRecipe(preset="gemma3_instruct_12b_text"),
)
CONFIG = known_config("gemma3-12b")  # 16 heads; 24 GB in bfloat16


def with_gb(monkeypatch: pytest.MonkeyPatch, size: float) -> None:
    """Makes every device have so many gigabytes free."""
    free = int(size * 1e9)
    found = Room(where="device", free_bytes=free, total_bytes=free, source="a test")
    monkeypatch.setattr(devices, "device_room", lambda platform: found)


@pytest.mark.parametrize(("size", "cuts"), [(80, 1), (24, 2), (16, 4), (12, 8), (1, 8)])
def test_weights_are_cut_as_few_times_as_they_must(
    monkeypatch: pytest.MonkeyPatch, size: float, cuts: int
) -> None:
    with_gb(monkeypatch, size)
    found = fitting_mesh(RECIPE, CONFIG, "tpu", 8, together=8)
    assert found == MeshShape(data=8 // cuts, model=cuts)


def test_processes_bound_the_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gb(monkeypatch, 12)
    assert fitting_mesh(RECIPE, CONFIG, "tpu", 8, together=4) == MeshShape(data=2, model=4)


def test_the_recipe_decides_where_it_says_something(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gb(monkeypatch, 80)
    asked = RECIPE.model_copy(update={"mesh": MeshRecipe(model=4)})
    assert fitting_mesh(asked, CONFIG, "gpu", 8, together=8) == MeshShape(data=2, model=4)
    with pytest.raises(ModelError, match="mesh.model=3 doesn't fit"):
        wrong = RECIPE.model_copy(update={"mesh": MeshRecipe(model=3)})
        fitting_mesh(wrong, CONFIG, "gpu", 8, together=8)


def test_a_cpu_shares_one_memory_so_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    with_gb(monkeypatch, 1)
    assert fitting_mesh(RECIPE, CONFIG, "cpu", 8, together=8) == MeshShape(data=8)


def test_one_device_needs_no_mesh_and_two_are_refused_there() -> None:
    assert planned_mesh(RECIPE) is None
    asked = RECIPE.model_copy(
        update={"mesh": MeshRecipe(data=2), "model": ModelRecipe(preset="demo")}
    )
    with pytest.raises(ModelError, match="there are 1 devices") as refused:
        planned_mesh(asked)
    assert refused.value.code == "MESH_SHAPE"


def test_a_plan_for_several_devices_counts_the_part_of_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_gb(monkeypatch, 12)
    found = Room(where="device", free_bytes=int(12e9), total_bytes=int(12e9), source="a test")
    for name, value in (
        ("likely_platform", lambda: "gpu"),
        ("device_room", lambda platform: found),
    ):
        monkeypatch.setattr(f"gemma_keras_tune.planning.make.{name}", value)
    monkeypatch.setattr(devices, "device_count", lambda platform: 8)
    made = plan(RECIPE, count=False)
    weights = {term.name: term.bytes for stage in made.memory.stages for term in stage.terms}[
        "frozen_weights"
    ]
    assert 2.8e9 < weights < 3.1e9  # 23.5 GB on eight devices
    assert made.verdict.status != "too_big"


def test_a_recipe_with_a_mesh_says_so() -> None:
    asked = with_mesh(RECIPE, MeshShape(data=2, model=4))
    assert (asked.mesh.data, asked.mesh.model) == (2, 4)
    assert asked.gives_the_same_as(RECIPE)
    assert RECIPE.computed_otherwise(asked) == ("mesh.data: None -> 2", "mesh.model: None -> 4")
    assert not asked.gives_the_same_as(RECIPE.model_copy(update={"name": "other"}))


def test_devices_are_counted_without_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.setattr(room.shutil, "which", lambda name: None)
    assert room.device_count("gpu") == room.device_count("cpu") == 1


@pytest.mark.parametrize(("data", "cuts"), [(2, 4), (8, 1), (16, 1)])
def test_a_recipe_that_names_its_groups_says_how_often_weights_are_cut(
    monkeypatch: pytest.MonkeyPatch, data: int, cuts: int
) -> None:
    monkeypatch.setattr(devices, "device_count", lambda platform: 8)
    asked = RECIPE.model_copy(update={"mesh": MeshRecipe(data=data)})
    assert as_planned(asked, CONFIG, "gpu").mesh == MeshRecipe(data=data, model=cuts)
    assert as_planned(asked, CONFIG, "cpu") is asked


def test_only_the_gpus_that_may_be_used_are_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tool = tmp_path / "nvidia-smi"
    lines = ["GPU 0: A100", "  MIG 1g.10gb Device 0", "GPU 1: A100", "GPU 2: A100"]
    tool.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines))
    tool.chmod(0o755)
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.setattr(room.shutil, "which", lambda name: str(tool))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert room.device_count("gpu") == 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    assert room.device_count("gpu") == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert room.device_count("gpu") == 1  # none may be used: JAX will be the processor's

"""Training on eight virtual devices, in every mesh, is training on one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemma_keras_tune.training.plan import TrainPlan
from tests.support.command_line import ROOT, environment, save_tiny_model
from tests.support.mesh_child import EIGHT, RECIPE
from tests.support.tiny_models import TINY_FAMILIES

MESHES = ("8x1", "4x2", "2x4")
OTHERS = [family for family in TINY_FAMILIES if family != "gemma3"]


def by_eight(folder: Path, wanted: dict[str, list[str]]) -> dict[str, Any]:
    """What the child with eight devices found for these families on these meshes."""
    model = save_tiny_model(folder / "model")
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.mesh_child", str(model), json.dumps(wanted)],
        capture_output=True, text=True, cwd=ROOT, timeout=800,
        env=environment(folder / "home") | {"XLA_FLAGS": EIGHT},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    values: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return values


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return by_eight(tmp_path_factory.mktemp("mesh"), {"gemma3": ["1x1", *MESHES]})


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return by_eight(
        tmp_path_factory.mktemp("meshes"), {family: ["1x1", "4x2"] for family in OTHERS}
    )


def check_curve(curves: dict[str, Any], mesh: str) -> None:
    one, many = curves["1x1"], curves[mesh]
    assert len(one["losses"]) >= 4
    assert many["layouts"] == 1, "a step on other layouts is compiled anew"
    assert many["answers"] == one["answers"]
    for name in ("losses", "norms", "validation"):
        np.testing.assert_allclose(many[name], one[name], rtol=1e-5, err_msg=name)
    np.testing.assert_allclose(many["adapters"], one["adapters"], rtol=1e-4)
    assert one["losses"][-1] < one["losses"][0]


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES)
def test_the_curve_is_that_of_one_device(found: dict[str, Any], mesh: str) -> None:
    check_curve(found["curves"]["gemma3"], mesh)


@pytest.mark.slow
@pytest.mark.parametrize("family", OTHERS)
def test_the_curve_of_every_family_is_that_of_one_device(
    others: dict[str, Any], family: str
) -> None:
    check_curve(others["curves"][family], "4x2")


@pytest.mark.slow
@pytest.mark.parametrize("mesh", MESHES)
def test_no_device_holds_more_than_its_part(found: dict[str, Any], mesh: str) -> None:
    loaded, whole = found["loaded"][mesh], found["loaded"]["whole"]
    cuts = int(mesh[-1])
    assert loaded["same"]
    assert len(set(loaded["held"])) == 1
    copied = 0.03 if cuts < 4 else 0.1  # norms, and keys whose two heads four can't share
    assert whole / cuts <= loaded["held"][0] <= whole * (1 / cuts + copied)


class _NoTokens:
    lengths = (1,)


@pytest.mark.parametrize(
    ("groups", "expected"), [(1, (2, 4)), (2, (1, 8)), (4, (1, 8)), (8, (1, 8)), (3, (1, 9))]
)
def test_rows_are_dealt_without_more_at_once(groups: int, expected: tuple[int, int]) -> None:
    recipe = RECIPE.model_copy(update={"batch_tokens": 512, "micro_batch_tokens": 256})
    plan = TrainPlan(tokens=_NoTokens(), length=64, recipe=recipe, pad_id=0)  # type: ignore[arg-type]  # no rows are asked for
    assert (plan.micro_batches, plan.rows) == (2, 4)
    assert plan.dealt(groups) == expected

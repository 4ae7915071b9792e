"""Meshes by hand: which shapes are valid, and where each weight is cut."""

from __future__ import annotations

import pytest

from gemma_keras_tune.errors import ModelError
from gemma_keras_tune.model.config import GemmaConfig
from gemma_keras_tune.model.mesh import MeshShape, cut_axes, mesh_shape, mesh_shapes
from gemma_keras_tune.model.weights import weight_shapes
from tests.support.tiny_models import TINY_FAMILIES, tiny_gemma3, tiny_gemma4

TINY = tiny_gemma3()  # 4 heads, 2 of them for keys, width 32, feed-forward 64


def shapes(config: GemmaConfig, devices: int, together: int) -> list[tuple[int, int]]:
    return [(s.data, s.model) for s in mesh_shapes(config, devices, together=together)]


def test_a_mesh_uses_all_devices_and_divides_the_heads() -> None:
    assert shapes(TINY, 8, 8) == [(8, 1), (4, 2), (2, 4)]
    assert shapes(TINY, 6, 6) == [(6, 1), (3, 2)]
    assert shapes(TINY, 7, 7) == [(7, 1)]


def test_a_group_never_spans_two_processes() -> None:
    assert shapes(TINY, 8, 2) == [(8, 1), (4, 2)]
    assert shapes(TINY, 8, 1) == [(8, 1)]


def test_without_a_wish_nothing_is_cut() -> None:
    assert mesh_shape(TINY, 8, together=8, data=None, model=None) == MeshShape(data=8)
    assert mesh_shape(TINY, 8, together=8, data=None, model=4) == MeshShape(data=2, model=4)
    assert mesh_shape(TINY, 8, together=8, data=4, model=None) == MeshShape(data=4, model=2)


@pytest.mark.parametrize(
    ("data", "model"), [(3, None), (None, 3), (8, 2), (None, 8), (1, None), (2, 2)]
)
def test_a_mesh_that_does_not_fit_is_refused_with_those_that_do(
    data: int | None, model: int | None
) -> None:
    with pytest.raises(ModelError) as refused:
        mesh_shape(TINY, 8, together=8, data=data, model=model)
    assert refused.value.code == "MESH_SHAPE"
    assert "mesh.data=8 mesh.model=1; mesh.data=4 mesh.model=2; mesh.data=2 mesh.model=4" in str(
        refused.value
    )
    assert "4 heads" in str(refused.value)


def test_the_refusal_names_the_devices_of_a_process_where_there_are_several() -> None:
    with pytest.raises(ModelError, match="8 devices, 2 in each process"):
        mesh_shape(TINY, 8, together=2, data=None, model=4)


def test_each_weight_is_cut_where_it_should() -> None:
    axes = cut_axes(TINY, 2)
    columns = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")
    assert {name: axes[name] for name in columns} == dict.fromkeys(columns, 2)
    assert (axes["o_proj"], axes["down_proj"], axes["embedding"]) == (1, 1, 1)
    assert axes["input_norm"] is None
    assert axes["final_norm"] is None
    assert cut_axes(TINY, 4)["k_proj"] is None  # two heads can't be dealt to four devices


def test_layers_with_other_heads_are_cut_by_their_own() -> None:
    axes = cut_axes(tiny_gemma4(global_kv_heads=4), 4)
    assert axes["k_proj"] is None  # two heads
    assert axes["k_proj.2"] == 2  # the global layers' four
    # one head of 32 has the shape of two of 16, so the layers are stacked together
    assert cut_axes(tiny_gemma4(global_kv_heads=1), 2)["k_proj"] is None


@pytest.mark.parametrize("config", TINY_FAMILIES.values(), ids=TINY_FAMILIES)
@pytest.mark.parametrize("cuts", [1, 2, 4])
def test_every_cut_is_even(config: GemmaConfig, cuts: int) -> None:
    sizes = weight_shapes(config)
    sizes |= sizes.pop("layers")
    axes = cut_axes(config, cuts)
    assert axes.keys() == sizes.keys()
    for key, axis in axes.items():
        assert axis is None or (cuts > 1 and sizes[key][axis] % cuts == 0)

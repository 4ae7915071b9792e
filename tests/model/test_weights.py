"""Config, the table of shapes, and the builder that every reader fills."""

import json

import jax
import ml_dtypes
import numpy as np
import pytest

from gemma_keras_tune.errors import ModelError
from gemma_keras_tune.model.assemble import WeightsBuilder, cast
from gemma_keras_tune.model.config import GemmaConfig, layer_pattern
from gemma_keras_tune.model.weights import init_random, parameter_count, weight_shapes
from tests.support.tiny_models import tiny_gemma3


def gemma3_270m() -> GemmaConfig:
    return tiny_gemma3(
        vocab_size=262_144, width=640, layers=18, heads=4, kv_heads=1, head_dim=256, hidden_dim=2048
    )


def test_the_270m_has_as_many_parameters_as_kerashub_says():
    assert parameter_count(gemma3_270m()) == 268_098_176


def test_a_config_survives_json():
    config = tiny_gemma3(layers=7, final_softcap=30.0)
    assert GemmaConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
    assert hash(config) == hash(tiny_gemma3(layers=7, final_softcap=30.0))


def test_every_sixth_layer_of_gemma_3_is_global():
    assert [i for i, local in enumerate(layer_pattern(26)) if not local] == [5, 11, 17, 23]


@pytest.mark.parametrize(
    "wrong",
    [
        {"heads": 3},
        {"head_dim": 15},
        {"layers": 2, "layer_is_local": (True,)},
        {"sliding_window": 0},
        {"width": 0},
    ],
)
def test_contradicting_sizes_are_refused(wrong):
    with pytest.raises(ValueError):
        tiny_gemma3(**wrong)


def test_random_weights_follow_the_table_and_the_seed():
    config = tiny_gemma3()
    weights = init_random(config, seed=1)
    assert jax.tree.map(lambda a: a.shape, weights) == weight_shapes(config)
    again, other = init_random(config, seed=1), init_random(config, seed=2)
    assert np.array_equal(weights["embedding"], again["embedding"])
    assert not np.array_equal(weights["embedding"], other["embedding"])


def test_a_family_without_the_optional_norms_has_none():
    shapes = weight_shapes(tiny_gemma3(qk_norm=False, post_norms=False))["layers"]
    assert "q_norm" not in shapes
    assert "post_attention_norm" not in shapes


@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16])
def test_jax_takes_the_filled_memory_without_a_copy(dtype):
    config = tiny_gemma3()
    builder = filled(config, dtype)
    (part,) = builder._arrays["embedding"]._parts.values()
    memory = part.ctypes.data
    embedding = builder.finish()["embedding"]
    assert embedding.unsafe_buffer_pointer() == memory
    assert embedding.dtype == dtype


def test_widening_bfloat16_is_exact_for_every_bit_pattern_that_is_a_number():
    patterns = np.arange(2**16, dtype=np.uint16).view(ml_dtypes.bfloat16)
    numbers = patterns[np.isfinite(patterns.astype(np.float32))]
    ours, theirs = cast(numbers, np.dtype(np.float32)), numbers.astype(np.float32)
    assert np.array_equal(ours.view(np.uint32), theirs.view(np.uint32))


def test_missing_tensors_are_named():
    builder = filled(tiny_gemma3(), np.float32, leave_out=("k_proj", 3))
    with pytest.raises(ModelError, match=r"1 tensors are missing: k_proj\[3\]") as caught:
        builder.finish()
    assert caught.value.code == "MODEL_TENSOR_MISSING"


def test_a_tensor_of_another_shape_is_refused_with_both_shapes():
    builder = WeightsBuilder(tiny_gemma3(), np.float32, where="here")
    with pytest.raises(ModelError, match=r"here: tensor 'w' has the shape \[3\].*\[32\]"):
        builder.fill("final_norm", None, [np.zeros(3)], shape=(3,), called="w")


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_tensor_that_is_not_finite_is_refused(dtype, value):
    block = np.zeros(32, dtype)
    block[7] = value
    builder = WeightsBuilder(tiny_gemma3(), np.float32, where="here")
    with pytest.raises(ModelError, match="NaN or infinite"):
        builder.fill("final_norm", None, [block], shape=(32,))


def test_a_tensor_that_comes_twice_is_refused():
    builder = WeightsBuilder(tiny_gemma3(), np.float32, where="here")
    builder.fill("final_norm", None, [np.zeros(32)], shape=(32,))
    with pytest.raises(ModelError, match="twice"):
        builder.fill("final_norm", None, [np.zeros(32)], shape=(32,))


def test_progress_ends_at_all_bytes():
    seen = []
    filled(tiny_gemma3(), np.float32, on_progress=lambda *what: seen.append(what)).finish()
    expected = 4 * parameter_count(tiny_gemma3())
    assert seen[-1] == ("weights", expected, expected)
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def filled(config, dtype, *, leave_out=None, on_progress=None) -> WeightsBuilder:
    builder = WeightsBuilder(config, dtype, where="here", on_progress=on_progress)
    shapes = weight_shapes(config)
    for name in ("embedding", "final_norm"):
        builder.fill(name, None, [np.zeros(shapes[name])], shape=shapes[name])
    for name, shape in shapes["layers"].items():
        for layer in range(config.layers):
            if (name, layer) != leave_out:
                builder.fill(name, layer, [np.zeros(shape[1:])], shape=shape[1:])
    return builder

"""The forward pass against KerasHub, `transformers`, and itself under packing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.model.attention import attention, attention_masks
from gemma_keras_tune.model.config import GemmaConfig
from gemma_keras_tune.model.forward import hidden_states, logits
from gemma_keras_tune.model.keras import from_keras
from gemma_keras_tune.model.layers import rms_norm
from gemma_keras_tune.model.lora import Adapters, init_adapters
from gemma_keras_tune.model.products import low_rank_product, product
from gemma_keras_tune.model.weights import init_random, weight_shapes
from gemma_keras_tune.recipe import LoraRecipe
from tests.support.hf_models import tiny_hf, weights_from_hf
from tests.support.tiny_models import TINY_FAMILIES, slow_but, tiny_gemma1, tiny_gemma3

LENGTHS = (37, 23, 11)  # past the sliding window of 8
ALL = LoraRecipe(rank=4, targets=("all-linear",))


def forward(config: GemmaConfig, weights: Any, ids: Any, **more: Any) -> np.ndarray:
    """Hidden states of rows without padding, or with the given positions and segments."""
    ids = jnp.asarray(ids, jnp.int32)
    batch, length = ids.shape
    more.setdefault("positions", jnp.broadcast_to(jnp.arange(length), (batch, length)))
    more.setdefault("segment_ids", jnp.ones((batch, length), jnp.int32))
    remat = more.pop("remat", "none")
    return np.asarray(jax.jit(partial(hidden_states, config, remat=remat))(weights, ids, **more))


def random_adapters(config: GemmaConfig, lora: LoraRecipe = ALL, *, size: float = 0.02) -> Adapters:
    """Adapters whose B is not zero, weak enough to move the output by a few per cent."""
    fresh = init_adapters(config, lora)
    rng = np.random.default_rng(7)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape, np.float32) * size), fresh
    )


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a share of the largest value."""
    found, expected = np.asarray(found, np.float32), np.asarray(expected, np.float32)
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.fixture(scope="module")
def config() -> GemmaConfig:
    return tiny_gemma3(layers=7)


@pytest.fixture(scope="module")
def weights(config: GemmaConfig) -> dict[str, Any]:
    return init_random(config, seed=0)


@pytest.fixture(scope="module")
def ids(config: GemmaConfig) -> np.ndarray:
    return np.random.default_rng(0).integers(4, config.vocab_size, (2, 37))


def packed(config: GemmaConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three examples and 9 places of padding in one row of 80: ids, positions, segments."""
    ids = np.zeros((1, 80), np.int32)
    positions, segments = np.zeros_like(ids), np.zeros_like(ids)
    rng, start = np.random.default_rng(1), 0
    for number, length in enumerate(LENGTHS, start=1):
        span = slice(start, start + length)
        ids[0, span] = rng.integers(4, config.vocab_size, length)
        positions[0, span] = np.arange(length)
        segments[0, span] = number
        start += length
    return ids, positions, segments


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_states_and_logits_equal_transformers_past_the_sliding_window(
    family: str, ids: np.ndarray
) -> None:
    import torch

    config = TINY_FAMILIES[family]
    model = tiny_hf(config)
    with torch.no_grad():
        expected = model(torch.tensor(ids), output_hidden_states=True)
    weights = weights_from_hf(model, config)
    assert jax.tree.map(jnp.shape, weights) == weight_shapes(config)
    states = forward(config, weights, ids)
    assert relative(states, expected.hidden_states[-1].numpy()) < 1e-5
    found = logits(config, weights, jnp.asarray(states))
    assert relative(np.asarray(found), expected.logits.numpy()) < 2e-5


def test_an_output_projection_of_its_own_makes_the_logits() -> None:
    import torch

    config = tiny_gemma1(tied=False)
    model, ids = tiny_hf(config), np.random.default_rng(0).integers(4, config.vocab_size, (1, 20))
    with torch.no_grad():
        expected = model(torch.tensor(ids)).logits.numpy()
    weights = weights_from_hf(model, config)
    found = logits(config, weights, jnp.asarray(forward(config, weights, ids)))
    assert relative(np.asarray(found), expected) < 1e-5


def kerashub_backbone(config: GemmaConfig, *, dtype: str) -> Any:
    """A random backbone of KerasHub, of that family and shape, norms away from their defaults."""
    import keras_hub

    common = {
        "vocabulary_size": 512, "num_layers": config.layers, "num_query_heads": 4,
        "num_key_value_heads": config.kv_heads, "hidden_dim": 32, "head_dim": 16,
        "sliding_window_size": 8, "final_logit_soft_cap": config.final_softcap, "dtype": dtype,
    }  # fmt: skip
    by_width = config.query_scale == 8**-0.5
    early = common | {
        "intermediate_dim": 128, "query_head_dim_normalize": not by_width,
        "attention_logit_soft_cap": config.attention_softcap,
        "use_post_ffw_norm": config.post_norms, "use_post_attention_norm": config.post_norms,
        "use_sliding_window_attention": any(config.layer_is_local),
    }  # fmt: skip
    if config.family == "gemma3":
        arguments = early | {
            "image_size": 16, "intermediate_dim": 64, "use_query_key_norm": True,
            "global_rope_scaling_factor": config.rope_scaling, "vision_encoder": None,
        }  # fmt: skip
        backbone = keras_hub.models.Gemma3Backbone(**arguments)
    elif config.family == "gemma4":
        backbone = keras_hub.models.Gemma4Backbone(
            **common, intermediate_dim=64, image_size=None, vision_encoder=None,
            audio_encoder=None, sliding_window_pattern=3, global_head_dim=32,
            num_kv_shared_layers=config.shared_kv_layers, use_double_wide_mlp=config.wide_shared,
            num_global_key_value_heads=config.global_kv_heads or None,
            hidden_size_per_layer_input=config.per_layer_width,
            global_rope_partial_rotary_factor=0.25,
        )  # fmt: skip
    else:
        backbone = keras_hub.models.GemmaBackbone(**early)
    rng = np.random.default_rng(3)
    for variable in backbone.variables:
        middle = 1.0 if config.family == "gemma4" and len(variable.shape) < 2 else 0.0
        variable.assign(middle + rng.standard_normal(variable.shape) * 0.2)
    # the blocks of Gemma 1 to 3 don't get the backbone's own setting: KerasHub 0.32
    for block in backbone.transformer_layers:
        block.attention.query_head_dim_normalize = not by_width
    return backbone


def kerashub_states(backbone: Any, ids: np.ndarray) -> np.ndarray:
    """What KerasHub's backbone computes, compiled, as float32."""
    inputs = {"token_ids": ids, "padding_mask": np.ones_like(ids)}
    if "position_ids" in backbone.input:
        inputs["position_ids"] = np.broadcast_to(np.arange(ids.shape[1]), ids.shape)
    return np.asarray(jax.jit(lambda x: backbone(x))(inputs), np.float32)


@pytest.mark.parametrize("family", TINY_FAMILIES)
def test_hidden_states_equal_kerashub_past_the_sliding_window(ids: np.ndarray, family: str) -> None:
    expected = TINY_FAMILIES[family]
    backbone = kerashub_backbone(expected, dtype="float32")
    config, weights = from_keras(backbone)
    # KerasHub's settings don't hold the longest sequence, and Gemma 1's window is never used
    assert replace(config, max_positions=1024, sliding_window=8) == replace(
        expected, sliding_window=8
    )
    assert relative(forward(config, weights, ids), kerashub_states(backbone, ids)) < 1e-5


@pytest.mark.parametrize("family", slow_but(TINY_FAMILIES, "gemma3"))
def test_in_bfloat16_we_are_as_near_to_float32_as_kerashub_is(ids: np.ndarray, family: str) -> None:
    backbone = kerashub_backbone(TINY_FAMILIES[family], dtype="bfloat16")
    config, weights = from_keras(backbone)
    exact = forward(config, jax.tree.map(lambda w: w.astype(jnp.float32), weights), ids)
    theirs = relative(kerashub_states(backbone, ids), exact)
    assert relative(forward(config, weights, ids), exact) < 1.5 * theirs


@pytest.mark.parametrize("family", slow_but(TINY_FAMILIES, "gemma2", "gemma3"))
def test_packed_examples_equal_the_same_examples_alone(family: str) -> None:
    config = TINY_FAMILIES[family]
    weights = init_random(config, seed=0)
    ids, positions, segments = packed(config)
    together = forward(config, weights, ids, positions=positions, segment_ids=segments)
    start = 0
    for length in LENGTHS:
        alone = forward(config, weights, ids[:, start : start + length])
        assert relative(together[:, start : start + length], alone) < 1e-5
        start += length


def test_without_segments_the_examples_of_a_row_would_mix(
    config: GemmaConfig, weights: dict[str, Any]
) -> None:
    ids, positions, segments = packed(config)
    apart = forward(config, weights, ids, positions=positions, segment_ids=segments)
    mixed = forward(config, weights, ids, positions=positions, segment_ids=(segments > 0) * 1)
    assert relative(mixed[:, 37:71], apart[:, 37:71]) > 0.1


def test_branches_equal_the_prompt_with_each_answer_alone(
    config: GemmaConfig, weights: dict[str, Any]
) -> None:
    rng = np.random.default_rng(2)
    prompt, first, second = (rng.integers(4, 400, size) for size in (20, 3, 5))
    row = np.concatenate([prompt, first, second])[None]
    positions = np.concatenate([np.arange(20), 20 + np.arange(3), 20 + np.arange(5)])[None]
    branches = np.array([[0] * 20 + [1] * 3 + [2] * 5])
    both = forward(config, weights, row, positions=positions, branch_ids=branches)
    alone_1 = forward(config, weights, np.concatenate([prompt, first])[None])
    alone_2 = forward(config, weights, np.concatenate([prompt, second])[None])
    assert relative(both[:, :23], alone_1) < 1e-5
    assert relative(both[:, 23:], alone_2[:, 20:]) < 1e-5


def test_fresh_adapters_change_nothing(
    config: GemmaConfig, weights: dict[str, Any], ids: np.ndarray
) -> None:
    fresh = init_adapters(config, ALL)
    np.testing.assert_array_equal(
        forward(config, weights, ids, adapters=fresh), forward(config, weights, ids)
    )


@pytest.mark.parametrize(
    ("family", "remat"),
    [
        ("gemma3", "dots"),
        ("gemma3", "full"),
        pytest.param("gemma4-small", "full", marks=pytest.mark.slow),
        ("gemma3", "offload"),
    ],
)
def test_computing_again_gives_the_same_gradient(family: str, ids: np.ndarray, remat: str) -> None:
    config = TINY_FAMILIES[family]
    weights = init_random(config, seed=0)
    adapters = random_adapters(config)

    def loss(adapters: Adapters, weights: Any, remat: Any) -> jax.Array:
        shape = ids.shape
        hidden = hidden_states(
            config, weights, jnp.asarray(ids), adapters=adapters, remat=remat,
            positions=jnp.broadcast_to(jnp.arange(shape[1]), shape),
            segment_ids=jnp.ones(shape, jnp.int32),
        )  # fmt: skip
        return (hidden**2).mean()

    plain = jax.jit(jax.grad(partial(loss, remat="none")))(adapters, weights)
    again = jax.jit(jax.grad(partial(loss, remat=remat)))(adapters, weights)
    for one, other in zip(jax.tree.leaves(plain), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)


MEMORIES = ("pinned_host", "device")


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize(("family", "remat"), [("gemma3", "offload"), ("gemma3", "dots")])
def test_offloaded_products_go_to_the_machine_s_memory_and_come_back(
    family: str, remat: Any, platform: str
) -> None:
    """Lowered for a device that isn't there: nothing is compiled."""
    config, shape = TINY_FAMILIES[family], (2, 32)
    weights = init_random(config, seed=0)

    def loss(adapters: Adapters) -> jax.Array:
        positions = jnp.broadcast_to(jnp.arange(32), shape)
        ones = jnp.ones(shape, jnp.int32)
        hidden = hidden_states(
            config, weights, ones, positions=positions, segment_ids=ones,
            adapters=adapters, remat=remat,
        )  # fmt: skip
        return (hidden**2).mean()

    traced = jax.jit(jax.grad(loss)).trace(random_adapters(config))
    program = traced.lower(lowering_platforms=(platform,)).as_text()
    away, back = (program.count(f'_xla_buffer_placement = "{where}"') for where in MEMORIES)
    products = 7 + 7  # of a layer, and of each adapter the inner one; the layers are scanned
    assert (away, back) == ((products, products) if remat == "offload" else (0, 0))


def test_the_low_rank_product_has_the_gradient_of_its_two_factors() -> None:
    rng = np.random.default_rng(0)
    x, a, b = (
        jnp.asarray(rng.standard_normal(s), jnp.float32) for s in ((2, 5, 8), (8, 3), (3, 7))
    )
    ours = jax.grad(lambda *args: jnp.sin(low_rank_product(*args)).sum(), (0, 1, 2))(x, a, b)
    plain = jax.grad(lambda x, a, b: jnp.sin(x @ a @ b).sum(), (0, 1, 2))(x, a, b)
    for one, other in zip(ours, plain, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_product_and_both_gradients_are_those_in_float64(dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, matrix = (jnp.asarray(rng.standard_normal(s), dtype) for s in ((2, 5, 8), (8, 7)))
    pull = jnp.asarray(rng.standard_normal((2, 5, 7)), dtype)
    found, back = jax.vjp(product, x, matrix)
    wide, wide_matrix, wide_pull = (np.asarray(a, np.float64) for a in (x, matrix, pull))
    expected = (
        wide @ wide_matrix,
        wide_pull @ wide_matrix.T,
        np.einsum("bti,bto->io", wide, wide_pull),
    )
    for one, other in zip((found, *back(pull)), expected, strict=True):
        assert one.dtype == x.dtype
        bound = 1e-6 if dtype == "float32" else 2**-8  # rounded once, after the sum
        np.testing.assert_allclose(np.asarray(one, np.float64), other, rtol=bound, atol=1e-5)


def test_dropout_acts_on_the_adapter_only_and_depends_on_the_key(
    config: GemmaConfig, weights: dict[str, Any], ids: np.ndarray
) -> None:
    lora = ALL.model_copy(update={"dropout": 0.5})
    adapters = random_adapters(config, lora)
    key = jax.random.key(0)
    once = forward(config, weights, ids, adapters=adapters, dropout_key=key)
    same = forward(config, weights, ids, adapters=adapters, dropout_key=key)
    other = forward(config, weights, ids, adapters=adapters, dropout_key=jax.random.key(1))
    without = forward(config, weights, ids, adapters=adapters)
    np.testing.assert_array_equal(once, same)
    assert relative(once, other) > 1e-4
    assert relative(once, without) > 1e-4
    fresh = init_adapters(config, lora)
    np.testing.assert_array_equal(
        forward(config, weights, ids, adapters=fresh, dropout_key=key),
        forward(config, weights, ids),
    )


def test_a_local_layer_sees_the_window_and_a_global_layer_everything_before() -> None:
    config = tiny_gemma3(sliding_window=2)
    positions = jnp.arange(4)[None]
    local, everywhere = attention_masks(config, positions, jnp.ones((1, 4), jnp.int32))
    np.testing.assert_array_equal(
        local[0], [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    )
    np.testing.assert_array_equal(everywhere[0], np.tri(4))


def test_attention_with_a_soft_cap_equals_the_numbers_worked_out_by_hand() -> None:
    query = jnp.ones((1, 1, 1, 2))
    key = jnp.array([[[[1.0, 1.0], [0.0, 0.0]]]])
    value = jnp.array([[[[1.0, 0.0], [0.0, 1.0]]]])
    out = attention(query, key, value, mask=jnp.ones((1, 1, 2), bool), softcap=1.0)
    share = 1 / (1 + np.exp(-np.tanh(2.0)))  # scores 2 and 0, capped at 1
    np.testing.assert_allclose(out[0, 0, 0], [share, 1 - share], rtol=1e-6)


def test_rms_norm_of_three_and_four_is_worked_out_by_hand() -> None:
    config = tiny_gemma3(rms_eps=0.0)
    out = rms_norm(jnp.array([3.0, 4.0]), jnp.array([0.0, 1.0]), config)
    np.testing.assert_allclose(out, [3 / np.sqrt(12.5), 2 * 4 / np.sqrt(12.5)], rtol=1e-6)

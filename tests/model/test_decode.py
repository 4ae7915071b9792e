"""The KV cache gives what the whole sequence gives."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.model import decode, tiles
from gemma_keras_tune.model.decode import empty_cache, grow_cache
from gemma_keras_tune.model.decode_layers import (
    extend_by_layers,
    layers_in_place,
    prefill_by_layers,
)
from gemma_keras_tune.model.forward import hidden_states
from gemma_keras_tune.model.lora import init_adapters
from gemma_keras_tune.model.weights import init_random
from gemma_keras_tune.recipe import LoraRecipe
from tests.support.tiny_models import TINY_FAMILIES, slow_but, tiny_gemma3

LENGTHS = (13, 1, 21)
TOTAL = 30  # past the window of 8 before and after the prompts' ends


def in_place(config, weights, adapters=None) -> list[dict[str, Any]]:
    layers = layers_in_place(config, weights, adapters)
    assert layers is not None
    return layers


class OneProgram:
    """The way of an accelerator."""

    by_layer = False
    extend = staticmethod(jax.jit(decode.extend, static_argnums=0))
    prefill = staticmethod(jax.jit(decode.prefill, static_argnums=0, static_argnames="chunk"))


class ProgramForEachLayer:
    """The way of a processor."""

    by_layer = True

    @staticmethod
    def extend(config, weights, token_ids, *, adapters=None, **how):
        layers = in_place(config, weights, adapters)
        return extend_by_layers(config, weights, layers, token_ids, adapters=adapters, **how)

    @staticmethod
    def prefill(config, weights, token_ids, **how):
        layers = in_place(config, weights)
        return prefill_by_layers(config, weights, layers, token_ids, **how)


@pytest.fixture(params=[OneProgram, ProgramForEachLayer])
def way(request):
    return request.param


@partial(jax.jit, static_argnums=0)
def _whole(config, weights, token_ids, adapters=None):
    batch, length = token_ids.shape
    return hidden_states(
        config,
        weights,
        token_ids,
        positions=jnp.broadcast_to(jnp.arange(length), (batch, length)),
        segment_ids=jnp.ones((batch, length), jnp.int32),
        adapters=adapters,
    )


def _sequences(config, *, rows=3, length=TOTAL):
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.integers(0, config.vocab_size, (rows, length)), jnp.int32)


def _padded_prompts(token_ids, *, length):
    """The first `LENGTHS` tokens of each row, with other tokens as padding."""
    kept = jnp.arange(length) < jnp.asarray(LENGTHS)[:, None]
    return jnp.where(kept, token_ids[:, :length], 7)


@pytest.mark.parametrize(
    "name", slow_but(["gemma-mha", "gemma2", "gemma3", "gemma4-small", "gemma4-large"], "gemma3")
)
def test_prompts_of_unequal_lengths_and_then_a_token_at_a_time_equal_the_whole_sequence(name, way):
    config = TINY_FAMILIES[name]
    weights, token_ids = init_random(config, seed=0), _sequences(config)
    expected = np.asarray(_whole(config, weights, token_ids))
    lengths = jnp.asarray(LENGTHS)
    cache = empty_cache(config, batch=3, slots=40, dtype=jnp.float32, by_layer=way.by_layer)
    prompts = _padded_prompts(token_ids, length=24)
    last, cache = way.prefill(config, weights, prompts, lengths=lengths, cache=cache)
    np.testing.assert_allclose(last, expected[np.arange(3), lengths - 1], atol=2e-5)
    for step in range(TOTAL - max(LENGTHS)):
        starts = lengths + step
        token = token_ids[jnp.arange(3), starts][:, None]
        hidden, cache = way.extend(config, weights, token, starts=starts, cache=cache)
        np.testing.assert_allclose(hidden[:, 0], expected[np.arange(3), starts], atol=2e-5)


@pytest.mark.parametrize("chunk", [4, 8, 12])
def test_a_prompt_in_chunks_equals_the_prompt_at_once(chunk, way):
    config = tiny_gemma3()
    weights, token_ids = init_random(config, seed=0), _sequences(tiny_gemma3())
    prompts, lengths = _padded_prompts(token_ids, length=24), jnp.asarray(LENGTHS)
    expected = np.asarray(_whole(config, weights, token_ids))[np.arange(3), lengths - 1]
    cache = empty_cache(config, batch=3, slots=24, dtype=jnp.float32, by_layer=way.by_layer)
    last, _ = way.prefill(config, weights, prompts, lengths=lengths, cache=cache, chunk=chunk)
    np.testing.assert_allclose(last, expected, atol=2e-5)


def test_a_cache_that_grew_keeps_its_tokens(way):
    config = tiny_gemma3()
    weights, token_ids = init_random(config, seed=0), _sequences(tiny_gemma3())
    expected = np.asarray(_whole(config, weights, token_ids))
    starts = jnp.zeros(3, jnp.int32)
    cache = empty_cache(config, batch=3, slots=12, dtype=jnp.float32, by_layer=way.by_layer)
    _, cache = way.extend(config, weights, token_ids[:, :12], starts=starts, cache=cache)
    cache = grow_cache(config, cache, slots=32)
    hidden, _ = way.extend(config, weights, token_ids[:, 12:], starts=starts + 12, cache=cache)
    np.testing.assert_allclose(hidden, expected[:, 12:], atol=2e-5)


def test_adapters_take_part_in_every_step(way):
    config = tiny_gemma3()
    weights, token_ids = init_random(config, seed=0), _sequences(tiny_gemma3())
    adapters = init_adapters(config, LoraRecipe(rank=2))
    for pair in adapters.tree.values():
        pair["b"] = jnp.full_like(pair["b"], 0.02)
    expected = np.asarray(_whole(config, weights, token_ids, adapters))
    assert np.abs(expected - np.asarray(_whole(config, weights, token_ids))).max() > 0.01
    starts = jnp.zeros(3, jnp.int32)
    cache = empty_cache(config, batch=3, slots=TOTAL, dtype=jnp.float32, by_layer=way.by_layer)
    first, cache = way.extend(
        config, weights, token_ids[:, :20], starts=starts, cache=cache, adapters=adapters
    )
    rest, _ = way.extend(
        config, weights, token_ids[:, 20:], starts=starts + 20, cache=cache, adapters=adapters
    )
    found = np.concatenate([first, rest], axis=1)
    np.testing.assert_allclose(found, expected, atol=2e-5)


WINDOWED = {
    "gemma2": TINY_FAMILIES["gemma2"],
    "gemma3": TINY_FAMILIES["gemma3"],
    "gemma4-small": TINY_FAMILIES["gemma4-small"],
    "gemma4-large": TINY_FAMILIES["gemma4-large"],
}


@pytest.fixture
def small_rings(monkeypatch):
    """Local layers keep 12 slots: the window of 8, and 4 that are written at once."""
    monkeypatch.setattr(tiles, "MOST_AT_ONCE", 4)


@pytest.mark.usefixtures("small_rings")
@pytest.mark.parametrize("name", slow_but(WINDOWED, "gemma3"))
def test_local_layers_keep_their_window_only_and_give_the_same(name, way):
    """Prompts end before, at and after a turn of the ring, and the answers go round twice."""
    config = WINDOWED[name]
    lengths = jnp.asarray((13, 1, 24))
    weights, token_ids = init_random(config, seed=0), _sequences(config, length=60)
    expected = np.asarray(_whole(config, weights, token_ids))
    cache = empty_cache(config, batch=3, slots=60, dtype=jnp.float32, by_layer=way.by_layer)
    of_kind = dict(zip((k.is_local for k in config.kinds if k.has_key), cache.keys, strict=False))
    assert of_kind[True].shape[3] == 12 and of_kind[False].shape[3] == cache.slots == 60
    kept = jnp.arange(24) < lengths[:, None]
    prompts = jnp.where(kept, token_ids[:, :24], 7)
    last, cache = way.prefill(config, weights, prompts, lengths=lengths, cache=cache, chunk=4)
    np.testing.assert_allclose(last, expected[np.arange(3), lengths - 1], atol=2e-5)
    for step in range(60 - 24):
        starts = lengths + step
        token = token_ids[jnp.arange(3), starts][:, None]
        hidden, cache = way.extend(config, weights, token, starts=starts, cache=cache)
        np.testing.assert_allclose(hidden[:, 0], expected[np.arange(3), starts], atol=3e-5)


@pytest.mark.usefixtures("small_rings")
@pytest.mark.parametrize("name", slow_but(WINDOWED, "gemma3"))
def test_a_cache_that_grows_beyond_the_window_keeps_its_tokens(name, way):
    config = WINDOWED[name]
    weights, token_ids = init_random(config, seed=0), _sequences(config, length=24)
    expected = np.asarray(_whole(config, weights, token_ids))
    cache = empty_cache(config, batch=3, slots=8, dtype=jnp.float32, by_layer=way.by_layer)
    for first in range(0, 24, 4):
        if first >= cache.slots:
            cache = grow_cache(config, cache, slots=2 * cache.slots)
        starts = jnp.full(3, first, jnp.int32)
        part = token_ids[:, first : first + 4]
        hidden, cache = way.extend(config, weights, part, starts=starts, cache=cache)
        np.testing.assert_allclose(hidden, expected[:, first : first + 4], atol=3e-5)
    assert min(keys.shape[3] for keys in cache.keys) == 12 and cache.slots == 32


@pytest.mark.usefixtures("small_rings")
def test_more_at_once_than_a_ring_takes_is_refused():
    config = tiny_gemma3()
    weights, token_ids = init_random(config, seed=0), _sequences(config)
    cache = empty_cache(config, batch=3, slots=30, dtype=jnp.float32)
    with pytest.raises(ValueError, match="5 tokens at once"):
        decode.extend(config, weights, token_ids[:, :5], starts=jnp.zeros(3, int), cache=cache)
    by_layer = empty_cache(config, batch=3, slots=30, dtype=jnp.float32, by_layer=True)
    with pytest.raises(ValueError, match="5 tokens at once"):
        ProgramForEachLayer.extend(
            config, weights, token_ids[:, :5], starts=jnp.zeros(3, int), cache=by_layer
        )
    whole = empty_cache(config, batch=3, slots=30, dtype=jnp.float32, rings=False)
    assert {keys.shape[3] for keys in whole.keys} == {30}


@pytest.mark.parametrize("name", slow_but(["gemma2", "gemma3", "gemma4-small"], "gemma3"))
def test_in_bfloat16_it_errs_no_more_than_the_whole_sequence(name, way):
    config = TINY_FAMILIES[name]
    weights = init_random(config, seed=0, dtype=jnp.bfloat16)
    token_ids = _sequences(config, length=24)
    whole = np.asarray(_whole(config, weights, token_ids), np.float32)
    wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), weights)
    exact = np.asarray(_whole(config, wide, token_ids))
    cache = empty_cache(config, batch=3, slots=24, dtype=jnp.bfloat16, by_layer=way.by_layer)
    parts = []
    for first, length in ((0, 16), (16, 1), (17, 1), (18, 5)):
        part = token_ids[:, first : first + length]
        starts = jnp.full(3, first, jnp.int32)
        hidden, cache = way.extend(config, weights, part, starts=starts, cache=cache)
        parts.append(np.asarray(hidden, np.float32))
    errors = np.concatenate(parts, axis=1) - exact[:, :23]
    assert 0 < np.abs(errors).mean() < 1.3 * np.abs(whole - exact).mean()


def test_a_bfloat16_cache_is_written_without_a_float32_copy_of_it():
    config = tiny_gemma3()
    weights = init_random(config, seed=0, dtype=jnp.bfloat16)
    cache = empty_cache(config, batch=3, slots=64, dtype=jnp.bfloat16, by_layer=True)
    tokens = decode.tokens_at(config, jnp.zeros(3, int), None, length=1, slots=cache.sizes)
    layer, x = in_place(config, weights)[0], jnp.ones((3, 1, config.width), jnp.bfloat16)
    step = jax.jit(decode.one_layer, static_argnames=("config", "kind"))
    given = (config, config.kinds[0], None, tokens, layer, x, cache.keys[0], cache.values[0])
    program = step.lower(*given).compile().as_text() or ""
    shape = ",".join(map(str, cache.keys[0].shape))
    assert f"u16[{shape}]" in program and f"f32[{shape}]" not in program


def test_each_layers_matrices_are_read_where_the_stacked_ones_lie():
    config = tiny_gemma3()
    weights = init_random(config, seed=0, dtype=jnp.bfloat16)
    layers = in_place(config, weights)
    for index, layer in enumerate(layers):
        for name in ("q_proj", "down_proj"):
            stack, one = weights["layers"][name], layer[name]
            np.testing.assert_array_equal(one, stack[index])
            place = one.unsafe_buffer_pointer() - stack.unsafe_buffer_pointer()
            assert place == index * one.nbytes


class Device:
    def __init__(self, platform):
        self.platform = platform


@pytest.mark.parametrize("platforms", [("gpu",), ("tpu",), ("cpu", "cpu")])
def test_weights_that_no_single_processor_has_are_not_in_place(platforms):
    devices = {Device(platform) for platform in platforms}
    weights = {"embedding": SimpleNamespace(devices=lambda: devices), "layers": {}}
    assert layers_in_place(tiny_gemma3(), weights, None) is None

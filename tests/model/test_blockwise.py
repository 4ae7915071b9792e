"""Attention by blocks against attention with a mask, `transformers`, and what it must not touch."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.model import paths
from gemma_keras_tune.model.attention import attention, attention_masks
from gemma_keras_tune.model.blockwise import BlockSettings, Places, blockwise_attention
from gemma_keras_tune.model.forward import hidden_states
from gemma_keras_tune.model.lora import Adapters
from gemma_keras_tune.model.tiles import block_size
from gemma_keras_tune.model.weights import init_random
from tests.model.test_forward import forward, random_adapters, relative
from tests.support.hf_models import tiny_hf, weights_from_hf
from tests.support.tiny_models import TINY_FAMILIES, slow_but, tiny_gemma3

WINDOW, BLOCK, HEAD_DIM = 9, 16, 8
LENGTHS = {"whole blocks": [[64], [30, 34]], "a rest": [[70], [30, 20, 27]], "short": [[7], [3, 4]]}


def places(lengths: list[list[int]], *, branched: bool = False) -> Places:
    """Rows of segments of these lengths, padding behind them; the halves of a segment branch."""
    longest = max(map(sum, lengths))
    positions, segments, branches = np.zeros((3, len(lengths), longest), np.int32)
    for row, parts in enumerate(lengths):
        start = 0
        for number, length in enumerate(parts, start=1):
            span = slice(start, start + length)
            segments[row, span] = number
            positions[row, span] = np.arange(length)
            if branched:
                prompt, first = length // 2, (length - length // 2) // 2
                branches[row, start + prompt : start + prompt + first] = 1
                second = slice(start + prompt + first, start + length)
                branches[row, second] = 2
                positions[row, second] = prompt + np.arange(length - prompt - first)
            start += length
    arrays = [jnp.asarray(array) for array in (positions, segments, branches)]
    return Places(arrays[0], arrays[1], arrays[2] if branched else None)


def random_heads(
    where: Places,
    *,
    dtype: Any = jnp.float32,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int = HEAD_DIM,
) -> list[jax.Array]:
    """Query, key and value, and a weight for each number of the result."""
    rng = np.random.default_rng(0)
    counts, shape = (heads, kv_heads, kv_heads, heads), where.positions.shape
    arrays = [rng.standard_normal((*shape, count, head_dim)) for count in counts]
    arrays[3] *= np.asarray(where.segments > 0)[:, :, None, None]  # padding means nothing
    return [jnp.asarray(array, dtype) for array in arrays]


def attention_with_mask(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    places: Places,
    is_local: bool,
    settings: BlockSettings,
) -> jax.Array:
    """What blocks and kernels must give, called as they are."""
    masks = attention_masks(tiny_gemma3(sliding_window=settings.window), *places)
    key, value = (jnp.swapaxes(array, 1, 2) for array in (key, value))
    return attention(query, key, value, mask=masks[not is_local], softcap=settings.softcap)


def value_and_gradients(attend: Any, heads: list[jax.Array]) -> list[np.ndarray]:
    """The weighted sum of what `attend` gives, and its gradients of query, key and value."""
    query, key, value, weight = heads

    def weighted(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
        return jnp.vdot(attend(query, key, value).astype(jnp.float32), weight.astype(jnp.float32))

    found = jax.jit(jax.value_and_grad(weighted, (0, 1, 2)))(query, key, value)
    return [np.asarray(array, np.float32) for array in jax.tree.leaves(found)]


@pytest.mark.parametrize("is_local", [True, False])
@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("branched", [False, True])
@pytest.mark.parametrize("lengths", slow_but(LENGTHS, "a rest"))
def test_values_and_gradients_equal_those_with_a_mask(
    lengths: str, branched: bool, softcap: float | None, is_local: bool
) -> None:
    where = places(LENGTHS[lengths], branched=branched)
    heads = random_heads(where)
    settings = BlockSettings(block=BLOCK, window=WINDOW, softcap=softcap)
    by_mask = partial(attention_with_mask, places=where, is_local=is_local, settings=settings)
    expected = value_and_gradients(by_mask, heads)
    for known in (is_local, jnp.asarray(is_local)):  # when compiled, or when run
        by_blocks = partial(blockwise_attention, places=where, is_local=known, settings=settings)
        for one, other in zip(value_and_gradients(by_blocks, heads), expected, strict=True):
            assert relative(one, other) < 2e-5


def test_in_bfloat16_blocks_are_as_near_to_float32_as_a_mask_is() -> None:
    where = places(LENGTHS["a rest"])
    settings = BlockSettings(block=BLOCK, window=WINDOW)
    by_mask, by_blocks = (
        partial(attend, places=where, is_local=False, settings=settings)
        for attend in (attention_with_mask, blockwise_attention)
    )
    heads = random_heads(where, dtype=jnp.bfloat16)
    exact = value_and_gradients(by_mask, [head.astype(jnp.float32) for head in heads])
    ours, theirs = value_and_gradients(by_blocks, heads), value_and_gradients(by_mask, heads)
    for one, other, true in zip(ours, theirs, exact, strict=True):
        assert relative(one, true) < max(2 * relative(other, true), 0.01)


@pytest.mark.parametrize(
    ("lengths", "is_local", "unseen"),
    [([[48, 16]], False, 48), ([[64]], True, 32), ([[64]], False, 0)],
    ids=["a segment that ended", "beyond the window", "nothing"],
)
def test_blocks_that_no_query_sees_are_not_touched(
    lengths: list[list[int]], is_local: bool, unseen: int
) -> None:
    """A value that is no number spoils whatever it is multiplied with, even with 0."""
    where = places(lengths)
    query, key, value, weight = random_heads(where)
    value = value.at[:, :unseen].set(jnp.nan)
    settings = BlockSettings(block=BLOCK, window=WINDOW)
    out = blockwise_attention(query, key, value, places=where, is_local=is_local, settings=settings)
    assert np.isfinite(out[:, -BLOCK:]).all()
    spoilt = value.at[:, max(0, unseen - 1) : unseen + 1].set(jnp.nan)
    out = blockwise_attention(
        query, key, spoilt, places=where, is_local=is_local, settings=settings
    )
    assert np.isnan(out[:, -BLOCK:]).any()


OTHERS = [family for family in TINY_FAMILIES if family not in ("gemma2", "gemma3")]


@pytest.mark.parametrize(
    ("family", "remat"),
    [
        ("gemma2", "dots"),
        ("gemma3", "dots"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                *(
                    (family, "dots")
                    for family in TINY_FAMILIES
                    if family not in ("gemma2", "gemma3")
                ),
                *(("gemma3", "none"), ("gemma3", "full")),
            ]
        ),
    ],
)
def test_every_family_computes_the_same_with_blocks(
    family: str, remat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TINY_FAMILIES[family]
    weights, adapters = init_random(config, seed=0), random_adapters(config)
    where = places([[70], [30, 20, 27]])
    ids = jnp.asarray(np.random.default_rng(0).integers(4, config.vocab_size, (2, 77)))
    counts = (where.segments > 0)[..., None]

    def loss(adapters: Adapters) -> jax.Array:
        hidden = hidden_states(
            config, weights, ids, positions=where.positions, segment_ids=where.segments,
            adapters=adapters, remat=remat,
        )  # fmt: skip
        return jnp.where(counts, hidden, 0).var()

    by_mask = jax.jit(jax.value_and_grad(loss))(adapters)
    monkeypatch.setattr(paths, "block_size", lambda length, platform: BLOCK)
    by_blocks = jax.jit(jax.value_and_grad(lambda adapters: loss(adapters)))(adapters)
    assert relative(by_blocks[0], by_mask[0]) < 1e-5
    for one, other in zip(jax.tree.leaves(by_blocks), jax.tree.leaves(by_mask), strict=True):
        assert relative(one, other) < 1e-4


@pytest.mark.parametrize("family", ["gemma2", "gemma3", "gemma4-small"])
def test_a_long_row_equals_transformers(family: str) -> None:
    import torch

    config = TINY_FAMILIES[family]
    assert block_size(600, jax.default_backend()) is not None
    ids = np.random.default_rng(0).integers(4, config.vocab_size, (1, 600))
    model = tiny_hf(config)
    with torch.no_grad():
        expected = model(torch.tensor(ids), output_hidden_states=True).hidden_states[-1].numpy()
    assert relative(forward(config, weights_from_hf(model, config), ids), expected) < 2e-5


def test_memory_grows_with_the_length_and_not_with_its_square() -> None:
    def bytes_of(length: int) -> int:
        places: Any = [jax.ShapeDtypeStruct((1, length), jnp.int32)] * 2
        heads = [
            jax.ShapeDtypeStruct((1, length, count, HEAD_DIM), jnp.float32) for count in (4, 2, 2)
        ]
        settings = BlockSettings(block=128, window=512)

        def summed(query: Any, key: Any, value: Any, where: Places) -> jax.Array:
            return blockwise_attention(
                query, key, value, places=where, is_local=False, settings=settings
            ).sum()

        lowered = jax.jit(jax.grad(summed, (0, 1, 2))).lower(*heads, Places(*places))
        analysis: Any = lowered.compile().memory_analysis()
        return int(analysis.temp_size_in_bytes)

    short, long = bytes_of(2048), bytes_of(8192)
    assert long < 5 * short  # the square would be 16 times
    assert long < 8192 * 8192  # a quarter of one mask in float32

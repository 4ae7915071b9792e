"""The distribution that a token is drawn from is the one of `transformers`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.evaluation import sampling as sampling_module
from gemma_keras_tune.evaluation.sampling import argmax, choose, filtered_logits, make_sampling


def _theirs(logits, *, temperature, top_k, top_p):
    import torch
    from transformers import (
        LogitsProcessorList,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k is not None:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p is not None and top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    ids: Any = torch.zeros((len(logits), 1), dtype=torch.long)
    scores = warpers(ids, torch.tensor(logits))
    return torch.softmax(scores, dim=-1).numpy()


@pytest.mark.parametrize("temperature", [0.3, 2.5])
@pytest.mark.parametrize("top_k", [None, 1, 64, 200, 5000])
@pytest.mark.parametrize("top_p", [None, 0.05, 0.9, 1.0])
def test_the_filtered_distribution_is_that_of_transformers(temperature, top_k, top_p):
    logits = np.random.default_rng(0).normal(size=(4, 3000)).astype(np.float32) * 3
    sampling = make_sampling(temperature, top_k, top_p, vocab_size=3000)
    found = np.asarray(jax.nn.softmax(filtered_logits(jnp.asarray(logits), sampling)))
    expected = _theirs(logits, temperature=temperature, top_k=top_k, top_p=top_p)
    assert ((found > 0) == (expected > 0)).all()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-8)


def test_top_p_is_the_same_when_it_must_look_among_all_tokens(monkeypatch):
    logits = np.random.default_rng(1).normal(size=(2, 300)).astype(np.float32)
    sampling = make_sampling(1.0, None, 0.9, vocab_size=300)
    expected = np.asarray(filtered_logits(jnp.asarray(logits), sampling))
    monkeypatch.setattr(sampling_module, "_NUCLEUS_SIZE", 8)
    found = np.asarray(filtered_logits(jnp.asarray(logits), sampling))
    np.testing.assert_array_equal(found, expected)
    assert 8 < np.isfinite(found).sum(axis=-1).min() < 300


@pytest.mark.parametrize("top_p", [0.02, 0.5, 0.95, 0.99999])
def test_among_all_tokens_it_finds_the_last_that_a_sort_finds(monkeypatch, top_p):
    monkeypatch.setattr(sampling_module, "_NUCLEUS_SIZE", 1)
    rng = np.random.default_rng(2)
    logits = np.stack([
        rng.normal(size=900), rng.normal(size=900).round(1), rng.normal(size=900) - 50,
        np.where(rng.random(900) < 0.5, -np.inf, rng.normal(size=900)), np.zeros(900),
        np.where(rng.random(900) < 0.5, -0.0, 0.0), np.append(rng.normal(size=899), 80.0),
    ]).astype(np.float32)  # fmt: skip
    sampling = make_sampling(1.0, None, top_p, vocab_size=900)
    kept = np.isfinite(filtered_logits(jnp.asarray(logits), sampling))
    for row, mask in zip(logits.astype(np.float64), np.asarray(kept), strict=True):
        shares = np.exp(row - row.max())
        shares /= shares.sum()
        above = np.asarray([shares[row > logit].sum() for logit in row])
        np.testing.assert_array_equal(mask, (above < top_p) & np.isfinite(row))


def test_tokens_of_equal_logits_stay_together():
    logits = jnp.log(jnp.asarray([[0.4, 0.2, 0.2, 0.2]]))
    by_k = filtered_logits(logits, make_sampling(1.0, 2, None, vocab_size=4))
    by_p = filtered_logits(logits, make_sampling(1.0, None, 0.5, vocab_size=4))
    assert np.isfinite(by_k).all() and np.isfinite(by_p).all()


def test_draws_follow_the_distribution():
    shares = np.asarray([0.5, 0.3, 0.15, 0.05], np.float32)
    logits = jnp.broadcast_to(jnp.log(shares), (20_000, 4))
    keys = jax.random.split(jax.random.key(0), 20_000)
    drawn = choose(logits, make_sampling(1.0, None, None, vocab_size=4), keys)
    found = np.bincount(drawn, minlength=4) / 20_000
    np.testing.assert_allclose(found, shares, atol=4 * np.sqrt(0.25 / 20_000))


def test_temperature_0_takes_the_most_probable_whatever_else_is_set():
    logits = jnp.asarray([[0.0, 3.0, 1.0], [5.0, 4.0, 4.9]])
    sampling = make_sampling(0.0, 2, 0.5, vocab_size=3)
    keys = jax.random.split(jax.random.key(0), 2)
    assert choose(logits, sampling, keys).tolist() == [1, 0]


@pytest.mark.parametrize("tokens", [1, 7, 1024, 2560, 5000])
def test_the_largest_is_where_numpy_finds_it(tokens):
    rng = np.random.default_rng(0)
    logits = rng.integers(0, 30, (6, tokens)).astype(np.float32)  # many are equal
    logits[1] = -np.inf
    logits[2, -1] = 99
    found = argmax(jnp.asarray(logits))
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(found, logits.argmax(axis=-1))


def test_draws_are_those_of_jax():
    logits = jax.random.normal(jax.random.key(1), (5, 2560))
    keys = jax.random.split(jax.random.key(0), 5)
    sampling = make_sampling(0.8, 40, 0.9, vocab_size=2560)
    kept = filtered_logits(logits, sampling)
    expected = jax.vmap(jax.random.categorical)(keys, kept)
    np.testing.assert_array_equal(choose(logits, sampling, keys), expected)

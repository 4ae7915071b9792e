"""The fused loss against hand-worked numbers, a dense float64 reference and `transformers`."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.model.forward import hidden_states
from gemma_keras_tune.training import loss as loss_module
from gemma_keras_tune.training.loss import fused_cross_entropy, token_log_probabilities
from tests.support.hf_models import tiny_hf, weights_from_hf
from tests.support.tiny_models import tiny_gemma3

N, WIDTH, VOCAB = 51, 8, 50


def problem(seed: int = 0) -> tuple[jax.Array, ...]:
    """Hidden states, head, targets and a mask that covers about 40 %."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((3, N // 3, WIDTH)).astype(np.float32)
    head = rng.standard_normal((VOCAB, WIDTH)).astype(np.float32)
    targets = rng.integers(0, VOCAB, (3, N // 3)).astype(np.int32)
    mask = (rng.random((3, N // 3)) < 0.4).astype(np.float32)
    return tuple(jnp.asarray(array) for array in (hidden, head, targets, mask))


def dense(*arrays: jax.Array, cap: float | None) -> tuple[float, np.ndarray, np.ndarray]:
    """Loss and both gradients in float64, all logits at once."""
    hidden, head, targets, mask = (np.asarray(array) for array in arrays)
    h, w = hidden.reshape(-1, WIDTH).astype(np.float64), head.astype(np.float64)
    raw = h @ w.T
    scores = raw if cap is None else cap * np.tanh(raw / cap)
    shifted = np.exp(scores - scores.max(1, keepdims=True))
    shares = shifted / shifted.sum(1, keepdims=True)
    rows, weight = np.arange(len(h)), mask.reshape(-1)
    loss = -(np.log(shares[rows, targets.reshape(-1)]) * weight).sum()
    pull = shares.copy()
    pull[rows, targets.reshape(-1)] -= 1
    pull *= weight[:, None]
    if cap is not None:
        pull *= 1 - np.tanh(raw / cap) ** 2
    return loss, (pull @ w).reshape(hidden.shape), pull.T @ h


def test_uniform_logits_cost_log_vocab_nats_per_token() -> None:
    hidden, head = jnp.zeros((2, 3, 4)), jnp.ones((8, 4))
    mask = jnp.array([[0, 1, 1], [0, 0, 1]])
    loss, count = fused_cross_entropy(hidden, head, jnp.zeros((2, 3), jnp.int32), mask)
    assert count == 3
    np.testing.assert_allclose(loss / count, math.log(8), rtol=1e-6)


@pytest.mark.parametrize("cap", [None, 3.0])
@pytest.mark.parametrize(
    ("chunk", "tile"), [(1, 50), (4, 50), (7, 7), (16, 16), (1000, 50), (1000, 49), (16, 1)]
)
def test_loss_and_gradients_equal_the_dense_reference_in_float64(
    chunk: int, tile: int, cap: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_module, "vocabulary_tile", lambda platform: tile)
    hidden, head, targets, mask = problem()
    expected, of_hidden, of_head = dense(hidden, head, targets, mask, cap=cap)

    def loss(hidden: jax.Array, head: jax.Array) -> jax.Array:
        return fused_cross_entropy(hidden, head, targets, mask, chunk=chunk, softcap=cap)[0]

    found, gradients = jax.jit(jax.value_and_grad(loss, (0, 1)))(hidden, head)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(gradients[0], of_hidden, atol=2e-6)
    np.testing.assert_allclose(gradients[1], of_head, atol=1e-5)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 6, 10, 11, 15, 16, 17, 40, 51])
def test_each_supervised_position_counts_once_however_many_there_are(count: int) -> None:
    hidden, head, targets, _ = problem()
    mask = jnp.asarray(np.random.default_rng(count).permutation(N) < count, jnp.float32)
    mask = mask.reshape(targets.shape)
    expected, of_hidden, _ = dense(hidden, head, targets, mask, cap=None)

    def loss(hidden: jax.Array) -> jax.Array:
        return fused_cross_entropy(hidden, head, targets, mask, chunk=16)[0]

    found, gradient = jax.value_and_grad(loss)(hidden)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_allclose(gradient, of_hidden, atol=2e-6)


def test_in_bfloat16_tiles_are_those_of_the_same_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_module, "vocabulary_tile", lambda platform: 16)
    hidden, head, targets, mask = problem()
    hidden, head = hidden.astype(jnp.bfloat16), head.astype(jnp.bfloat16)
    wide = (hidden.astype(jnp.float32), head.astype(jnp.float32), targets, mask)
    expected, of_hidden, of_head = dense(*wide, cap=None)

    def loss(hidden: jax.Array, head: jax.Array) -> jax.Array:
        return fused_cross_entropy(hidden, head, targets, mask)[0]

    found, gradients = jax.value_and_grad(loss, (0, 1))(hidden, head)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for one, other in zip(gradients, (of_hidden, of_head), strict=True):
        assert one.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(one, np.float32), other, atol=0.02 * abs(other).max())


def test_the_gradient_of_the_hidden_states_alone_is_the_same() -> None:
    hidden, head, targets, mask = problem()
    _, of_hidden, _ = dense(hidden, head, targets, mask, cap=None)
    found = jax.grad(lambda h: fused_cross_entropy(h, head, targets, mask)[0])(hidden)
    np.testing.assert_allclose(found, of_hidden, atol=2e-6)


def test_a_scaled_loss_scales_its_gradient() -> None:
    hidden, head, targets, mask = problem()
    once = jax.grad(lambda h: fused_cross_entropy(h, head, targets, mask)[0])(hidden)
    thrice = jax.grad(lambda h: 3 * fused_cross_entropy(h, head, targets, mask)[0])(hidden)
    np.testing.assert_allclose(thrice, 3 * once, rtol=1e-6)


def test_nothing_supervised_costs_nothing_and_moves_nothing() -> None:
    hidden, head, targets, mask = problem()
    mask = jnp.zeros_like(mask)
    loss, count = fused_cross_entropy(hidden, head, targets, mask)
    assert (float(loss), float(count)) == (0.0, 0.0)
    gradient = jax.grad(lambda h: fused_cross_entropy(h, head, targets, mask)[0])(hidden)
    assert not np.any(gradient)


def test_token_log_probabilities_sum_to_the_loss_and_are_zero_off_the_mask() -> None:
    hidden, head, targets, mask = problem()
    found = token_log_probabilities(hidden, head, targets, mask, chunk=4)
    loss, _ = fused_cross_entropy(hidden, head, targets, mask)
    np.testing.assert_allclose(-found.sum(), loss, rtol=1e-6)
    assert not np.any(np.asarray(found)[np.asarray(mask) == 0])


def test_masks_of_another_shape_are_refused() -> None:
    hidden, head, targets, mask = problem()
    with pytest.raises(ValueError, match="disagree"):
        fused_cross_entropy(hidden, head, targets, mask[:, 1:])


def test_only_supervised_positions_reach_the_head() -> None:
    """NaN states off the mask would spoil the loss if their logits were ever computed."""
    hidden, head, targets, mask = problem()
    hidden = jnp.where(mask[..., None] > 0, hidden, jnp.nan)
    loss, _ = fused_cross_entropy(hidden, head, targets, mask, chunk=8)
    assert np.isfinite(loss)


def test_the_loss_of_a_batch_equals_that_of_transformers() -> None:
    import torch

    config = tiny_gemma3()
    model = tiny_hf(config)
    weights = weights_from_hf(model, config)
    rng = np.random.default_rng(0)
    ids = rng.integers(4, config.vocab_size, (2, 24))
    answers = rng.random((2, 24)) < 0.5
    labels = torch.tensor(np.where(answers, ids, -100))
    with torch.no_grad():
        expected = float(model(torch.tensor(ids), labels=labels).loss)
    hidden = hidden_states(
        config, weights, jnp.asarray(ids),
        positions=jnp.broadcast_to(jnp.arange(24), (2, 24)),
        segment_ids=jnp.ones((2, 24), jnp.int32),
    )  # fmt: skip
    loss, count = fused_cross_entropy(
        hidden[:, :-1], weights["embedding"], jnp.asarray(ids[:, 1:]), jnp.asarray(answers[:, 1:])
    )
    assert count == answers[:, 1:].sum()
    np.testing.assert_allclose(loss / count, expected, rtol=1e-5)

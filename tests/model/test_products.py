"""Products with matrices, of few rows in particular."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.model.products import low_rank_product, product, scores


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(64,), (1, 64), (1, 1, 64), (3, 64), (2, 3, 64), (70, 64)])
def test_however_many_rows_there_are_the_product_is_that_in_float64(dtype, shape):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=shape), dtype)
    matrix = jnp.asarray(rng.normal(size=(64, 32)), dtype)
    expected = np.asarray(x, np.float64) @ np.asarray(matrix, np.float64)
    found = product(x, matrix)
    assert found.dtype == dtype and found.shape == (*shape[:-1], 32)
    rounding = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=rounding, atol=1e-5)
    of_table = scores(x, matrix.T)
    assert of_table.dtype == jnp.float32 and of_table.shape == found.shape
    np.testing.assert_allclose(np.asarray(of_table, np.float64), expected, atol=1e-5)


def test_a_table_is_read_where_it_lies_for_a_few_rows():
    program = jax.jit(scores).lower(jnp.ones((8, 64)), jnp.ones((5000, 64))).compile()
    assert re.search(r"= f32\[5000,8\].*dot\(", program.as_text() or "")


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("rows", "rank", "out"), [(1, 1, 1), (1, 8, 16), (5, 1, 16), (5, 8, 1)])
def test_so_are_the_gradients(dtype, rows, rank, out):
    rng = np.random.default_rng(0)
    sizes = ((rows, 32), (32, rank), (rank, out), (32, out))
    x, a, b, matrix = (jnp.asarray(rng.integers(-2, 3, size), dtype) for size in sizes)

    def total(x, a, b, matrix):
        return (low_rank_product(x, a, b) + product(x, matrix)).astype(jnp.float32).sum()

    found = jax.jit(jax.grad(total, (0, 1, 2, 3)))(x, a, b, matrix)
    wide_x, wide_a, wide_b, wide_matrix = (
        np.asarray(array, np.float64) for array in (x, a, b, matrix)
    )
    ones = np.ones((rows, out))
    expected = (
        ones @ wide_b.T @ wide_a.T + ones @ wide_matrix.T,
        wide_x.T @ ones @ wide_b.T,
        wide_a.T @ wide_x.T @ ones,
        wide_x.T @ ones,
    )
    for one, other in zip(found, expected, strict=True):
        size = np.abs(other).max()
        np.testing.assert_allclose(np.asarray(one, np.float64), other, atol=0.02 * size)

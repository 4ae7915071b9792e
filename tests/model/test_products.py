"""Products with matrices, of few rows in particular."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from gemma_keras_tune.model.products import product, scores


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("shape", [(64,), (1, 64), (1, 1, 64), (3, 64), (2, 3, 64)])
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

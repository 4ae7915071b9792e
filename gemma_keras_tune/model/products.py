"""Products with a model's matrices: frozen ones, and the adapters' two.

All are summed in float32. A CPU's fast kernels for bfloat16 give float32 numbers only, so there the
result is asked for as float32 and rounded after; XLA's other way is four times slower where the
processor multiplies bfloat16 itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from .narrow import is_narrow, kept, turned

PRODUCT = "product"
"""What is kept of a layer where the backward pass computes the rest again."""

_FEW = 64  # rows of states for which a product with a table is bound by reading the table


@jax.custom_vjp
def product(x: jax.Array, matrix: jax.Array) -> jax.Array:
    """`x @ matrix`, `[..., out]` in the dtype of `x`, and its gradients likewise.

    Args:
        x: `[..., in]`.
        matrix: `[in, out]`. Its gradient is made only where it is asked for.
    """
    return _times(x, matrix)


def _forward(x: Any, matrix: Any) -> tuple[jax.Array, tuple[Any, ...]]:
    wanted = x.value if matrix.perturbed else None
    return _times(x.value, matrix.value), (wanted, matrix.value)


def _backward(saved: tuple[Any, ...], pull: Any) -> tuple[Any, Any]:
    x, matrix = saved
    if isinstance(pull, jax.custom_derivatives.SymbolicZero):
        return None, None
    of_matrix = None if x is None else _times(turned(_flat(x)), _flat(pull))
    return _times(pull, turned(matrix)), of_matrix


product.defvjp(_forward, _backward, symbolic_zeros=True)


@jax.custom_vjp
def low_rank_product(x: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """`x @ a @ b`, `[..., out]`, with a backward pass written out.

    Left to itself, JAX makes the gradient of `a` by a product whose long side comes first, which
    XLA's CPU kernels do slowly: for seven adapted projections it cost a third of a step.

    Args:
        x: `[..., in]`.
        a: `[in, rank]`.
        b: `[rank, out]`.
    """
    return _times(_times(x, a), b)


def _low_rank_forward(
    x: jax.Array, a: jax.Array, b: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    low = kept(_times(x, a), PRODUCT)
    return _times(low, b), (x, a, b, low)


def _low_rank_backward(
    saved: tuple[jax.Array, ...], pull: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    x, a, b, low = saved
    low_pull = _times(pull, turned(b))
    of_a = _times(turned(_flat(low_pull)), _flat(x)).T
    return _times(low_pull, turned(a)), of_a, _times(turned(_flat(low)), _flat(pull))


low_rank_product.defvjp(_low_rank_forward, _low_rank_backward)


def _flat(array: jax.Array) -> jax.Array:
    return array.reshape(-1, array.shape[-1])


def _times(x: jax.Array, matrix: jax.Array) -> jax.Array:
    if not is_narrow(x):
        return x @ matrix
    multiply = partial(jnp.matmul, b=matrix, preferred_element_type=jnp.float32)
    return _of_two_rows(multiply, x).astype(x.dtype)


def scores(hidden: jax.Array, table: jax.Array) -> jax.Array:
    """`hidden` times each row of a table, `[..., rows]` float32.

    Args:
        hidden: `[..., width]`.
        table: `[rows, width]`.
    """
    if is_narrow(hidden):
        return _of_two_rows(partial(_scores, table=table), hidden)
    few = 1 < math.prod(hidden.shape[:-1]) <= _FEW
    if few and hidden.dtype == jnp.float32 and jax.default_backend() == "cpu":
        # With the table first, XLA's kernel reads it in place and not through a copy of each tile;
        # the barrier keeps XLA from putting it second again.
        found = jnp.einsum("vw,nw->vn", table, _flat(hidden), preferred_element_type=jnp.float32)
        return jax.lax.optimization_barrier(found).T.reshape(*hidden.shape[:-1], -1)
    return _scores(hidden, table)


def _scores(hidden: jax.Array, table: jax.Array) -> jax.Array:
    return jnp.einsum("...w,vw->...v", hidden, table, preferred_element_type=jnp.float32)


def _of_two_rows(multiply: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """The product of `x`; a single row, 8 times slower alone, has one of zeros beside it."""
    if math.prod(x.shape[:-1]) > 1:
        return multiply(x)
    two = jnp.pad(x.reshape(1, -1), [(0, 1), (0, 0)])
    return multiply(two)[:1].reshape(*x.shape[:-1], -1)

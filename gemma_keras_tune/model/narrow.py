"""bfloat16 on a CPU, in the forms that XLA has fast kernels and no float32 copies for.

A CPU's kernels for bfloat16 give float32 numbers, and want matrices that lie row by row. Slices of
an array are cut from a float32 copy of the whole, except where its numbers are integers: so here
they are cut as the integers of the same bits. Elsewhere, and in float32, all are plain operations.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name


def is_narrow(array: jax.Array) -> bool:
    """Whether an array is bfloat16 and computed with on a CPU."""
    return _would_be_narrow(array.dtype)


def cut(array: jax.Array, start: jax.Array, size: int) -> jax.Array:
    """`size` entries of the first axis, from `start` on; within a loop over `start`.

    No derivative passes where the array is narrow.

    Args:
        array: `[entries, ...]`.
        start: int32 scalar; what reaches beyond the end begins earlier.
        size: How many.
    """
    if not is_narrow(array):
        return jax.lax.dynamic_slice_in_dim(array, start, size)
    # As long as the array seems to depend on `start`, its conversion stays within the loop, where
    # it is one with the cut; else the whole is converted before.
    array, start = jax.lax.optimization_barrier((array, start))
    return _from_bits(jax.lax.dynamic_slice_in_dim(_to_bits(array), start, size))


def rows_of(table: jax.Array, rows: jax.Array) -> jax.Array:
    """`table[rows]`, `[..., width]`.

    Args:
        table: `[entries, width]`.
        rows: `[...]` int32.
    """
    if not is_narrow(table):
        return table[rows]
    whole, at = jax.lax.optimization_barrier((table, rows))
    return _derived_as(_from_bits(_to_bits(whole)[at]), table[rows])


def stored_dtype(dtype: Any) -> jnp.dtype:
    """Of arrays of these numbers that are written to again and again: uint16 bits of narrow ones.

    Written as bfloat16, they would be converted to float32 and back as a whole each time.
    """
    return jnp.dtype(jnp.uint16 if _would_be_narrow(jnp.dtype(dtype)) else dtype)


def put(array: jax.Array, at: Any, new: jax.Array) -> jax.Array:
    """The array with `new` at those entries; what lies beyond it is dropped.

    Args:
        array: Of `stored_dtype`.
        at: An index as of `array.at`.
        new: Shaped like `array[at]`, of the numbers' own dtype.
    """
    bits = array.dtype == jnp.uint16
    return array.at[at].set(_to_bits(new) if bits else new, mode="drop")


def numbers(array: jax.Array) -> jax.Array:
    """The numbers of an array of `stored_dtype`."""
    return _from_bits(array) if array.dtype == jnp.uint16 else array


def layer_of(stacks: Any, slices: Any, index: jax.Array) -> Any:
    """One layer's arrays, within a scan.

    Args:
        stacks: A pytree of arrays `[layers, ...]`.
        slices: What the scan sliced of them; of narrow ones only derivatives pass here.
        index: The layer's, int32 scalar.
    """

    def one(stack: jax.Array, piece: jax.Array) -> jax.Array:
        return _derived_as(cut(stack, index, 1)[0], piece) if is_narrow(stack) else piece

    return jax.tree.map(one, stacks, slices)


def kept(array: jax.Array, name: str) -> jax.Array:
    """The array, kept under a name for a backward pass that computes the rest again."""
    if not is_narrow(array):
        return checkpoint_name(array, name)
    return _derived_as(_from_bits(checkpoint_name(_to_bits(array), name)), array)


def turned(matrix: jax.Array) -> jax.Array:
    """The transpose, `[columns, rows]`, of a matrix; lying row by row where it has to."""
    if not is_narrow(matrix):
        return matrix.T
    return jax.lax.optimization_barrier(matrix.T[None])[0]


def _would_be_narrow(dtype: Any) -> bool:
    return dtype == jnp.bfloat16 and jax.default_backend() == "cpu"


def _to_bits(array: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(array, jnp.uint16)


def _from_bits(bits: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(bits, jnp.bfloat16)


@jax.custom_jvp
def _derived_as(value: jax.Array, origin: jax.Array) -> jax.Array:
    """`value`, whose derivatives are those of `origin`, which is the same numbers."""
    del origin
    return value


@_derived_as.defjvp
def _(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[Any, Any]:
    return primals[0], tangents[1]

"""A kernel over a mesh: each device attends with its own heads."""

from __future__ import annotations

from collections.abc import Callable

import jax
from jax.sharding import Mesh, PartitionSpec

from .mesh import DATA, MODEL

Heads = jax.Array
"""Query, key or value with heads first, `[batch, heads, length, head_dim]`."""


def on_each_device(
    attend: Callable[..., Heads], mesh: Mesh, *, heads: int, kv_heads: int
) -> Callable[..., Heads]:
    """`attend` where each device of a group has its own query heads, and the keys they look at.

    A kernel can't be cut by the compiler. Axes that are dealt out already, as `data` is while a
    group sees its own rows only, are left alone.

    Args:
        attend: Computes the heads that it is given.
        mesh: The mesh; `paths.deals_out` says which heads can be dealt out over it.
        heads: Query heads.
        kv_heads: Key and value heads. Where they are fewer than the devices of a group, each
            device takes the one that its query heads share.
    """
    dealt = jax.sharding.get_abstract_mesh().manual_axes
    axes = set(mesh.axis_names) - set(dealt)
    cuts = mesh.shape[MODEL]
    rows = DATA if DATA in axes else None
    by_heads, by_rows = PartitionSpec(rows, MODEL), PartitionSpec(rows)
    own_keys = kv_heads % cuts == 0

    def of_device(q: Heads, k: Heads, v: Heads, segments: jax.Array, is_local: jax.Array) -> Heads:
        if not own_keys:
            first_query = jax.lax.axis_index(MODEL) * (heads // cuts)
            at = first_query // (heads // kv_heads)
            k, v = (jax.lax.dynamic_slice_in_dim(array, at, 1, axis=1) for array in (k, v))
        return attend(q, k, v, segments, is_local)

    keys = by_heads if own_keys else by_rows
    on_mesh: Callable[..., Heads] = jax.shard_map(
        of_device,
        mesh=None if dealt else mesh,
        in_specs=(by_heads, keys, keys, by_rows, PartitionSpec()),
        out_specs=by_heads,
        axis_names=axes,
        check_vma=False,
    )
    return on_mesh

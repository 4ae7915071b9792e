"""What kernels for a TPU and a GPU share: whole blocks, heads first, dealt out over devices."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

from .blockwise import NOBODY, BlockSettings, Places, padded
from .mesh import DATA, MODEL

Heads = jax.Array
"""Query, key or value with heads first, `[batch, heads, length, head_dim]`."""
AttendHeads = Callable[[Heads, Heads, Heads, jax.Array, jax.Array], Heads]
"""From queries, keys, values, segments `[batch, length]` int32 and a scalar bool, whether the layer
is local, to attended values shaped like the queries; lengths are whole blocks."""


def attended(
    attend: AttendHeads,
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    *,
    places: Places,
    is_local: bool | jax.Array,
    settings: BlockSettings,
    mesh: Mesh | None,
) -> jax.Array:
    """Attended values, `[batch, length, heads, head_dim]` in the query's dtype.

    Args:
        attend: A kernel, for the heads of one device.
        query: `[batch, length, heads, head_dim]`, already scaled.
        key: `[batch, length, kv_heads, head_dim]`; each serves heads / kv_heads query heads.
        value: Shaped like `key`.
        places: Where the tokens stand; distances are those within the row, so no branches.
        is_local: Whether the window counts; known now, or when the program runs.
        settings: Blocks.
        mesh: The mesh that the weights lie on, over whose `model` the heads are dealt out; None
            for a single device.

    Raises:
        ValueError: If there are branches.
    """
    if places.branches is not None:
        raise ValueError("a kernel knows no branches: attend to them by blocks")
    length = query.shape[1]
    more = -length % settings.block
    q, k, v = (jnp.moveaxis(padded(array, more, axis=1), 2, 1) for array in (query, key, value))
    segments = padded(places.segments, more, axis=1, fill=NOBODY)
    if mesh is not None:
        attend = _on_each_device(attend, mesh, heads=q.shape[1], kv_heads=k.shape[1])
    out = attend(q, k, v, segments, jnp.asarray(is_local))
    return jnp.moveaxis(out, 1, 2)[:, :length]


def _on_each_device(attend: AttendHeads, mesh: Mesh, *, heads: int, kv_heads: int) -> AttendHeads:
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
    on_mesh: AttendHeads = jax.shard_map(
        of_device,
        mesh=None if dealt else mesh,
        in_specs=(by_heads, keys, keys, by_rows, PartitionSpec()),
        out_specs=by_heads,
        axis_names=axes,
        check_vma=False,
    )
    return on_mesh

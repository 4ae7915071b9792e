"""The mesh as JAX has it: arrays laid over it, and taken from it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

from .config import GemmaConfig
from .mesh import DATA, MODEL, MeshShape, cut_axes, mesh_shape
from .value import Model
from .weights import weight_shapes

Layouts = Mapping[str, NamedSharding]
"""Where each array of the weights lies, by its key."""


def make_mesh(shape: MeshShape) -> Mesh:
    """The mesh over all devices of all processes, those of a process beside each other.

    Raises:
        ValueError: If the shape hasn't as many devices as there are.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    if len(devices) != shape.devices:
        raise ValueError(f"a mesh of {shape} can't have {len(devices)} devices")
    return Mesh(np.array(devices).reshape(shape.data, shape.model), (DATA, MODEL))


def mesh_for(config: GemmaConfig, shape: MeshShape) -> Mesh:
    """The mesh of that shape, if this model can be laid over it.

    Raises:
        ModelError: `MESH_SHAPE` if it can't.
    """
    counts = {"together": jax.local_device_count(), "data": shape.data, "model": shape.model}
    return make_mesh(mesh_shape(config, jax.device_count(), **counts))


def weight_layouts(config: GemmaConfig, mesh: Mesh) -> Layouts:
    """Where each array of `weight_shapes(config)` lies, by its key."""
    shapes = weight_shapes(config)
    layers = shapes.pop("layers")
    axes = cut_axes(config, mesh.shape[MODEL])
    return {
        key: NamedSharding(mesh, _cut_at(axes[key], len(shape)))
        for key, shape in (shapes | layers).items()
    }


def mesh_of(weights: Mapping[str, Any]) -> Mesh | None:
    """The mesh that weights lie on; None for those of a single device."""
    sharding = getattr(weights["embedding"], "sharding", None)
    if isinstance(sharding, NamedSharding) and isinstance(sharding.mesh, Mesh):
        return sharding.mesh
    return None


def whole_on(mesh: Mesh | None, tree: Any) -> Any:
    """The arrays with a copy on every device of the mesh; as they are without one.

    Every process must hold the same values.
    """
    if mesh is None:
        return tree
    everywhere = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda array: sent_to(array, everywhere), tree)


def dealt_to(mesh: Mesh | None, array: Any, *, axis: int) -> Any:
    """The array on the devices, this axis dealt out along the mesh's `data`.

    Every process must hold the same values, of which it sends its own part.
    """
    if mesh is None:
        return jax.numpy.asarray(array)
    return sent_to(array, NamedSharding(mesh, PartitionSpec(*([None] * axis), DATA)))


def sent_to(array: Any, sharding: Sharding) -> Any:
    """The array where it belongs. No process asks another whether it holds the same."""
    if jax.process_count() == 1 or getattr(array, "sharding", None) == sharding:
        return jax.device_put(array, sharding)
    values = np.asarray(array)
    return jax.make_array_from_callback(values.shape, sharding, lambda at: values[at])


def on_mesh(model: Model, shape: MeshShape) -> Model:
    """The model laid over a mesh of all devices, for training on them; its adapters are copied.

    Args:
        model: On one device. `load_model(..., mesh=...)` needs no device that holds all of it.
        shape: How many devices each axis has.

    Raises:
        ModelError: `MESH_SHAPE` if the model can't be laid over that mesh.
    """
    mesh = mesh_for(model.config, shape)
    layouts = weight_layouts(model.config, mesh)
    laid = {name: sent_to(array, layouts[name]) for name, array in _flat(model).items()}
    layers = {name: laid.pop(name) for name in model.weights["layers"]}
    adapters = whole_on(mesh, model.adapters)
    return model.replace(weights={**laid, "layers": layers}, adapters=adapters)


def by_itself(model: Model) -> Model:
    """The model as one group of this process's devices holds it, without a copy.

    What is computed with it needs no other process, and no other group. A group of one device
    gives plain arrays; a model that lies on no mesh is given back.

    Raises:
        ValueError: If no group lies within this process; `load_model` and `on_mesh` make no such
            mesh.
    """
    mesh = mesh_of(model.weights)
    if mesh is None:
        return model
    own = jax.process_index()
    groups = [row for row in mesh.devices if {device.process_index for device in row} == {own}]
    if not groups:
        raise ValueError("no group of the model's mesh lies within this process")
    parts = (model.weights, model.adapters)
    weights, adapters = jax.tree.map(lambda array: _held_by(groups[0], array), parts)
    return model.replace(weights=weights, adapters=adapters)


def _flat(model: Model) -> dict[str, Any]:
    outer = {name: array for name, array in model.weights.items() if name != "layers"}
    return {**outer, **model.weights["layers"]}


def _held_by(group: np.ndarray, array: Any) -> Any:
    sharding = getattr(array, "sharding", None)
    if not isinstance(sharding, NamedSharding):
        return array
    parts = {part.device: part.data for part in array.addressable_shards}
    own = [parts[device] for device in group]
    if len(own) == 1:
        return own[0]
    mesh = Mesh(group.reshape(1, -1), (DATA, MODEL))
    spec = PartitionSpec(*(name if name == MODEL else None for name in sharding.spec))
    return jax.make_array_from_single_device_arrays(array.shape, NamedSharding(mesh, spec), own)


def _cut_at(axis: int | None, dimensions: int) -> PartitionSpec:
    return PartitionSpec(*(MODEL if at == axis else None for at in range(dimensions)))

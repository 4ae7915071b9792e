"""The mesh that a run trains on: the recipe's, or the one with the fewest cuts that fits."""

from __future__ import annotations

from .. import peers
from ..model.config import GemmaConfig
from ..model.mesh import MeshShape, mesh_shape, mesh_shapes
from ..recipe import Recipe
from .batch import MARGIN
from .estimate import device_stages, setting_of
from .room import Platform, device_count, device_room, likely_platform


def planned_mesh(recipe: Recipe) -> MeshShape | None:
    """How the devices at hand share the training; None for a single one. JAX is started.

    Args:
        recipe: What is to be trained.

    Raises:
        ModelError: `MESH_SHAPE` if the recipe asks for a mesh that can't be; or if the model
            can't be read.
    """
    import jax

    if not peers.leads():  # devices may have different memory free, and one mesh is for all
        return MeshShape(**peers.agreed({}))
    devices, together = jax.device_count(), jax.local_device_count()
    if devices == 1 and recipe.mesh.data in (None, 1) and recipe.mesh.model in (None, 1):
        return None
    from ..model.load import describe_model

    config = describe_model(recipe.model).config
    found = fitting_mesh(recipe, config, likely_platform(), devices, together=together)
    peers.agreed({"data": found.data, "model": found.model})
    return found


def fitting_mesh(
    recipe: Recipe, config: GemmaConfig, platform: Platform, devices: int, *, together: int
) -> MeshShape:
    """The mesh of so many devices for this recipe.

    Where the recipe leaves it open, the weights are cut as few times as a device's memory allows,
    and every other device takes rows of its own. If no shape fits, it is the one with most cuts.

    Args:
        recipe: What is to be trained.
        config: Sizes of its model.
        platform: What computes.
        devices: Devices of all processes.
        together: Devices of one process.

    Raises:
        ModelError: `MESH_SHAPE` if the recipe asks for a mesh that can't be.
    """
    asked = recipe.mesh
    shape = mesh_shape(config, devices, together=together, data=asked.data, model=asked.model)
    if platform == "cpu" or (asked.data, asked.model) != (None, None):
        return shape  # virtual devices of a CPU share one memory: there is nothing to gain by cuts
    free = device_room(platform).free_bytes
    for shape in mesh_shapes(config, devices, together=together):
        setting = setting_of(with_mesh(recipe, shape), config, platform)
        highest = max(stage.bytes for stage in device_stages(setting))
        if free is None or highest <= MARGIN * free:
            break
    return shape


def as_planned(recipe: Recipe, config: GemmaConfig, platform: Platform) -> Recipe:
    """The recipe with the mesh that it gets on this machine's devices, for a plan.

    Args:
        recipe: What is planned.
        config: Sizes of its model.
        platform: What computes.

    Raises:
        ModelError: `MESH_SHAPE` if the model can't be laid over the devices.
    """
    asked = recipe.mesh
    if platform == "cpu" or asked.model is not None or (devices := device_count(platform)) == 1:
        return recipe
    if asked.data is None:
        return with_mesh(recipe, fitting_mesh(recipe, config, platform, devices, together=devices))
    # with more groups than devices here, the rest of them are on other machines
    cuts = devices // asked.data if devices % asked.data == 0 else 1
    return with_mesh(recipe, MeshShape(data=asked.data, model=cuts))


def with_mesh(recipe: Recipe, shape: MeshShape) -> Recipe:
    """The recipe that asks for this mesh."""
    mesh = recipe.mesh.model_copy(update={"data": shape.data, "model": shape.model})
    return recipe.model_copy(update={"mesh": mesh})

"""The mesh that a run trains on: the recipe's, or the one with the fewest cuts that fits."""

from __future__ import annotations

from ..model.config import GemmaConfig
from ..model.mesh import MeshShape, mesh_shape, mesh_shapes
from ..recipe import Recipe
from .batch import MARGIN
from .estimate import device_stages, setting_of
from .room import Platform, device_room, likely_platform


def planned_mesh(recipe: Recipe) -> MeshShape | None:
    """How the devices at hand share the training; None for a single one. JAX is started.

    Args:
        recipe: What is to be trained.

    Raises:
        ModelError: `MESH_SHAPE` if the recipe asks for a mesh that can't be; or if the model
            can't be read.
    """
    import jax

    devices, together = jax.device_count(), jax.local_device_count()
    if devices == 1 and recipe.mesh.data in (None, 1) and recipe.mesh.model in (None, 1):
        return None
    from ..model.load import describe_model

    config = describe_model(recipe.model).config
    return fitting_mesh(recipe, config, likely_platform(), devices, together=together)


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


def with_mesh(recipe: Recipe, shape: MeshShape) -> Recipe:
    """The recipe that asks for this mesh."""
    mesh = recipe.mesh.model_copy(update={"data": shape.data, "model": shape.model})
    return recipe.model_copy(update={"mesh": mesh})

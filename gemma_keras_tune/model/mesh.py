"""How one model is laid over several devices: the mesh's shape, and where each weight is cut.

The axis `data` shares the rows of a batch; the axis `model` cuts the matrices, so that no device
holds all of them. Plain numbers: nothing here loads JAX.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import ModelError
from .config import GemmaConfig
from .weights import layer_stacks, weight_shapes

DATA, MODEL = "data", "model"
"""Names of the mesh's axes."""

_BY_COLUMNS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "per_layer_input_gate")
_BY_ROWS = ("o_proj", "down_proj", "per_layer_projection")
_OUTER_BY_COLUMNS = ("embedding", "output", "per_layer_embedding", "per_layer_model_projection")


@dataclass(frozen=True, kw_only=True)
class MeshShape:
    """How many devices each axis has.

    Attributes:
        data: Groups of devices that each take other rows.
        model: Devices of a group, each with its part of every matrix.
    """

    data: int = 1
    model: int = 1

    @property
    def devices(self) -> int:
        """Devices of the whole mesh."""
        return self.data * self.model

    def __str__(self) -> str:
        return f"data {self.data} x model {self.model}"


def mesh_shapes(config: GemmaConfig, devices: int, *, together: int) -> tuple[MeshShape, ...]:
    """The shapes that use all devices and cut this model evenly, the fewest cuts first.

    Args:
        config: The model's sizes.
        devices: Devices of all processes.
        together: Devices of one process. A group never spans two: then each process holds the
            whole model among its devices, and can measure and export it by itself.
    """
    return tuple(
        MeshShape(data=devices // cuts, model=cuts)
        for cuts in range(1, together + 1)
        if together % cuts == 0 and devices % cuts == 0 and _can_cut(config, cuts)
    )


def mesh_shape(
    config: GemmaConfig, devices: int, *, together: int, data: int | None, model: int | None
) -> MeshShape:
    """The shape that the recipe asks for; where it says nothing, that with the fewest cuts.

    Args:
        config: The model's sizes.
        devices: Devices of all processes.
        together: Devices of one process.
        data: What the recipe asks for.
        model: Likewise.

    Raises:
        ModelError: `MESH_SHAPE`, with the valid shapes, if this isn't one of them.
    """
    shapes = mesh_shapes(config, devices, together=together)
    for shape in shapes:
        if data in (None, shape.data) and model in (None, shape.model):
            return shape
    asked = " ".join(
        f"mesh.{name}={count}" for name, count in ((DATA, data), (MODEL, model)) if count
    )
    valid = "; ".join(f"mesh.data={shape.data} mesh.model={shape.model}" for shape in shapes)
    spread = "" if together == devices else f", {together} in each process"
    raise ModelError(
        f"{asked} doesn't fit: there are {devices} devices{spread}. Data times model must be their "
        f"number, and model must divide the devices of a process, the model's {config.heads} "
        f"heads, its width {config.width} and its feed-forward layers ({_listed(config)}). "
        f"What fits here: {valid}.",
        code="MESH_SHAPE",
    )


def cut_axes(config: GemmaConfig, cuts: int) -> Mapping[str, int | None]:
    """The axis at which each array of the weights is cut, by its key; None where it is copied.

    Queries, and the feed-forward layer's first two matrices, are cut by columns; the matrices
    after them by rows, so that a layer needs two sums over the group. Keys and values are cut
    where their heads can be dealt out, and the embedding by columns, since the loss walks along
    its rows.

    Args:
        config: The model's sizes.
        cuts: Devices of a group.

    Source:
        Shoeybi et al. 2019, Megatron-LM, section 3, arXiv:1909.08053.
    """
    shapes = weight_shapes(config)
    shapes.pop("layers")
    axes: dict[str, int | None] = {
        name: len(shape) - 1 if name in _OUTER_BY_COLUMNS else None
        for name, shape in shapes.items()
    }
    sizes = dict(shapes)
    for key, stack in layer_stacks(config).items():
        sizes[key] = (len(stack.layers), *stack.shape)
        axes[key] = 2 if stack.name in _BY_COLUMNS else 1 if stack.name in _BY_ROWS else None
        if stack.name in ("k_proj", "v_proj"):
            heads = {config.kinds[layer].kv_heads for layer in stack.layers}
            axes[key] = axes[key] if all(count % cuts == 0 for count in heads) else None
    return {
        key: axis if cuts > 1 and axis is not None and sizes[key][axis] % cuts == 0 else None
        for key, axis in axes.items()
    }


def _can_cut(config: GemmaConfig, cuts: int) -> bool:
    sizes = {config.heads, config.width, *(kind.hidden_dim for kind in config.kinds)}
    return all(size % cuts == 0 for size in sizes)


def _listed(config: GemmaConfig) -> str:
    return ", ".join(str(size) for size in sorted({kind.hidden_dim for kind in config.kinds}))

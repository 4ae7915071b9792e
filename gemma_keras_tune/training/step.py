"""One optimizer step, and one measurement, as compiled functions of plain arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..model.config import GemmaConfig
from ..model.forward import Remat, hidden_states
from ..model.lora import Adapters
from ..model.mesh import DATA
from ..model.paths import AttentionWish
from ..model.sharding import mesh_of, whole_on
from ..model.weights import output_matrix
from ..recipe import TrainRecipe
from .loss import fused_cross_entropy
from .optimizer import clipped, make_optimizer

Batch = dict[str, jax.Array]
"""`token_ids`, `targets`, `loss_mask`, `positions`, `segment_ids`, each `[rows, length]`."""


@partial(jax.tree_util.register_dataclass, data_fields=("adapters", "optimizer"), meta_fields=())
@dataclass(frozen=True, kw_only=True)
class TrainState:
    """What an optimizer step changes."""

    adapters: Adapters
    optimizer: Any


@dataclass(frozen=True, kw_only=True)
class StepMetrics:
    """What an optimizer step found; float32 scalars.

    Attributes:
        loss: Nats per answer token, before the update.
        answer_tokens: Tokens that the loss covers.
        grad_norm: Length of the gradient before clipping.
        finite: Whether loss and gradient are numbers; if not, nothing was changed.
    """

    loss: float
    answer_tokens: int
    grad_norm: float
    finite: bool


def initial_state(adapters: Adapters, recipe: TrainRecipe, mesh: Mesh | None = None) -> TrainState:
    """The state before the first step, on every device of the mesh.

    The adapters are copied: a step gives its input away.
    """
    adapters = whole_on(mesh, jax.tree.map(jnp.copy, adapters))
    optimizer = make_optimizer(recipe).init(adapters)
    return TrainState(adapters=adapters, optimizer=whole_on(mesh, optimizer))


def train_step(
    state: TrainState,
    weights: dict[str, Any],
    batches: Batch,
    *,
    config: GemmaConfig,
    recipe: TrainRecipe,
    step: int,
) -> tuple[TrainState, StepMetrics]:
    """The state after one optimizer step on the micro-batches, and what was found.

    Losses, token counts and gradients of the micro-batches are summed, and divided once by the
    number of answer tokens: eight batches of one row give the step of one batch of eight.

    Args:
        state: Its arrays are given away and can't be used again.
        weights: The frozen weights; where they lie on a mesh, so do the state and the batches.
        batches: Micro-batches, each array `[micro_batches, rows, length]`.
        config: The model's shape.
        recipe: Optimizer, clipping, recomputation, chunk and seed.
        step: Number of this step, from 1; with the seed it decides the dropout.
    """
    number = np.uint32(step)
    how: dict[str, Any] = {"config": config, "recipe": _settings(recipe)}
    state, found = _train_step(state, weights, batches, number, mesh=mesh_of(weights), **how)
    loss, count, norm, finite = jax.device_get(found)
    return state, StepMetrics(
        loss=float(loss), answer_tokens=int(count), grad_norm=float(norm), finite=bool(finite)
    )


def loss_sums(
    adapters: Adapters | None,
    weights: dict[str, Any],
    batch: Batch,
    *,
    config: GemmaConfig,
    chunk: int,
    attention: AttentionWish = "plain",
) -> tuple[float, int]:
    """`(loss, count)` of one batch: summed nats and answer tokens; no gradient, no dropout.

    Args:
        adapters: Beside the weights, or None.
        weights: The weights.
        batch: Arrays `[rows, length]`.
        config: The model's shape.
        chunk: Answer tokens whose loss is computed at once.
        attention: Whether long rows may be attended to by a kernel of the device's own.
    """
    how: dict[str, Any] = {"config": config, "chunk": chunk, "attention": attention}
    found = _loss_sums(adapters, weights, batch, mesh=mesh_of(weights), **how)
    loss, count = jax.device_get(found)
    return float(loss), int(count)


@partial(jax.jit, static_argnames=("config", "recipe", "mesh"), donate_argnums=0)
def _train_step(
    state: TrainState,
    weights: dict[str, Any],
    batches: Batch,
    step: jax.Array,
    *,
    config: GemmaConfig,
    recipe: TrainRecipe,
    mesh: Mesh | None = None,
) -> tuple[TrainState, tuple[jax.Array, ...]]:
    key = jax.random.fold_in(jax.random.key(recipe.seed), step)
    sums_of = partial(_summed_gradients, config=config, recipe=recipe, mesh=mesh)
    summed = _summed_over_groups(mesh, sums_of, batch_axis=1)
    gradients, loss, count = summed(state.adapters, weights, batches, key)
    divisor = jnp.maximum(count, 1.0)
    gradients = jax.tree.map(lambda gradient: gradient / divisor, gradients)
    norm = optax.global_norm(gradients)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    updates, optimizer = make_optimizer(recipe).update(
        clipped(gradients, norm, recipe.max_grad_norm), state.optimizer, state.adapters
    )
    new = TrainState(adapters=optax.apply_updates(state.adapters, updates), optimizer=optimizer)
    new = jax.tree.map(lambda after, before: jnp.where(finite, after, before), new, state)
    if mesh is not None:  # as it came: laid out otherwise, the next step would be compiled anew
        new = jax.lax.with_sharding_constraint(new, NamedSharding(mesh, PartitionSpec()))
    return new, (loss / divisor, count, norm, finite)


def _summed_gradients(
    adapters: Adapters,
    weights: dict[str, Any],
    batches: Batch,
    key: jax.Array,
    *,
    config: GemmaConfig,
    recipe: TrainRecipe,
    mesh: Mesh | None,
) -> tuple[Adapters, jax.Array, jax.Array]:
    """Sums over the micro-batches: gradients, nats, answer tokens."""

    def loss_of(adapters: Adapters, batch: Batch, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        dropout_key = key if adapters.config.dropout else None
        return _batch_loss(
            config, weights, batch, adapters=adapters, chunk=recipe.loss_chunk,
            dropout_key=dropout_key, remat=recipe.remat, attention=recipe.attention, mesh=mesh,
        )  # fmt: skip

    def add(sums: Any, item: tuple[Batch, jax.Array]) -> tuple[Any, None]:
        batch, index = item
        (loss, count), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            adapters, batch, jax.random.fold_in(key, index)
        )
        return jax.tree.map(jnp.add, sums, (gradients, loss, count)), None

    zeros = (jax.tree.map(jnp.zeros_like, adapters), jnp.float32(0), jnp.float32(0))
    indices = jnp.arange(batches["token_ids"].shape[0])
    (gradients, loss, count), _ = jax.lax.scan(add, zeros, (batches, indices))
    return gradients, loss, count


@partial(jax.jit, static_argnames=("config", "chunk", "attention", "mesh"))
def _loss_sums(
    adapters: Adapters | None,
    weights: dict[str, Any],
    batch: Batch,
    *,
    config: GemmaConfig,
    chunk: int,
    attention: AttentionWish = "plain",
    mesh: Mesh | None = None,
) -> tuple[jax.Array, jax.Array]:
    def sums_of(adapters: Adapters | None, weights: dict[str, Any], batch: Batch, _: Any) -> Any:
        return _batch_loss(
            config, weights, batch, adapters=adapters, chunk=chunk, attention=attention, mesh=mesh
        )

    return _summed_over_groups(mesh, sums_of, batch_axis=0)(
        adapters, weights, batch, jax.random.key(0)
    )


def _summed_over_groups(
    mesh: Mesh | None, sums_of: Callable[..., Any], *, batch_axis: int
) -> Callable[..., Any]:
    """A function of (adapters, weights, batch, key) that sums what each group of devices finds.

    Each group sees its own rows only, so it computes as a device by itself would; what is cut
    inside a group (the mesh's axis `model`) is left to the compiler.

    Args:
        mesh: The mesh; without one, or with a single group, this is the function itself.
        sums_of: Gives a pytree of sums.
        batch_axis: The axis of the batch's arrays along which rows are dealt out.
    """
    if mesh is None or mesh.shape[DATA] == 1:
        return sums_of

    def of_group(adapters: Any, weights: Any, batch: Batch, key: jax.Array) -> Any:
        own = jax.random.fold_in(key, jax.lax.axis_index(DATA))  # each its own dropout
        return jax.lax.psum(sums_of(adapters, weights, batch, own), DATA)

    everywhere = PartitionSpec()
    dealt = PartitionSpec(*([None] * batch_axis), DATA)
    return jax.shard_map(
        of_group,
        mesh=mesh,
        in_specs=(everywhere, everywhere, dealt, everywhere),
        out_specs=everywhere,
        axis_names={DATA},
        check_vma=False,
    )


def _batch_loss(
    config: GemmaConfig,
    weights: dict[str, Any],
    batch: Batch,
    *,
    adapters: Adapters | None,
    chunk: int,
    dropout_key: jax.Array | None = None,
    remat: Remat = "none",
    attention: AttentionWish,
    mesh: Mesh | None,
) -> tuple[jax.Array, jax.Array]:
    hidden = hidden_states(
        config,
        weights,
        batch["token_ids"],
        positions=batch["positions"],
        segment_ids=batch["segment_ids"],
        adapters=adapters,
        dropout_key=dropout_key,
        remat=remat,
        attention=attention,
        mesh=mesh,
    )
    return fused_cross_entropy(
        hidden,
        output_matrix(weights),
        batch["targets"],
        batch["loss_mask"],
        chunk=chunk,
        softcap=config.final_softcap,
    )


def _settings(recipe: TrainRecipe) -> TrainRecipe:
    """The recipe with what the compiled step doesn't use set to its default.

    Runs that differ only in, say, their number of epochs thus share one compiled step.
    """
    used = (
        *("adam_b1", "adam_b2", "adam_eps", "max_grad_norm"),
        *("loss_chunk", "remat", "attention", "seed"),
    )
    return TrainRecipe(**{name: getattr(recipe, name) for name in used})

"""Which rows each optimizer step sees: a pure function of lengths, recipe and step.

Nothing here has a state to save, so a run that was resumed at any step goes on alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from jax.sharding import Mesh

from ..data.batches import Batch as HostBatch
from ..data.batches import make_batch
from ..data.pack import PackingPlan, packing_plan
from ..data.tokenize import TokenSet
from ..model.mesh import DATA
from ..model.sharding import dealt_to
from ..recipe import TrainRecipe
from .step import Batch


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainPlan:
    """All steps of a run.

    Args:
        tokens: The training examples.
        length: Tokens of a packed row.
        recipe: Batch sizes, epochs and seed.
        pad_id: Fills what is empty.
    """

    tokens: TokenSet
    length: int
    recipe: TrainRecipe
    pad_id: int

    @property
    def rows(self) -> int:
        """Rows of a micro-batch: what fits into `micro_batch_tokens`, at least one."""
        return max(1, self.recipe.micro_batch_tokens // self.length)

    @property
    def micro_batches(self) -> int:
        """Micro-batches of an optimizer step: what fits into `batch_tokens`, at least one."""
        return max(1, self.recipe.batch_tokens // (self.rows * self.length))

    @property
    def rows_of_step(self) -> int:
        """Packed rows of an optimizer step."""
        return self.rows * self.micro_batches

    @property
    def epoch_ends(self) -> tuple[int, ...]:
        """Steps done at the end of each epoch, the last of which `max_steps` may cut short."""
        return tuple(min(end, self.recipe.max_steps or end) for end in self._whole_epoch_ends)

    @cached_property
    def _whole_epoch_ends(self) -> tuple[int, ...]:
        """The same, as if each epoch that is begun were seen whole."""
        ends, done = [], 0
        for epoch in range(self.recipe.epochs):
            done += -(-len(self._rows_of(epoch)) // self.rows_of_step)
            ends.append(done)
            if self.recipe.max_steps is not None and done >= self.recipe.max_steps:
                break
        return tuple(ends)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        return self.epoch_ends[-1]

    def epoch_at(self, step: int) -> float:
        """How many times the data has been seen after `step` steps, such as 1.25.

        Raises:
            ValueError: If the step is beyond the last.
        """
        if step > self.total_steps:
            raise ValueError(f"step {step} is beyond the last, {self.total_steps}")
        ends = (0, *self._whole_epoch_ends)
        epoch = next(number for number, end in enumerate(ends[1:]) if step <= end)
        return epoch + (step - ends[epoch]) / (ends[epoch + 1] - ends[epoch])

    def examples_of(self, step: int) -> list[list[int]]:
        """The packed rows of step `step`, counted from 1: lists of example indices.

        Raises:
            ValueError: If the step is outside the run.
        """
        if not 1 <= step <= self.total_steps:
            raise ValueError(f"step must be from 1 to {self.total_steps}, not {step}")
        epoch = next(index for index, end in enumerate(self.epoch_ends) if step <= end)
        start = self.epoch_ends[epoch - 1] if epoch else 0
        size = self.rows_of_step
        return self._rows_of(epoch)[(step - start - 1) * size : (step - start) * size]

    def batches(self, step: int, mesh: Mesh | None = None) -> tuple[Batch, int]:
        """`(arrays [micro_batches, rows, length], tokens without padding)` of a step.

        On a mesh the same rows are dealt out along its axis `data`, so there are fewer
        micro-batches, each with the rows of all groups; rows of padding fill up what is missing.
        """
        micro_batches, rows = self.dealt(1 if mesh is None else mesh.shape[DATA])
        host = make_batch(
            self.tokens,
            self.examples_of(step),
            rows=rows * micro_batches,
            length=self.length,
            pad_id=self.pad_id,
        )
        shape = (micro_batches, rows, self.length)
        return device_batch(host, shape, mesh), int((host.segment_ids > 0).sum())

    def dealt(self, groups: int) -> tuple[int, int]:
        """`(micro-batches, rows of each)` of a step where so many groups of devices share it.

        No device takes more rows at once than without the others, and a step sees the same rows.
        """
        each = min(self.rows, -(-self.rows_of_step // groups))
        return -(-self.rows_of_step // (each * groups)), each * groups

    def _rows_of(self, epoch: int) -> PackingPlan:
        return _epoch_rows(self.tokens, self.length, self.recipe.seed, epoch)


@lru_cache(maxsize=2)
def _epoch_rows(tokens: TokenSet, length: int, seed: int, epoch: int) -> PackingPlan:
    return packing_plan(tokens.lengths, row_length=length, seed=seed, epoch=epoch)


def device_batch(host: HostBatch, shape: tuple[int, ...], mesh: Mesh | None = None) -> Batch:
    """The arrays of a batch, reshaped, where JAX computes; on a mesh the rows are dealt out."""
    names = ("token_ids", "targets", "loss_mask", "positions", "segment_ids")
    axis = len(shape) - 2
    return {name: dealt_to(mesh, getattr(host, name).reshape(shape), axis=axis) for name in names}

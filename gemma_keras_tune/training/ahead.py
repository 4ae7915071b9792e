"""The rows of the next step, made ready while the devices compute this one."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from jax.sharding import Mesh

from .plan import TrainPlan
from .step import Batch

_Ready = tuple[Batch, int]


class Ahead:
    """The batches of a plan, each begun one step before it is asked for.

    What a step sees is a function of its number, so a step that isn't the next one (after going
    back, say) is simply made when it is asked for.

    Args:
        plan: All steps.
        mesh: Where the batches go.
    """

    def __init__(self, plan: TrainPlan, mesh: Mesh | None) -> None:
        self._plan, self._mesh = plan, mesh
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rows")
        self._next: tuple[int, Future[_Ready]] | None = None

    def batches(self, step: int) -> _Ready:
        """`(arrays [micro_batches, rows, length], tokens without padding)` of a step."""
        waiting, self._next = self._next, None
        begun = waiting is not None and waiting[0] == step
        ready = waiting[1].result() if waiting and begun else self._plan.batches(step, self._mesh)
        if step < self._plan.total_steps:
            later = self._thread.submit(self._plan.batches, step + 1, self._mesh)
            self._next = step + 1, later
        return ready

    def close(self) -> None:
        """Ends the thread."""
        self._thread.shutdown(cancel_futures=True)

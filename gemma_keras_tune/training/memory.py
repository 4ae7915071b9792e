"""Memory that ran out while training, as an error for a person."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax

from ..errors import TuneError


@contextmanager
def told_of_memory() -> Iterator[None]:
    """Turns what JAX and Python raise where memory runs out into one error.

    The step's arrays are gone with it, so nothing can be saved here: the newest checkpoint stands.

    Raises:
        TuneError: `OUT_OF_MEMORY`.
    """
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and not is_out_of_memory(error):
            raise
        first = (str(error).splitlines() or ["MemoryError"])[0][:200]
        raise TuneError(
            f"Memory ran out in a training step ({first}). Less passes at once with a smaller "
            "train.micro_batch_tokens.",
            code="OUT_OF_MEMORY",
        ) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether JAX says that memory ran out."""
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()

"""Memory that ran out, as an error for a person: where, and what takes less."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import OutOfMemory

_WORDS = {
    "model": (
        "while the model was loaded",
        'In model.dtype = "bfloat16" weights take half of what they take in float32.',
    ),
    "training": (
        "in a training step",
        "Less passes at once with a smaller train.micro_batch_tokens.",
    ),
    "evaluation": (
        "while rows were measured",
        "Less is measured at once with a smaller evaluate.batch_rows.",
    ),
    "generation": (
        "while answers were written",
        "Less is written at once with fewer rows in a batch (evaluate.batch_rows) or fewer tokens.",
    ),
    "export": (
        "while the model was exported",
        "What was trained is kept, and nothing half exported: free memory, then export again.",
    ),
}


@contextmanager
def told_of_memory(stage: str) -> Iterator[None]:
    """Turns what JAX and Python raise where memory runs out into one error.

    Args:
        stage: `model`, `training`, `evaluation`, `generation` or `export`.

    Raises:
        OutOfMemory: With what takes less.
    """
    where, advice = _WORDS[stage]
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # JAX's errors are of the first kind
        if not is_out_of_memory(error):
            raise
        first = (str(error).splitlines() or ["MemoryError"])[0][:200]
        raise OutOfMemory(f"Memory ran out {where} ({first}). {advice}", stage=stage) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out."""
    says = str(error)
    return (
        isinstance(error, MemoryError)
        or "RESOURCE_EXHAUSTED" in says
        or "out of memory" in says.lower()
    )

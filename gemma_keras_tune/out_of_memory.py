"""Memory that ran out, as an error for a person: where, and what takes less."""

from __future__ import annotations

import errno
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
    "answering": (
        "while a table was answered",
        "Less is looked at once with a smaller evaluate.batch_rows in the run's recipe.",
    ),
    "samples": (
        "while the run's sample prompts were answered",
        "Take fewer train.sample_prompts, or a smaller train.sample_max_tokens.",
    ),
    "export": (
        "while the model was exported",
        "What was trained is kept, and nothing half exported: free memory, then export again.",
    ),
}


@contextmanager
def told_of_memory(stage: str) -> Iterator[None]:
    """Turns what JAX, Python and the system raise where memory runs out into one error.

    What a stage within this one has told already stays as it is.

    Args:
        stage: `model`, `training`, `samples`, `evaluation`, `generation`, `answering` or
            `export`.

    Raises:
        OutOfMemory: With what takes less.
    """
    try:
        yield
    except (RuntimeError, MemoryError, OSError) as error:  # JAX's errors are of the first kind
        if not is_out_of_memory(error):
            raise
        raise ran_out(stage, error) from error


def ran_out(stage: str, error: BaseException) -> OutOfMemory:
    """The error that says where memory ran out, what was said then, and what takes less."""
    where, advice = _WORDS[stage]
    first = (str(error).splitlines() or ["MemoryError"])[0][:200]
    return OutOfMemory(f"Memory ran out {where} ({first}). {advice}", stage=stage)


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out."""
    says = str(error)
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or "RESOURCE_EXHAUSTED" in says
        or "out of memory" in says.lower()
    )

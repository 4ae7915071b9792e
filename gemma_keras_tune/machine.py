"""What a machine can do, and what this process has taken of it: speed and memory."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

_SIDE = 2048  # of the square matrices on a CPU: 17 GFLOP and 50 MB a product
_DEVICE_SIDE = 8192  # on an accelerator, which smaller ones don't fill


def matrix_gflops(*, dtype: str = "float32", budget_s: float = 1.0) -> float:
    """Billions of operations a second in this machine's matrix products, through JAX.

    The best of several products, so that a neighbour's short burst of work doesn't count.

    Args:
        dtype: Of the matrices.
        budget_s: How long to measure, in seconds; at least two products are made.
    """
    import jax
    import jax.numpy as jnp

    side = _SIDE if jax.default_backend() == "cpu" else _DEVICE_SIDE
    matrix = jnp.full((side, side), 1e-3, dtype)
    product = jax.jit(  # float32 results: what a CPU's fast kernels for bfloat16 give
        lambda a: jnp.matmul(a, a, precision="highest", preferred_element_type=jnp.float32)
    )
    product(matrix).block_until_ready()
    best, until = float("inf"), time.monotonic() + budget_s
    for turn in range(1000):
        began = time.perf_counter()
        product(matrix).block_until_ready()
        best = min(best, time.perf_counter() - began)
        if turn > 0 and time.monotonic() >= until:
            break
    return 2 * side**3 / best / 1e9


def peak_memory_bytes() -> int:
    """The most memory that this process has had resident so far, in bytes."""
    try:
        # the kernel's own mark; `ru_maxrss` can still hold what the parent had before exec
        status = Path("/proc/self/status").read_text("ascii", "replace")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

"""The command with a bad step: `python -m tests.support.spoiled_command STEP train RECIPE ...`.

The loss of that step is not a number the first time it is taken.
"""

from __future__ import annotations

import sys
from typing import Any

import jax.numpy as jnp

from gemma_keras_tune.cli import main
from gemma_keras_tune.training import loop

if __name__ == "__main__":
    bad, real = [int(sys.argv.pop(1))], loop.train_step

    def train_step(state: Any, weights: Any, batches: Any, *, step: int, **more: Any) -> Any:
        if step in bad:
            bad.remove(step)
            weights = {**weights, "embedding": weights["embedding"] * jnp.nan}
        return real(state, weights, batches, step=step, **more)

    loop.train_step = train_step
    main()

"""Lowers training steps for a device that isn't there: as far as JAX goes without one. JSON.

Called as `python -m tests.support.lowering_child tpu` or `gpu`, with `mesh_child.EIGHT` in
XLA_FLAGS. Pallas checks and translates the kernels; nothing is compiled, and no weight exists.
"""

from __future__ import annotations

import json
import sys
from typing import Any
from unittest import mock

import jax

from gemma_keras_tune.recipe import ModelRecipe, TrainRecipe
from tests.support.traced_step import traced_step

CASES: dict[str, tuple[str, Any, tuple[int, int] | None]] = {
    "gemma_2b_en": ("gemma_2b_en", "fused", None),
    "gemma2_2b_en": ("gemma2_2b_en", "fused", None),
    "gemma4_2b": ("gemma4_2b", "fused", None),
    "gemma3_instruct_1b": ("gemma3_instruct_1b", "fused", None),
    "gemma3_instruct_1b auto": ("gemma3_instruct_1b", "auto", None),
    "gemma3_instruct_1b plain": ("gemma3_instruct_1b", "plain", None),
    "gemma3_instruct_1b on 2x4": ("gemma3_instruct_1b", "fused", (2, 4)),
    "gemma3_instruct_27b_text on 8x1": ("gemma3_instruct_27b_text", "fused", (8, 1)),
}
"""Model, what is asked, mesh."""
PROGRAMS = {"tpu": ("tpu", "@tpu_custom_call"), "gpu": ("cuda", "@__gpu$xla.gpu.triton")}
"""Of each platform the name for which it is lowered, and how a kernel is called."""


def main(platform: Any) -> None:
    """Prints how many kernels each case's program calls."""
    with mock.patch.object(jax, "default_backend", lambda: platform):
        found = {
            name: lowered(platform, *case).count(PROGRAMS[platform][1])
            for name, case in CASES.items()
        }
    print(json.dumps(found))


def lowered(platform: Any, preset: str, attention: Any, shape: tuple[int, int] | None) -> str:
    """The program of a step on rows of 2,048 tokens, for a platform."""
    train = TrainRecipe(attention=attention, batch_tokens=16384, micro_batch_tokens=16384)
    traced = traced_step(ModelRecipe(preset=preset), train, 2048, platform, shape)
    return traced.lower(lowering_platforms=(PROGRAMS[platform][0],)).as_text()


if __name__ == "__main__":
    main(sys.argv[1])

"""Settings of tiny models, to plan for."""

from __future__ import annotations

from typing import Any

from gemma_keras_tune.model.config import GemmaConfig
from gemma_keras_tune.planning.estimate import Setting
from gemma_keras_tune.recipe import DataRecipe, LoraRecipe, ModelRecipe, Recipe, TrainRecipe
from tests.support.tiny_models import tiny_gemma3


def tiny_setting(
    *,
    config: GemmaConfig | None = None,
    length: int = 32,
    rows: int = 2,
    micro_batches: int = 2,
    rank: int = 4,
    dtype: str = "float32",
    task: str = "instruction",
    platform: Any = "cpu",
    answer_share: float | None = None,
    **train: Any,
) -> Setting:
    """A setting whose micro-batch has `rows` rows of `length` tokens."""
    sizes = {
        "micro_batch_tokens": rows * length,
        "batch_tokens": rows * length * micro_batches,
    }
    recipe = Recipe(
        schema=1,
        name="tiny",
        data=DataRecipe(path="rows.csv", task=task, max_length=length),  # type: ignore[arg-type]
        model=ModelRecipe(dtype=dtype, lora=LoraRecipe(rank=rank)),  # type: ignore[arg-type]
        train=TrainRecipe(**{**sizes, **train}),
    )
    return Setting(
        recipe=recipe,
        config=config or tiny_gemma3(),
        platform=platform,
        answer_share=answer_share,
    )

"""A tiny random model with its `transformers` twin, stand-ins for a data split, and its texts."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from gemma_keras_tune.model.lora import init_adapters
from gemma_keras_tune.model.value import Model, ModelSource
from gemma_keras_tune.model.weights import init_random
from gemma_keras_tune.recipe import LoraRecipe
from gemma_keras_tune.text.template import template_for
from gemma_keras_tune.text.tokenizer import Tokenizer
from tests.support.hf_models import tiny_hf, weights_from_hf
from tests.support.tiny_models import tiny_gemma3

LABELS = ("ham", "spam")
TEXTS = (
    "Win a free prize now!",
    "Are we still meeting for lunch tomorrow at noon?",
    "Call this number today",
    "She liked to play outside in the park with her friends.",
    "How do I return these shoes? They are too small for me.",
)


def tiny_model(tokenizer: Tokenizer, *, template: str = "gemma", weights: Any = None) -> Model:
    """A random Gemma 3 of six layers; 512 ids, of which the tokenizer knows 400."""
    config = tiny_gemma3()
    return Model(
        config=config,
        weights=init_random(config, seed=3) if weights is None else weights,
        tokenizer=tokenizer,
        template=template_for(template, tokenizer),
        source=ModelSource(name="tiny", kind="random"),
    )


def twin_models(tokenizer: Tokenizer) -> tuple[Model, Any]:
    """The same random model as ours and as `transformers` has it."""
    theirs = tiny_hf(tiny_gemma3())
    return tiny_model(tokenizer, weights=weights_from_hf(theirs, tiny_gemma3())), theirs


def tuned(model: Model, *, strength: float = 0.05) -> Model:
    """The model with random adapters that change its answers."""
    adapters = init_adapters(model.config, LoraRecipe(rank=2))
    rng = np.random.default_rng(5)
    for pair in adapters.tree.values():
        pair["b"] = jnp.asarray(rng.normal(size=pair["b"].shape) * strength, jnp.float32)
    return model.replace(adapters=adapters)


def compiled(function: Any) -> int:
    """How many shapes a jitted function was compiled for."""
    return int(function._cache_size())

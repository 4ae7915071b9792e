"""A tiny model and a few rows to train it on."""

from __future__ import annotations

import random

from gemma_keras_tune.data.examples import Example, Split
from gemma_keras_tune.model.config import GemmaConfig
from gemma_keras_tune.model.value import Model, ModelSource
from gemma_keras_tune.model.weights import init_random
from gemma_keras_tune.recipe import LoraRecipe
from gemma_keras_tune.text.template import template_for
from gemma_keras_tune.text.tokenizer import Tokenizer
from gemma_keras_tune.text.turns import Turn
from tests.support.tiny_models import tiny_gemma3

WORDS = "win a free prize now call this number lunch tomorrow at noon fox dog lazy park".split()


def tiny_model(
    tokenizer: Tokenizer,
    *,
    config: GemmaConfig | None = None,
    lora: LoraRecipe | None = None,
    seed: int = 0,
    template: str = "gemma",
) -> Model:
    """A random model: of these sizes, or a Gemma 3 of two layers with the tokenizer's words."""
    config = config or tiny_gemma3(
        layers=2, layer_is_local=(True, False), vocab_size=tokenizer.vocab_size, sliding_window=8
    )
    return Model(
        config=config,
        weights=init_random(config, seed=seed),
        tokenizer=tokenizer,
        template=template_for(template, tokenizer),
        source=ModelSource(name="tiny", kind="random", sha256=f"tiny-{seed}"),
        lora=lora or LoraRecipe(rank=4),
    )


def spam_rows(count: int, *, seed: int = 0, max_length: int = 64) -> Split:
    """Rows of 3 to 10 words; those with an even number of words are spam."""
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        words = rng.choices(WORDS, k=rng.randint(3, 10))
        label = "spam" if len(words) % 2 == 0 else "ham"
        turns = (Turn("user", " ".join(words)), Turn("model", label))
        rows.append(Example(turns, label, index + 2, "spam.csv"))
    return Split(
        examples=tuple(rows), task="classification", labels=("ham", "spam"), max_length=max_length
    )

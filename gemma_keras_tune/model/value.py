"""`Model`: the frozen value that every stage takes and returns."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..recipe import LoraRecipe
from .config import GemmaConfig
from .weights import Weights

if TYPE_CHECKING:
    import jax.numpy as jnp

    from ..text.template import Template
    from ..text.tokenizer import Tokenizer
    from .lora import Adapters


@dataclass(frozen=True, kw_only=True)
class ModelSource:
    """Where a model came from; written into lineage and model cards.

    Attributes:
        name: What the recipe named, such as `gemma3_instruct_1b`; a folder keeps only its name.
        kind: `preset`, `kaggle`, `hf`, `keras_folder`, `hf_folder`, `gguf`, `demo` or `random`.
        licence: Name of the licence, `gemma` for Google's own models.
        sha256: Hex digest of the weight files, `""` where it is not known.
        instruct: Whether the model was tuned to take turns.
    """

    name: str
    kind: str
    licence: str = "gemma"
    sha256: str = ""
    instruct: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A Gemma model: config, weights, tokenizer and turn template, perhaps with adapters.

    Nothing is changed in place: training returns a new value that shares the base weights.

    Attributes:
        config: Sizes and constants.
        weights: The pytree described in `weights.weight_shapes`, one dtype.
        tokenizer: Text to ids and back.
        template: How turns become ids.
        adapters: LoRA beside the weights, or None for the base model.
        lora: The adapters that training is to put beside the weights.
        source: Where the weights came from.
    """

    config: GemmaConfig
    weights: Weights
    tokenizer: Tokenizer
    template: Template
    source: ModelSource
    adapters: Adapters | None = None
    lora: LoraRecipe = LoraRecipe()

    @property
    def dtype(self) -> jnp.dtype:
        """The dtype of the weights."""
        return self.weights["embedding"].dtype

    def replace(self, **changes: Any) -> Model:
        """This model with some fields changed; arrays that stay are shared, not copied."""
        return dataclasses.replace(self, **changes)

    def to_keras(self) -> Any:
        """The family's `CausalLM` of `keras_hub.models` with these weights, adapters merged in.

        Raises:
            ModelError: If KerasHub can't express the config.
        """
        from .keras import to_keras

        return to_keras(self)

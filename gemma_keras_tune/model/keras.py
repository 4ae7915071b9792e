"""Our pytree as a KerasHub model, and a KerasHub backbone as our pytree."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError
from .assemble import WeightsBuilder
from .config import GemmaConfig
from .families import FAMILIES
from .keras_config import backbone_arguments, backbone_config
from .keras_preset import KERAS_LAYER_NAMES, keras_layout
from .weights import Weights, is_scale, layer_places, layer_shapes

if TYPE_CHECKING:
    from .value import Model

_SEQUENCE_LENGTH = 1024  # KerasHub's own default length of a padded batch
_WITHOUT_OTHER_MEDIA: dict[str, dict[str, bool]] = {
    "Gemma": {},
    "Gemma3": {"has_vision_tokens": False},
    "Gemma4": dict.fromkeys(("has_vision_tokens", "has_audio_tokens", "has_video_tokens"), False),
}


def to_keras(model: Model) -> Any:
    """The family's `CausalLM` of `keras_hub.models`, which computes what `model` computes.

    Adapters are merged in first. The embedding is shared with `model`, not copied; the other
    weights are copied once, into KerasHub's own axes. `generate`, `save_to_preset` and `quantize`
    work; KerasHub's preprocessor encodes turn markers in a text as markers.

    Raises:
        ModelError: If KerasHub has no setting for something in the config, or Keras was loaded
            with another backend.
    """
    arguments = backbone_arguments(model.config)
    if model.adapters is not None:
        from .lora import merge

        model = merge(model)
    import keras

    if keras.backend.backend() != "jax":
        raise ModelError(
            f"Keras was loaded with the backend {keras.backend.backend()!r}, and the model is made "
            "of JAX arrays. Import gemma_keras_tune before keras, or set KERAS_BACKEND=jax.",
            code="KERAS_BACKEND",
        )
    import keras_hub

    classes, prefix = keras_hub.models, FAMILIES[model.config.family].keras
    # without this scope Keras fills every variable with random numbers first: twice the memory
    with keras.StatelessScope(initialize_variables=False):
        backbone = getattr(classes, f"{prefix}Backbone")(**arguments, dtype=model.dtype.name)
    try:
        _assign(backbone, model)
    finally:
        _forget_initialized_variables()
    tokenizer = getattr(classes, f"{prefix}Tokenizer")(
        proto=model.tokenizer.proto, **_WITHOUT_OTHER_MEDIA[prefix]
    )
    tokenizer.built = True  # or `quantize` of the whole model stops at it (0.32)
    preprocessor = getattr(classes, f"{prefix}CausalLMPreprocessor")(
        tokenizer, sequence_length=min(_SEQUENCE_LENGTH, model.config.max_positions)
    )
    causal_lm = getattr(classes, f"{prefix}CausalLM")
    return causal_lm(backbone=backbone, preprocessor=preprocessor)


def from_keras(backbone: Any) -> tuple[GemmaConfig, Weights]:
    """The config and weights of a built Gemma backbone of `keras_hub.models`.

    Raises:
        ModelError: If the backbone asks for what isn't supported.
    """
    class_name = type(backbone).__name__
    config = backbone_config(class_name, backbone.get_config(), where=backbone.name)
    dtype = np.dtype(backbone.token_embedding.embeddings.dtype)
    builder = WeightsBuilder(config, dtype, where=backbone.name)
    for name, layer, variable, layout in _variables(backbone, config):
        value = np.atleast_1d(np.asarray(variable.value))
        builder.fill(name, layer, [value], shape=value.shape, layout=layout)
    return config, builder.finish()


def _assign(backbone: Any, model: Model) -> None:
    """Give every variable its value, and mend the query scale.

    The decoder blocks of Gemma 1 to 3 always tell their attention to scale by the head, whatever
    the backbone's setting says (0.32); set here, the 27B computes what `transformers` computes.
    """
    weights, places = model.weights, layer_places(model.config)
    for name, layer, variable, layout in _variables(backbone, model.config):
        if layer is None:
            ours = weights[name]
        else:
            key, row = places[name, layer]
            ours = weights["layers"][key][row]
        variable.assign(layout(ours).reshape(variable.shape))
    for block in backbone.transformer_layers:
        if hasattr(block.attention, "query_head_dim_normalize"):
            block.attention.query_head_dim_normalize = backbone.query_head_dim_normalize


def _forget_initialized_variables() -> None:
    """Take the variables that have a value now off Keras's list of those to fill later.

    Keras fills the list at the end of the next stateless scope, such as the one in `generate`,
    and raises if a variable on it has a value already. It has no public way to take one off.
    """
    from keras.src.backend.common import global_state

    key = "uninitialized_variables"
    pending = global_state.get_global_attribute(key, [])
    global_state.set_global_attribute(key, [v for v in pending if v._value is None])


def _variables(
    backbone: Any, config: GemmaConfig
) -> list[tuple[str, int | None, Any, Callable[[Any], Any]]]:
    """Our name, the layer, KerasHub's variable, and how our array looks with its axes."""

    def entry(name: str, layer: int | None, variable: Any) -> Any:
        return name, layer, variable, keras_layout(name, layer, config)

    found = [
        entry("embedding", None, backbone.token_embedding.embeddings),
        entry("final_norm", None, backbone.layer_norm.scale),
    ]
    if config.per_layer_width:
        projection, norm = backbone.per_layer_model_projection, backbone.per_layer_projection_norm
        found += [
            entry("per_layer_embedding", None, backbone.per_layer_token_embedding.embeddings),
            entry("per_layer_model_projection", None, projection._kernel),
            entry("per_layer_projection_norm", None, norm.scale),
        ]
    for layer, block in enumerate(backbone.transformer_layers):
        for name in layer_shapes(config, layer):
            if name == "layer_scalar":
                found.append(entry(name, layer, block.layer_scalar))
                continue
            part = block
            for attribute in KERAS_LAYER_NAMES[name].split("/"):
                part = getattr(part, attribute)
            # `_kernel`, since `kernel` of a layer with LoRA is the merged one
            found.append(entry(name, layer, part.scale if is_scale(name) else part._kernel))
    return found

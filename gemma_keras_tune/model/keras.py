"""Our pytree as a KerasHub model, and a KerasHub backbone as our pytree."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError
from .assemble import WeightsBuilder
from .config import GemmaConfig, gemma3_pattern
from .keras_preset import KERAS_LAYER_NAMES, backbone_config, keras_layout
from .weights import Weights, layer_shapes

if TYPE_CHECKING:
    from .value import Model

_SEQUENCE_LENGTH = 1024  # KerasHub's own default length of a padded batch


def to_keras(model: Model) -> Any:
    """A `keras_hub.models.Gemma3CausalLM` that computes what `model` computes.

    Adapters are merged in first. The embedding is shared with `model`, not copied; the other
    weights are copied once, into KerasHub's own axes. `generate("text")` works, with KerasHub's
    preprocessor, which encodes turn markers in a text as markers.

    Raises:
        ModelError: If KerasHub has no setting for something in the config, or Keras was loaded
            with another backend.
    """
    arguments = _backbone_arguments(model.config)
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

    # without this scope Keras fills every variable with random numbers first: twice the memory
    with keras.StatelessScope(initialize_variables=False):
        backbone = keras_hub.models.Gemma3Backbone(**arguments, dtype=model.dtype.name)
    try:
        _assign(backbone, model)
    finally:
        _forget_initialized_variables()
    tokenizer = keras_hub.models.Gemma3Tokenizer(
        proto=model.tokenizer.proto, has_vision_tokens=False
    )
    preprocessor = keras_hub.models.Gemma3CausalLMPreprocessor(
        tokenizer, sequence_length=min(_SEQUENCE_LENGTH, model.config.max_positions)
    )
    return keras_hub.models.Gemma3CausalLM(backbone=backbone, preprocessor=preprocessor)


def from_keras(backbone: Any) -> tuple[GemmaConfig, Weights]:
    """The config and weights of a built `keras_hub.models.Gemma3Backbone`.

    Raises:
        ModelError: If the backbone asks for what isn't supported.
    """
    config = backbone_config(backbone.get_config(), where=backbone.name)
    dtype = np.dtype(backbone.token_embedding.embeddings.dtype)
    builder = WeightsBuilder(config, dtype, where=backbone.name)
    for name, layer, variable, layout in _variables(backbone, config):
        value = np.asarray(variable.value)
        builder.fill(name, layer, [value], shape=value.shape, layout=layout)
    return config, builder.finish()


def _backbone_arguments(config: GemmaConfig) -> dict[str, Any]:
    """What to build the backbone with.

    Raises:
        ModelError: If KerasHub can't express the config; all reasons are listed.
    """
    by_head, by_width = config.head_dim**-0.5, (config.width // config.heads) ** -0.5
    normalize_by_head = math.isclose(config.query_scale, by_head, rel_tol=1e-6)
    any_local = any(config.layer_is_local)
    pattern = gemma3_pattern(config.layers) if any_local else (False,) * config.layers
    problems = {
        f"family {config.family!r} (only gemma3)": config.family != "gemma3",
        f"query_scale {config.query_scale:.6g} (only {by_head:.6g} or {by_width:.6g})": (
            not normalize_by_head and not math.isclose(config.query_scale, by_width, rel_tol=1e-6)
        ),
        "layer_is_local (only every sixth layer global, or all)": config.layer_is_local != pattern,
        f"rope_theta {config.rope_theta:g} (only 1e6)": config.rope_theta != 1e6,
        f"rope_theta_local {config.rope_theta_local:g} (only 1e4)": (
            any_local and config.rope_theta_local != 1e4
        ),
        f"rms_eps {config.rms_eps:g} (only 1e-6)": not math.isclose(config.rms_eps, 1e-6),
        f"norm_offset {config.norm_offset:g} (only 1)": config.norm_offset != 1.0,
        "an output projection of its own (only tied)": not config.tied,
    }
    found = [problem for problem, there in problems.items() if there]
    if found:
        raise ModelError(
            f"KerasHub's Gemma 3 has no setting for: {'; '.join(found)}. Export to the format "
            "'hf' instead, which has them all.",
            code="KERAS_NOT_EXPRESSIBLE",
        )
    return {
        "vocabulary_size": config.vocab_size,
        "image_size": None,
        "num_layers": config.layers,
        "num_query_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "hidden_dim": config.width,
        "intermediate_dim": config.hidden_dim,
        "head_dim": config.head_dim,
        "query_head_dim_normalize": normalize_by_head,
        "use_query_key_norm": config.qk_norm,
        "use_post_ffw_norm": config.post_norms,
        "use_post_attention_norm": config.post_norms,
        "attention_logit_soft_cap": config.attention_softcap,
        "final_logit_soft_cap": config.final_softcap,
        "use_sliding_window_attention": any_local,
        "sliding_window_size": config.sliding_window,
        "global_rope_scaling_factor": config.rope_scaling,
        "layer_norm_epsilon": config.rms_eps,
        "vision_encoder": None,
    }


def _assign(backbone: Any, model: Model) -> None:
    """Give every variable its value, and mend the query scale.

    KerasHub's decoder block always tells its attention to scale by the head, whatever the
    backbone's setting says (0.32); set here, the 27B computes what `transformers` computes.
    """
    weights = model.weights
    for name, layer, variable, layout in _variables(backbone, model.config):
        ours = weights["layers"][name][layer] if layer is not None else weights[name]
        variable.assign(layout(ours))
    for block in backbone.transformer_layers:
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
        return name, layer, variable, keras_layout(name, config)

    found = [
        entry("embedding", None, backbone.token_embedding.embeddings),
        entry("final_norm", None, backbone.layer_norm.scale),
    ]
    for layer, block in enumerate(backbone.transformer_layers):
        for name in layer_shapes(config):
            part = block
            for attribute in KERAS_LAYER_NAMES[name].split("/"):
                part = getattr(part, attribute)
            # `_kernel`, since `kernel` of a layer with LoRA is the merged one
            is_norm = name.endswith("norm")
            found.append(entry(name, layer, part.scale if is_norm else part._kernel))
    return found

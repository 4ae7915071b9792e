"""Tiny random `transformers` models, and their weights in our layout: the independent witness."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from gemma_keras_tune.model.config import GemmaConfig
from gemma_keras_tune.model.weights import layer_stacks

_HF_NAMES = {
    "input_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "pre_feedforward_norm": "pre_feedforward_layernorm",
    "post_feedforward_norm": "post_feedforward_layernorm",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
    **{name: f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj")},
    **{name: f"mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")},
    **{
        name: name
        for name in ("per_layer_input_gate", "per_layer_projection", "post_per_layer_input_norm")
    },
}
_OUTER = {
    "embedding": "model.embed_tokens.weight",
    "final_norm": "model.norm.weight",
    "per_layer_embedding": "model.embed_tokens_per_layer.weight",
    "per_layer_projection_norm": "model.per_layer_projection_norm.weight",
}


def tiny_hf(config: GemmaConfig, *, seed: int = 0) -> Any:
    """A random float32 model of that family and shape, norms away from their defaults."""
    import torch

    torch.manual_seed(seed)
    config_class, model_class = _classes(config.family)
    model = model_class(config_class(**_arguments(config), tie_word_embeddings=config.tied))
    model.set_attn_implementation("eager")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.normal_(1.0 - config.norm_offset, 0.3)
            else:
                parameter.normal_(0.0, 0.5 / parameter.shape[-1] ** 0.5)
        for name, buffer in model.named_buffers():
            if name.endswith("layer_scalar"):
                buffer.normal_(1.0, 0.1)
    return model.eval()


def weights_from_hf(model: Any, config: GemmaConfig) -> dict[str, Any]:
    """The weights of `model` as our pytree, float32."""
    state = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    names = dict(_HF_NAMES)
    if config.family == "gemma":  # its second norm has a name that means another one elsewhere
        names["pre_feedforward_norm"] = "post_attention_layernorm"

    def stack(name: str, layers: tuple[int, ...]) -> Any:
        end = "layer_scalar" if name == "layer_scalar" else f"{names[name]}.weight"
        arrays = [np.asarray(state[f"model.layers.{layer}.{end}"]).T for layer in layers]
        return jnp.asarray(np.stack(arrays))

    weights: dict[str, Any] = {
        ours: jnp.asarray(state[theirs]) for ours, theirs in _OUTER.items() if theirs in state
    }
    if not config.tied:
        weights["output"] = jnp.asarray(state["lm_head.weight"])
    if config.per_layer_width:
        projection = state["model.per_layer_model_projection.weight"]
        weights["per_layer_model_projection"] = jnp.asarray(projection.T)
    stacks = layer_stacks(config)
    weights["layers"] = {key: stack(one.name, one.layers) for key, one in stacks.items()}
    return weights


def _classes(family: str) -> tuple[Any, Any]:
    import transformers

    prefix = {"gemma": "Gemma", "gemma2": "Gemma2", "vaultgemma": "VaultGemma", "gemma3": "Gemma3",
              "gemma4": "Gemma4"}[family]  # fmt: skip
    text = "Text" if family in ("gemma3", "gemma4") else ""
    return (
        getattr(transformers, f"{prefix}{text}Config"),
        getattr(transformers, f"{prefix}ForCausalLM"),
    )


def _arguments(config: GemmaConfig) -> dict[str, Any]:
    values: dict[str, Any] = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.hidden_dim,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "rms_norm_eps": config.rms_eps,
        "max_position_embeddings": config.max_positions,
    }
    if config.family == "gemma":
        return values
    values |= {
        "sliding_window": config.sliding_window,
        "layer_types": [
            "sliding_attention" if local else "full_attention" for local in config.layer_is_local
        ],
        "final_logit_softcapping": config.final_softcap,
    }
    if config.family == "gemma4":
        return values | {
            "global_head_dim": config.global_head_dim,
            "num_global_key_value_heads": config.global_kv_heads or None,
            "attention_k_eq_v": config.key_is_value,
            "num_kv_shared_layers": config.shared_kv_layers,
            "use_double_wide_mlp": config.wide_shared,
            "hidden_size_per_layer_input": config.per_layer_width,
            "vocab_size_per_layer_input": config.per_layer_vocab or config.vocab_size,
        }
    values |= {
        "query_pre_attn_scalar": round(config.query_scale**-2),
        "attn_logit_softcapping": config.attention_softcap,
    }
    if config.family == "gemma3" and config.rope_scaling != 1.0:
        values["rope_parameters"] = {
            "full_attention": {
                "rope_type": "linear",
                "factor": config.rope_scaling,
                "rope_theta": config.rope_theta,
            },
            "sliding_attention": {"rope_type": "default", "rope_theta": config.rope_theta_local},
        }
    return values

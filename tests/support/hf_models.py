"""Tiny random `transformers` models, and their weights in our layout: the independent witness."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from gemma_keras_tune.model.config import GemmaConfig

_HF_NAMES = {
    "input_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "pre_feedforward_norm": "pre_feedforward_layernorm",
    "post_feedforward_norm": "post_feedforward_layernorm",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
    **{name: f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj")},
    **{name: f"mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")},
}


def tiny_hf_gemma3(config: GemmaConfig, *, seed: int = 0) -> Any:
    """A random float32 `Gemma3ForCausalLM` of that shape, norms away from their defaults."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    torch.manual_seed(seed)
    model = Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.width,
            intermediate_size=config.hidden_dim,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads,
            head_dim=config.head_dim,
            query_pre_attn_scalar=round(config.query_scale**-2),
            sliding_window=config.sliding_window,
            layer_types=[
                "sliding_attention" if local else "full_attention"
                for local in config.layer_is_local
            ],
            rms_norm_eps=config.rms_eps,
            max_position_embeddings=config.max_positions,
        )
    )
    model.set_attn_implementation("eager")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            deviation = 0.3 if name.endswith("norm.weight") else 0.5 / parameter.shape[-1] ** 0.5
            parameter.normal_(0.0, deviation)
    return model.eval()


def weights_from_hf(model: Any, config: GemmaConfig) -> dict[str, Any]:
    """The weights of `model` as our pytree, float32."""
    state = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}

    def layer_stack(ours: str) -> Any:
        names = [f"model.layers.{i}.{_HF_NAMES[ours]}.weight" for i in range(config.layers)]
        return jnp.asarray(np.stack([np.asarray(state[name]).T for name in names]))

    return {
        "embedding": jnp.asarray(state["model.embed_tokens.weight"]),
        "final_norm": jnp.asarray(state["model.norm.weight"]),
        "layers": {name: layer_stack(name) for name in _HF_NAMES},
    }

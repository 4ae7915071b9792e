"""`config.json` and `generation_config.json` of a Hugging Face folder."""

from __future__ import annotations

from typing import Any

from ..errors import ExportError
from ..model.config import GemmaConfig, gemma3_pattern
from ..text.template import Template


def hf_config(config: GemmaConfig, template: Template, *, dtype: str) -> dict[str, Any]:
    """The `config.json` of a `Gemma3ForCausalLM`.

    Rotary settings have the names of Google's own files (`rope_theta`, `rope_local_base_freq`,
    `rope_scaling`), which transformers 4 and 5, vLLM and llama.cpp all read. The nested
    `rope_parameters` of transformers 5 must not stand beside them: vLLM over transformers 4 then
    refuses the file.

    Args:
        config: The model's sizes and constants.
        template: Has the stop ids and the tokenizer's special ids.
        dtype: Name of the type of the written weights.

    Raises:
        ExportError: If Hugging Face's Gemma 3 can't compute what this config says.
    """
    _refuse_inexpressible(config)
    kinds = {True: "sliding_attention", False: "full_attention"}
    settings: dict[str, Any] = {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "vocab_size": config.vocab_size,
        "hidden_size": config.width,
        "intermediate_size": config.hidden_dim,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_activation": "gelu_pytorch_tanh",
        "max_position_embeddings": config.max_positions,
        "initializer_range": 0.02,
        "rms_norm_eps": config.rms_eps,
        "query_pre_attn_scalar": round(config.query_scale**-2),
        "sliding_window": config.sliding_window,
        "layer_types": [kinds[local] for local in config.layer_is_local],
        "rope_theta": config.rope_theta,
        "rope_local_base_freq": config.rope_theta_local,
        "rope_scaling": _rope_scaling(config),
        "attn_logit_softcapping": config.attention_softcap,
        "final_logit_softcapping": config.final_softcap,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "use_bidirectional_attention": False,
        "tie_word_embeddings": True,
        "use_cache": True,
        **_special_ids(template),
        "torch_dtype": dtype,  # transformers 4
        "dtype": dtype,  # transformers 5
    }
    if (every := _pattern(config)) is not None:
        # what transformers before 4.53 had in the place of layer_types
        settings["sliding_window_pattern"] = every
    return settings


def hf_generation_config(template: Template) -> dict[str, Any]:
    """The `generation_config.json`: greedy, and it stops where the template's answers end."""
    return {**_special_ids(template), "do_sample": False}


def _special_ids(template: Template) -> dict[str, Any]:
    tokenizer = template.tokenizer
    stops = sorted(template.stop_ids)
    return {
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": stops[0] if len(stops) == 1 else stops,
        "pad_token_id": tokenizer.pad_id,
    }


def _rope_scaling(config: GemmaConfig) -> dict[str, Any] | None:
    if config.rope_scaling == 1.0:
        return None
    return {"rope_type": "linear", "factor": config.rope_scaling}


def _pattern(config: GemmaConfig) -> int | None:
    """Every how many-th layer is global, or None where they don't follow such a rule."""
    for every in range(2, config.layers + 2):
        if config.layer_is_local == gemma3_pattern(config.layers, every=every):
            return every
    return None


def _refuse_inexpressible(config: GemmaConfig) -> None:
    scalar = round(config.query_scale**-2)
    if scalar < 1 or abs(scalar**-0.5 / config.query_scale - 1) > 1e-5:
        raise ExportError(
            f"The model multiplies queries by {config.query_scale:.8g}, but a Hugging Face config "
            "can only say 1/sqrt(n) with a whole number n (query_pre_attn_scalar); "
            f"the nearest is n = {max(scalar, 1)}. This model can't be exported in this format.",
            code="EXPORT_CONFIG",
        )
    wrong = {
        "family": config.family != "gemma3",
        "norm_offset": config.norm_offset != 1.0,
        "qk_norm": not config.qk_norm,
        "post_norms": not config.post_norms,
        "tied": not config.tied,
        "width": config.width % config.heads != 0,
    }
    named = [f"{name} = {getattr(config, name)!r}" for name, is_wrong in wrong.items() if is_wrong]
    if named:
        raise ExportError(
            f"Hugging Face's Gemma 3 has no way to say {', '.join(named)}, so this model can't be "
            "exported in this format.",
            code="EXPORT_CONFIG",
        )

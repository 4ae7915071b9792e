"""`config.json` and `generation_config.json` of a Hugging Face folder."""

from __future__ import annotations

from typing import Any

from ..errors import ExportError
from ..model.config import GemmaConfig, layer_pattern
from ..model.families import FAMILIES
from ..text.template import Template


def hf_config(config: GemmaConfig, template: Template, *, dtype: str) -> dict[str, Any]:
    """The `config.json` of the family's text model in `transformers`.

    Rotary settings have the names of Google's own files (`rope_theta`, `rope_local_base_freq`,
    `rope_scaling`), which transformers 4 and 5, vLLM and llama.cpp all read. The nested
    `rope_parameters` of transformers 5 must not stand beside them: vLLM over transformers 4 then
    refuses the file. Gemma 4 came after version 5, and has only those.

    Args:
        config: The model's sizes and constants.
        template: Has the stop ids and the tokenizer's special ids.
        dtype: Name of the type of the written weights.

    Raises:
        ExportError: If the family's class in `transformers` can't compute what this config says.
    """
    _refuse_inexpressible(config)
    family = FAMILIES[config.family]
    return {
        "architectures": [family.hf_class],
        "model_type": family.hf_type,
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
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": config.tied,
        "use_cache": True,
        **_special_ids(template),
        **_of_the_family(config),
        "torch_dtype": dtype,  # transformers 4
        "dtype": dtype,  # transformers 5
    }


def _of_the_family(config: GemmaConfig) -> dict[str, Any]:
    """Attention, caps and rotation, as each family's file says them."""
    if config.family == "gemma":
        return {"hidden_act": "gelu_pytorch_tanh", "rope_theta": config.rope_theta}
    kinds = {True: "sliding_attention", False: "full_attention"}
    settings: dict[str, Any] = {
        "sliding_window": config.sliding_window,
        "layer_types": [kinds[local] for local in config.layer_is_local],
        "final_logit_softcapping": config.final_softcap,
    }
    if config.family == "gemma4":
        return settings | _gemma4(config)
    settings |= {
        "query_pre_attn_scalar": round(config.query_scale**-2),
        "attn_logit_softcapping": config.attention_softcap,
        "rope_theta": config.rope_theta,
    }
    if config.family == "gemma3":
        settings |= {
            "rope_local_base_freq": config.rope_theta_local,
            "rope_scaling": _rope_scaling(config),
            "use_bidirectional_attention": False,
        }
        if (every := _pattern(config)) is not None:
            # what transformers before 4.53 had in the place of layer_types
            settings["sliding_window_pattern"] = every
    return settings


def _gemma4(config: GemmaConfig) -> dict[str, Any]:
    whole = {"rope_type": "default", "rope_theta": config.rope_theta}
    if config.rope_share != 1.0 or config.rope_scaling != 1.0:
        whole |= {"rope_type": "proportional", "partial_rotary_factor": config.rope_share}
        whole |= {"factor": config.rope_scaling} if config.rope_scaling != 1.0 else {}
    window = {"rope_type": "default", "rope_theta": config.rope_theta_local}
    return {
        "rope_parameters": {"full_attention": whole, "sliding_attention": window},
        "global_head_dim": config.global_head_dim or config.head_dim,
        "num_global_key_value_heads": config.global_kv_heads or None,
        "attention_k_eq_v": config.key_is_value,
        "num_kv_shared_layers": config.shared_kv_layers,
        "use_double_wide_mlp": config.wide_shared,
        "hidden_size_per_layer_input": config.per_layer_width,
        "vocab_size_per_layer_input": config.per_layer_vocab or config.vocab_size,
        "enable_moe_block": False,
    }


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
        if config.layer_is_local == layer_pattern(config.layers, every=every):
            return every
    return None


def _refuse_inexpressible(config: GemmaConfig) -> None:
    family = FAMILIES[config.family]
    scalar = round(config.query_scale**-2)
    fixed = {"gemma": config.head_dim, "gemma4": 1}.get(family.name, scalar)
    if scalar < 1 or scalar != fixed or abs(scalar**-0.5 / config.query_scale - 1) > 1e-5:
        raise ExportError(
            f"The model multiplies queries by {config.query_scale:.8g}, but a Hugging Face config "
            f"of {family.title} can only say 1/sqrt(n) with "
            + (f"n = {fixed}" if family.name in ("gemma", "gemma4") else "a whole number n")
            + f" (query_pre_attn_scalar); the nearest is n = {max(scalar, 1)}. This model can't be "
            "exported in this format.",
            code="EXPORT_CONFIG",
        )
    one_rope = not family.two_ropes
    ends_local = family.name == "gemma4" and config.layer_is_local[-1]
    wrong = {
        "norm_offset": config.norm_offset != family.norm_offset,
        "qk_norm": config.qk_norm != family.qk_norm,
        "post_norms": config.post_norms != family.post_norms,
        "width": config.width % config.heads != 0 and family.name not in ("gemma", "gemma4"),
        "layer_is_local": ends_local or (family.name == "gemma" and any(config.layer_is_local)),
        "rope_theta_local": one_rope
        and any(config.layer_is_local)
        and config.rope_theta_local != config.rope_theta,
        "rope_scaling": one_rope and config.rope_scaling != 1.0,
        "attention_softcap": family.name in ("gemma", "gemma4")
        and config.attention_softcap is not None,
        "final_softcap": family.name == "gemma" and config.final_softcap is not None,
    }
    named = [f"{name} = {getattr(config, name)!r}" for name, is_wrong in wrong.items() if is_wrong]
    if named:
        raise ExportError(
            f"Hugging Face's {family.title} has no way to say {', '.join(named)}, so this model "
            "can't be exported in this format.",
            code="EXPORT_CONFIG",
        )

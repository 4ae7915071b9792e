"""`config.json` of `transformers` (versions 4 and 5) as a GemmaConfig; the rest is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ModelError
from .config import GemmaConfig, layer_pattern
from .families import FAMILIES, Family, mixture_of_experts

# what transformers' own config classes take where a file is silent; multimodal files rely on it
_EVERYWHERE: dict[str, Any] = {"head_dim": 256, "rms_norm_eps": 1e-6}
_GEMMA2: dict[str, Any] = {
    "vocab_size": 256_000,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "max_position_embeddings": 8192,
    "final_logit_softcapping": 30.0,
    "attn_logit_softcapping": 50.0,
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma": {
        "vocab_size": 256_000,
        "hidden_size": 3072,
        "intermediate_size": 24_576,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "max_position_embeddings": 8192,
    },
    "gemma2": _GEMMA2,
    "vaultgemma": _GEMMA2,
    "gemma3": {
        "vocab_size": 262_208,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 26,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "query_pre_attn_scalar": 256,
        "sliding_window": 4096,
        "max_position_embeddings": 131_072,
    },
    "gemma4": {
        "vocab_size": 262_144,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 30,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "sliding_window": 512,
        "max_position_embeddings": 131_072,
        "global_head_dim": 512,
        "num_global_key_value_heads": None,
        "attention_k_eq_v": False,
        "num_kv_shared_layers": 0,
        "use_double_wide_mlp": False,
        "hidden_size_per_layer_input": 256,
        "vocab_size_per_layer_input": 262_144,
    },
}

# settings that change what the model computes, and the only values that are computed here
_ONLY: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False, None),
    "attention_dropout": (0, None),
    "hidden_activation": ("gelu_pytorch_tanh", None),
    # Gemma 1's first files say "gelu" and mean the approximation, as every reader knows
    "hidden_act": ("gelu_pytorch_tanh", "gelu", None),
    "use_bidirectional_attention": (False, None),
    "quantization_config": (None,),
}


def model_config(config: Mapping[str, Any], *, where: str) -> GemmaConfig:
    """The GemmaConfig of a Gemma text model's config, or of the text part of one with pictures.

    Args:
        config: The parsed `config.json`.
        where: The folder's name, for messages.

    Raises:
        ModelError: If it is another kind of model, asks for what isn't supported, or lacks sense.
    """
    family, text = _text_part(config, where)
    only = dict(_ONLY)
    if family.name == "gemma4":
        # pictures see each other; a text without any is causal all the same
        only["use_bidirectional_attention"] = (False, None, "vision")
        if text.get("enable_moe_block"):
            raise mixture_of_experts(where)
    for key, allowed in only.items():
        if text.get(key) not in allowed:
            raise _unsupported(where, key, text[key], allowed)
    values = {**_EVERYWHERE, **_DEFAULTS[family.name], **text}
    try:
        if family.name == "gemma4":
            values |= _of_global_layers(values, where)
        return _config(family, values, where)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise ModelError(
            f"{where}: config.json makes no sense: {error}", code="MODEL_CONFIG"
        ) from error


def _config(family: Family, values: Mapping[str, Any], where: str) -> GemmaConfig:
    layers, head_dim = int(values["num_hidden_layers"]), int(values["head_dim"])
    local = _layer_is_local(family, values, layers, where)
    theta, theta_local, scaling, share = _rope(family, values, where)
    more: dict[str, Any] = {}
    if family.name == "gemma4":
        more = _gemma4(values) | {"rope_share": share, "query_scale": 1.0}
    return GemmaConfig(
        **{
            "family": family.name,
            "vocab_size": int(values["vocab_size"]),
            "width": int(values["hidden_size"]),
            "layers": layers,
            "heads": int(values["num_attention_heads"]),
            "kv_heads": int(values["num_key_value_heads"]),
            "head_dim": head_dim,
            "hidden_dim": int(values["intermediate_size"]),
            "rms_eps": float(values["rms_norm_eps"]),
            "query_scale": float(values.get("query_pre_attn_scalar", head_dim)) ** -0.5,
            "sliding_window": int(values.get("sliding_window") or 0),
            "layer_is_local": local,
            "rope_theta": theta,
            "rope_theta_local": theta_local,
            "rope_scaling": scaling,
            "final_softcap": values.get("final_logit_softcapping"),
            "attention_softcap": values.get("attn_logit_softcapping"),
            "max_positions": int(values["max_position_embeddings"]),
            "qk_norm": family.qk_norm,
            "post_norms": family.post_norms,
            "norm_offset": family.norm_offset,
            "tied": bool(values.get("tie_word_embeddings", True)),
            **more,
        }
    )


def _of_global_layers(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What newer files say of global layers by the layer's number, under the names of older ones.

    Raises:
        ModelError: If they say something else, or not the same of all global layers.
    """
    by_layer = values.get("per_layer_config")
    if by_layer is None:
        return {}
    kinds = enumerate(values["layer_types"])
    of_global = [by_layer.get(str(i), {}) for i, kind in kinds if kind == "full_attention"]
    known = {"head_dim", "num_key_value_heads"}
    alike = all(one == of_global[0] for one in of_global) and len(by_layer) == len(of_global)
    if not of_global or not alike or not set(of_global[0]) <= known:
        raise ModelError(
            f"{where}: config.json has a per_layer_config that is not supported here; supported: "
            "head_dim and num_key_value_heads, the same in all full_attention layers.",
            code="MODEL_CONFIG_UNSUPPORTED",
        )
    found = of_global[0]
    return {
        "global_head_dim": found.get("head_dim", values["head_dim"]),
        "num_global_key_value_heads": found.get("num_key_value_heads"),
    }


def _gemma4(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that only Gemma 4 has."""
    key_is_value = bool(values["attention_k_eq_v"])
    per_layer = int(values["hidden_size_per_layer_input"] or 0)
    return {
        "global_head_dim": int(values["global_head_dim"] or 0),
        "global_kv_heads": int(values["num_global_key_value_heads"] or 0) if key_is_value else 0,
        "key_is_value": key_is_value,
        "shared_kv_layers": int(values["num_kv_shared_layers"] or 0),
        "wide_shared": bool(values["use_double_wide_mlp"]),
        "value_norm": True,
        "per_layer_width": per_layer,
        "per_layer_vocab": int(values["vocab_size_per_layer_input"]) if per_layer else 0,
        "layer_scalar": True,
    }


def _text_part(config: Mapping[str, Any], where: str) -> tuple[Family, Mapping[str, Any]]:
    kind, text = config.get("model_type"), config.get("text_config")
    for family in FAMILIES.values():
        if kind == family.hf_type:
            return family, config
        if kind in family.hf_picture_types and isinstance(text, Mapping):
            # these two are written beside the text part in some files
            outer = {
                k: config[k] for k in ("tie_word_embeddings", "quantization_config") if k in config
            }
            return family, {**outer, **text}
    known = ", ".join(family.hf_type for family in FAMILIES.values())
    raise ModelError(
        f"{where}: config.json describes a model of type {kind!r}; only Gemma's text models can be "
        f"loaded ({known}), and the text part of gemma3 and gemma4.",
        code="MODEL_TYPE",
    )


def _layer_is_local(
    family: Family, text: Mapping[str, Any], layers: int, where: str
) -> tuple[bool, ...]:
    kinds = text.get("layer_types")
    if kinds is not None:
        allowed = ("sliding_attention", "full_attention")
        strange = [kind for kind in kinds if kind not in allowed]
        if strange:
            raise _unsupported(where, "layer_types", strange[0], allowed)
        return tuple(kind == "sliding_attention" for kind in kinds)
    if text.get("sliding_window", 1) in (0, None):
        return layer_pattern(layers, every=1)
    every = text.get("sliding_window_pattern", text.get("_sliding_window_pattern"))
    return layer_pattern(layers, every=int(every or family.global_every))


def _rope(family: Family, text: Mapping[str, Any], where: str) -> tuple[float, float, float, float]:
    """Base of global layers, base of local layers, factor of global layers, share they rotate.

    Version 4 has `rope_theta`, `rope_local_base_freq` and `rope_scaling` side by side; version 5
    has `rope_parameters`, with an entry for each kind of layer where they differ.
    """
    parameters = text.get("rope_parameters") or {}
    whole = parameters.get("full_attention") or (parameters if "rope_theta" in parameters else {})
    window = parameters.get("sliding_attention") or ({} if family.two_ropes else whole)
    scaling = text.get("rope_scaling") or whole
    theta = float(whole.get("rope_theta", text.get("rope_theta", family.rope_theta)))
    local_default = text.get("rope_local_base_freq", 10_000.0) if family.two_ropes else theta
    theta_local = float(window.get("rope_theta", local_default))
    if _kind_of_rope(window) != "default":
        raise _unsupported(where, "rope of local layers", _kind_of_rope(window), ("default",))
    kind = _kind_of_rope(scaling)
    allowed = {"gemma3": ("default", "linear"), "gemma4": ("default", "proportional")}
    if kind not in allowed.get(family.name, ("default",)):
        raise _unsupported(where, "rope_type", kind, allowed.get(family.name, ("default",)))
    if kind == "proportional":
        share = float(scaling.get("partial_rotary_factor", 1.0))
        return theta, theta_local, float(scaling.get("factor", 1.0)), share
    if not parameters and family.name == "gemma4":
        return theta, theta_local, 1.0, 0.25
    return theta, theta_local, float(scaling["factor"]) if kind == "linear" else 1.0, 1.0


def _kind_of_rope(settings: Mapping[str, Any]) -> str:
    return str(settings.get("rope_type", settings.get("type", "default")))


def _unsupported(where: str, key: str, value: Any, allowed: tuple[Any, ...]) -> ModelError:
    shown = "a setting" if isinstance(value, Mapping) else repr(value)
    return ModelError(
        f"{where}: config.json has {key} = {shown}, which changes what the model computes and is "
        f"not supported here; supported: {', '.join(map(repr, allowed))}.",
        code="MODEL_CONFIG_UNSUPPORTED",
    )

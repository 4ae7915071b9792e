"""The settings of a KerasHub backbone as a GemmaConfig, and a GemmaConfig as those settings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import ModelError
from .config import GemmaConfig, layer_pattern
from .families import FAMILIES, mixture_of_experts

_LONG_CONTEXT, _SHORT_CONTEXT, _EARLY_CONTEXT = 131_072, 32_768, 8192

_ONLY: dict[str, tuple[Any, ...]] = {
    "use_bidirectional_attention": (False,),
    "is_embedding_model": (False,),
    "local_rope_scaling_factor": (1.0,),
    "dropout": (0,),
}


def backbone_config(class_name: str, config: Mapping[str, Any], *, where: str) -> GemmaConfig:
    """The GemmaConfig of what a backbone's `get_config()` gives.

    The query scale is the backbone's own setting: KerasHub's decoder blocks ignore it, which is
    right for every size but the 27B.

    Args:
        class_name: `GemmaBackbone`, `Gemma3Backbone` or `Gemma4Backbone`.
        config: The backbone's settings.
        where: The folder's or backbone's name, for messages.

    Raises:
        ModelError: If they ask for what isn't supported, or make no sense.
    """
    if class_name not in _READERS:
        raise ModelError(
            f"{where}: config.json describes a {class_name!r}; only {', '.join(_READERS)} can be "
            "loaded.",
            code="MODEL_TYPE",
        )
    for key, allowed in _ONLY.items():
        if config.get(key, allowed[0]) not in allowed:
            raise _unsupported(where, key, config[key])
    if config.get("enable_moe_block"):
        raise mixture_of_experts(where)
    dtype = config.get("dtype")
    if isinstance(dtype, dict) and dtype.get("class_name") != "DTypePolicy":
        raise _unsupported(where, "dtype", dtype.get("class_name"))
    post_norms = bool(config.get("use_post_ffw_norm", False))
    if post_norms != bool(config.get("use_post_attention_norm", False)):
        raise _unsupported(where, "use_post_attention_norm", not post_norms)
    try:
        return GemmaConfig(**_sizes(config), **_READERS[class_name](config))
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(
            f"{where}: config.json makes no sense: {error!r}", code="MODEL_CONFIG"
        ) from error


def backbone_arguments(config: GemmaConfig) -> dict[str, Any]:
    """What to build the family's backbone with.

    Raises:
        ModelError: If KerasHub can't express the config; all reasons are listed.
    """
    family = FAMILIES[config.family]
    found = [problem for problem, there in _problems(config).items() if there]
    if found:
        raise ModelError(
            f"KerasHub's {family.title} has no setting for: {'; '.join(found)}. Export to the "
            "format 'hf' instead, which has them all.",
            code="KERAS_NOT_EXPRESSIBLE",
        )
    arguments = {
        "vocabulary_size": config.vocab_size,
        "num_layers": config.layers,
        "num_query_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "hidden_dim": config.width,
        "head_dim": config.head_dim,
        "intermediate_dim": config.hidden_dim * (2 if family.keras == "Gemma" else 1),
        "query_head_dim_normalize": _scales_by_head(config),
        "attention_logit_soft_cap": config.attention_softcap,
        "final_logit_soft_cap": config.final_softcap,
        "use_sliding_window_attention": any(config.layer_is_local),
        "sliding_window_size": config.sliding_window,
        "layer_norm_epsilon": config.rms_eps,
    }
    if family.keras == "Gemma4":
        return arguments | _gemma4_arguments(config)
    arguments |= {
        "use_post_ffw_norm": config.post_norms,
        "use_post_attention_norm": config.post_norms,
    }
    if family.keras == "Gemma3":
        arguments |= {
            "image_size": None,
            "vision_encoder": None,
            "use_query_key_norm": config.qk_norm,
            "global_rope_scaling_factor": config.rope_scaling,
        }
    return arguments


def _gemma4_arguments(config: GemmaConfig) -> dict[str, Any]:
    kinds = {True: "sliding_attention", False: "full_attention"}
    return {
        "image_size": None,
        "vision_encoder": None,
        "audio_encoder": None,
        "layer_types": [kinds[local] for local in config.layer_is_local],
        "global_head_dim": config.global_head_dim or None,
        "global_rope_scaling_factor": config.rope_scaling,
        "global_rope_wavelength": config.rope_theta,
        "local_rope_wavelength": config.rope_theta_local,
        "global_rope_partial_rotary_factor": config.rope_share,
        "num_kv_shared_layers": config.shared_kv_layers,
        "num_global_key_value_heads": config.global_kv_heads or None,
        "hidden_size_per_layer_input": config.per_layer_width,
        "vocab_size_per_layer_input": config.per_layer_vocab or None,
        "use_double_wide_mlp": config.wide_shared,
    }


def _problems(config: GemmaConfig) -> dict[str, bool]:
    """What KerasHub can't say, in words, and whether the config asks for it."""
    family = FAMILIES[config.family]
    any_local = any(config.layer_is_local)
    common = {
        f"rms_eps {config.rms_eps:g} (only 1e-6)": not math.isclose(config.rms_eps, 1e-6),
        f"norm_offset {config.norm_offset:g} (only {family.norm_offset:g})": (
            config.norm_offset != family.norm_offset
        ),
        "an output projection of its own (only tied)": not config.tied,
    }
    if family.name == "gemma4":
        return common | {
            f"query_scale {config.query_scale:.6g} (only 1)": config.query_scale != 1.0,
            "keys that are values with as many heads as local layers have": (
                config.key_is_value and not config.global_kv_heads
            ),
        }
    by_head, by_width = config.head_dim**-0.5, (config.width // config.heads) ** -0.5
    pattern = layer_pattern(config.layers, every=family.global_every if any_local else 1)
    theta, every = family.rope_theta, family.global_every
    common |= {
        f"query_scale {config.query_scale:.6g} (only {by_head:.6g} or {by_width:.6g})": (
            not _scales_by_head(config)
            and not math.isclose(config.query_scale, by_width, rel_tol=1e-6)
        ),
        f"layer_is_local (only every {_ordinal(every)} layer global, or all)": (
            config.layer_is_local != pattern
        ),
        f"rope_theta {config.rope_theta:g} (only {theta:g})": config.rope_theta != theta,
        f"rope_theta_local {config.rope_theta_local:g} (only 1e4)": (
            any_local and config.rope_theta_local != 1e4
        ),
    }
    if family.keras == "Gemma":
        common["rope_scaling"] = config.rope_scaling != 1.0
    return common


def _ordinal(number: int) -> str:
    return {1: "single", 2: "second", 6: "sixth"}[number]


def _scales_by_head(config: GemmaConfig) -> bool:
    return math.isclose(config.query_scale, config.head_dim**-0.5, rel_tol=1e-6)


def _sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that every backbone has under the same names."""
    return {
        "vocab_size": int(config["vocabulary_size"]),
        "width": int(config["hidden_dim"]),
        "layers": int(config["num_layers"]),
        "heads": int(config["num_query_heads"]),
        "kv_heads": int(config["num_key_value_heads"]),
        "head_dim": int(config["head_dim"]),
        "rms_eps": float(config.get("layer_norm_epsilon", 1e-6)),
        "final_softcap": config.get("final_logit_soft_cap"),
        "attention_softcap": config.get("attention_logit_soft_cap"),
    }


def _query_scale(config: Mapping[str, Any]) -> float:
    by_width = int(config["hidden_dim"]) // int(config["num_query_heads"])
    by_head = config.get("query_head_dim_normalize", True)
    return float(int(config["head_dim"]) if by_head else by_width) ** -0.5


def _gemma(config: Mapping[str, Any]) -> dict[str, Any]:
    """Gemma 1, Gemma 2 or VaultGemma, which share a class, told apart by what they use."""
    sliding = bool(config.get("use_sliding_window_attention", False))
    post_norms = bool(config.get("use_post_ffw_norm", False))
    name = "gemma2" if post_norms else "vaultgemma" if sliding else "gemma"
    family, layers = FAMILIES[name], int(config["num_layers"])
    return {
        "family": name,
        "hidden_dim": int(config["intermediate_dim"]) // 2,
        "query_scale": _query_scale(config),
        "sliding_window": int(config.get("sliding_window_size", 4096)) if sliding else 0,
        "layer_is_local": layer_pattern(layers, every=family.global_every if sliding else 1),
        "rope_theta": family.rope_theta,
        "rope_theta_local": family.rope_theta,
        "max_positions": _EARLY_CONTEXT,
        "qk_norm": False,
        "post_norms": post_norms,
    }


def _gemma3(config: Mapping[str, Any]) -> dict[str, Any]:
    sliding = bool(config.get("use_sliding_window_attention", False))
    scaling = float(config.get("global_rope_scaling_factor", 1.0))
    return {
        "hidden_dim": int(config["intermediate_dim"]),
        "query_scale": _query_scale(config),
        "sliding_window": int(config.get("sliding_window_size", 1024)),
        "layer_is_local": layer_pattern(int(config["num_layers"]), every=6 if sliding else 1),
        "rope_scaling": scaling,
        # KerasHub's config has no such number; only the models with a long context scale
        "max_positions": _LONG_CONTEXT if scaling > 1 else _SHORT_CONTEXT,
        "qk_norm": bool(config.get("use_query_key_norm", True)),
        "post_norms": bool(config.get("use_post_ffw_norm", False)),
    }


def _gemma4(config: Mapping[str, Any]) -> dict[str, Any]:
    layers, types = int(config["num_layers"]), config.get("layer_types")
    every = int(config.get("sliding_window_pattern", 6))
    if not config.get("use_sliding_window_attention", True):
        every, types = 1, None
    per_layer = int(config.get("hidden_size_per_layer_input") or 0)
    global_kv_heads = int(config.get("num_global_key_value_heads") or 0)
    vocab = config.get("vocab_size_per_layer_input") or config["vocabulary_size"]
    return {
        "family": "gemma4",
        "hidden_dim": int(config["intermediate_dim"]),
        "query_scale": 1.0,
        "sliding_window": int(config.get("sliding_window_size", 512)),
        "layer_is_local": (
            tuple(kind == "sliding_attention" for kind in types)
            if types
            else layer_pattern(layers, every=every)
        ),
        "rope_theta": float(config.get("global_rope_wavelength") or 1_000_000.0),
        "rope_theta_local": float(config.get("local_rope_wavelength") or 10_000.0),
        "rope_scaling": float(config.get("global_rope_scaling_factor", 1.0)),
        "rope_share": float(config.get("global_rope_partial_rotary_factor", 1.0)),
        # KerasHub's config has no such number; the models without inputs by layer read longer texts
        "max_positions": _LONG_CONTEXT if per_layer else 2 * _LONG_CONTEXT,
        "norm_offset": 0.0,
        "global_head_dim": int(config.get("global_head_dim") or 0),
        "global_kv_heads": global_kv_heads,
        "key_is_value": global_kv_heads > 0,
        "shared_kv_layers": int(config.get("num_kv_shared_layers", 0)),
        "wide_shared": bool(config.get("use_double_wide_mlp", False)),
        "value_norm": True,
        "per_layer_width": per_layer,
        "per_layer_vocab": int(vocab) if per_layer else 0,
        "layer_scalar": True,
    }


_READERS: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "GemmaBackbone": _gemma,
    "Gemma3Backbone": _gemma3,
    "Gemma4Backbone": _gemma4,
}


def _unsupported(where: str, key: str, value: Any) -> ModelError:
    return ModelError(
        f"{where}: config.json has {key} = {value!r}, which is not supported here.",
        code="MODEL_CONFIG_UNSUPPORTED",
    )

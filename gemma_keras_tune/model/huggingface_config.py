"""`config.json` of `transformers` (versions 4 and 5) as a GemmaConfig; the rest is refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import ModelError
from .config import GemmaConfig, gemma3_pattern

# what transformers' Gemma3TextConfig takes where a file is silent; multimodal files rely on it
_DEFAULTS: dict[str, Any] = {
    "vocab_size": 262_208,
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "rms_norm_eps": 1e-6,
    "max_position_embeddings": 131_072,
}

# settings that change what the model computes, and the only values that are computed here
_ONLY: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False, None),
    "attention_dropout": (0, None),
    "hidden_activation": ("gelu_pytorch_tanh", None),
    "use_bidirectional_attention": (False, None),
    "tie_word_embeddings": (True, None),
    "quantization_config": (None,),
}


def gemma3_config(config: Mapping[str, Any], *, where: str) -> GemmaConfig:
    """The GemmaConfig of a `gemma3_text` config, or of the text part of a `gemma3` one.

    Args:
        config: The parsed `config.json`.
        where: The folder's name, for messages.

    Raises:
        ModelError: If it is another kind of model, asks for what isn't supported, or lacks sense.
    """
    text = _text_part(config, where)
    for key, allowed in _ONLY.items():
        if text.get(key) not in allowed:
            raise _unsupported(where, key, text[key], allowed)
    values = {key: text.get(key, default) for key, default in _DEFAULTS.items()}
    try:
        local = _layer_is_local(text, int(values["num_hidden_layers"]), where)
        theta, theta_local, scaling = _rope(text, where)
        return GemmaConfig(
            vocab_size=int(values["vocab_size"]),
            width=int(values["hidden_size"]),
            layers=int(values["num_hidden_layers"]),
            heads=int(values["num_attention_heads"]),
            kv_heads=int(values["num_key_value_heads"]),
            head_dim=int(values["head_dim"]),
            hidden_dim=int(values["intermediate_size"]),
            rms_eps=float(values["rms_norm_eps"]),
            query_scale=float(values["query_pre_attn_scalar"]) ** -0.5,
            sliding_window=int(values["sliding_window"] or 0),
            layer_is_local=local,
            rope_theta=theta,
            rope_theta_local=theta_local,
            rope_scaling=scaling,
            final_softcap=text.get("final_logit_softcapping"),
            attention_softcap=text.get("attn_logit_softcapping"),
            max_positions=int(values["max_position_embeddings"]),
        )
    except (TypeError, ValueError, ZeroDivisionError, AttributeError) as error:
        raise ModelError(
            f"{where}: config.json makes no sense: {error}", code="MODEL_CONFIG"
        ) from error


def _text_part(config: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    kind = config.get("model_type")
    if kind == "gemma3_text":
        return config
    text = config.get("text_config")
    if kind == "gemma3" and isinstance(text, Mapping):
        # these two are written beside the text part in some files
        outer = {
            k: config[k] for k in ("tie_word_embeddings", "quantization_config") if k in config
        }
        return {**outer, **text}
    raise ModelError(
        f"{where}: config.json describes a model of type {kind!r}; only Gemma 3 (gemma3_text, and "
        "the text part of gemma3) can be loaded.",
        code="MODEL_TYPE",
    )


def _layer_is_local(text: Mapping[str, Any], layers: int, where: str) -> tuple[bool, ...]:
    kinds = text.get("layer_types")
    if kinds is not None:
        allowed = ("sliding_attention", "full_attention")
        strange = [kind for kind in kinds if kind not in allowed]
        if strange:
            raise _unsupported(where, "layer_types", strange[0], allowed)
        return tuple(kind == "sliding_attention" for kind in kinds)
    if text.get("sliding_window", 1) in (0, None):
        return (False,) * layers
    every = text.get("sliding_window_pattern", text.get("_sliding_window_pattern", 6))
    return gemma3_pattern(layers, every=int(every))


def _rope(text: Mapping[str, Any], where: str) -> tuple[float, float, float]:
    """Base of global layers, base of local layers, factor of global layers.

    Version 4 has `rope_theta`, `rope_local_base_freq` and `rope_scaling` side by side; version 5
    has `rope_parameters` with an entry for each kind of layer.
    """
    parameters = text.get("rope_parameters") or {}
    whole = parameters.get("full_attention") or {}
    window = parameters.get("sliding_attention") or {}
    scaling = text.get("rope_scaling") or whole
    theta = float(whole.get("rope_theta", text.get("rope_theta", 1_000_000.0)))
    theta_local = float(window.get("rope_theta", text.get("rope_local_base_freq", 10_000.0)))
    if _kind_of_rope(window) != "default":
        raise _unsupported(where, "rope of local layers", _kind_of_rope(window), ("default",))
    kind = _kind_of_rope(scaling)
    if kind not in ("default", "linear"):
        raise _unsupported(where, "rope_type", kind, ("default", "linear"))
    return theta, theta_local, float(scaling["factor"]) if kind == "linear" else 1.0


def _kind_of_rope(settings: Mapping[str, Any]) -> str:
    return str(settings.get("rope_type", settings.get("type", "default")))


def _unsupported(where: str, key: str, value: Any, allowed: tuple[Any, ...]) -> ModelError:
    shown = "a setting" if isinstance(value, Mapping) else repr(value)
    return ModelError(
        f"{where}: config.json has {key} = {shown}, which changes what the model computes and is "
        f"not supported here; supported: {', '.join(map(repr, allowed))}.",
        code="MODEL_CONFIG_UNSUPPORTED",
    )

"""The metadata of a GGUF file as a GemmaConfig."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import ModelError
from .config import GemmaConfig, layer_pattern
from .families import FAMILIES, Family, mixture_of_experts
from .gguf_file import GgufFile, read_float_blocks

ROPE_FREQUENCIES = "rope_freqs.weight"
"""A tensor of what is computed here: 1 where a pair of a head is rotated, else a huge number."""

# llama.cpp tells the 27B by their number of layers, the ones with another query scale
_LAYERS_OF_27B = {"gemma2": 46, "gemma3": 62}
_NOT_ROTATED = 1e29


def gguf_config(gguf_file: GgufFile) -> GemmaConfig:
    """The config in the metadata.

    Raises:
        ModelError: If it is no Gemma, only a part of one, or a value is missing or senseless.
    """
    metadata, where = gguf_file.metadata, gguf_file.path.name
    family = _family(metadata, where)
    try:
        values = _Metadata(metadata, f"{family.gguf}.")
        found = _common(values, family) | _READERS[family.name](values, gguf_file)
        return GemmaConfig(**found)
    except KeyError as error:
        raise ModelError(f"{where}: metadata {error} is missing.", code="MODEL_CONFIG") from error
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(
            f"{where}: its metadata makes no sense: {error}", code="MODEL_CONFIG"
        ) from error


def _family(metadata: Mapping[str, Any], where: str) -> Family:
    architecture = metadata.get("general.architecture")
    by_name = {family.gguf: family for family in FAMILIES.values() if family.gguf}
    if architecture not in by_name:
        raise ModelError(
            f"{where} holds a model of architecture {architecture!r}; only {', '.join(by_name)} "
            "can be loaded.",
            code="MODEL_TYPE",
        )
    if int(metadata.get("split.count", 1)) > 1:
        raise ModelError(
            f"{where} is one part of {metadata['split.count']}. Join them first: "
            "llama-gguf-split --merge FIRST_PART OUT.gguf",
            code="MODEL_SPLIT_FILE",
        )
    if int(metadata.get(f"{architecture}.expert_count", 0)) > 0:
        raise mixture_of_experts(where)
    return by_name[architecture]


class _Metadata:
    """The entries of one architecture, without its name before them."""

    def __init__(self, metadata: Mapping[str, Any], prefix: str) -> None:
        self._metadata, self._prefix = metadata, prefix
        self.vocab_size = len(metadata["tokenizer.ggml.tokens"])

    def __call__(self, key: str, *default: Any) -> Any:
        name = self._prefix + key
        return self._metadata.get(name, *default) if default else self._metadata[name]

    def first(self, key: str, *default: Any) -> int:
        """A number, or the first of a number for each layer."""
        value = self(key, *default)
        return int(np.atleast_1d(value)[0])


def _common(get: _Metadata, family: Family) -> dict[str, Any]:
    """What all files have."""
    heads, layers = int(get("attention.head_count")), int(get("block_count"))
    head_dim = int(get("attention.key_length", 256))
    width = int(get("embedding_length"))
    divisor = width // heads if _LAYERS_OF_27B.get(family.name) == layers else head_dim
    theta = float(get("rope.freq_base", family.rope_theta))
    return {
        "family": family.name,
        "vocab_size": get.vocab_size,
        "width": width,
        "layers": layers,
        "heads": heads,
        "kv_heads": get.first("attention.head_count_kv", heads),
        "head_dim": head_dim,
        "hidden_dim": get.first("feed_forward_length"),
        "rms_eps": _shortest(get("attention.layer_norm_rms_epsilon")),
        "query_scale": divisor**-0.5,
        "rope_theta": theta,
        "rope_theta_local": theta,
        "max_positions": int(get("context_length")),
        "qk_norm": family.qk_norm,
        "post_norms": family.post_norms,
        "norm_offset": family.norm_offset,
        "sliding_window": 0,
        "layer_is_local": layer_pattern(layers, every=1),
    }


def _gemma(get: _Metadata, gguf_file: GgufFile) -> dict[str, Any]:
    return {"tied": _is_tied(gguf_file)}


def _gemma2(get: _Metadata, gguf_file: GgufFile) -> dict[str, Any]:
    return {
        "sliding_window": int(get("attention.sliding_window")),
        "layer_is_local": layer_pattern(int(get("block_count")), every=2),
        "attention_softcap": _shortest(get("attn_logit_softcapping", 50.0)),
        "final_softcap": _shortest(get("final_logit_softcapping", 30.0)),
        "tied": _is_tied(gguf_file),
    }


def _gemma3(get: _Metadata, gguf_file: GgufFile) -> dict[str, Any]:
    return {
        "sliding_window": int(get("attention.sliding_window")),
        "layer_is_local": _pattern(
            get("attention.sliding_window_pattern", 6), int(get("block_count"))
        ),
        "rope_theta_local": float(get("rope.freq_base_swa", 10_000.0)),
        "rope_scaling": _rope_scaling(get, gguf_file.path.name),
        "attention_softcap": get("attn_logit_softcapping", None),
        "final_softcap": get("final_logit_softcapping", None),
        "tied": _is_tied(gguf_file),
    }


def _gemma4(get: _Metadata, gguf_file: GgufFile) -> dict[str, Any]:
    layers = int(get("block_count"))
    local = _pattern(get("attention.sliding_window_pattern"), layers)
    shared = int(get("attention.shared_kv_layers", 0))
    per_layer = int(get("embedding_length_per_layer_input", 0))
    shapes = {tensor.name: tensor.shape for tensor in gguf_file.tensors}
    kv_heads = get("attention.head_count_kv")
    by_layer = [int(count) for count in np.broadcast_to(kv_heads, layers)]
    own_global = [i for i in range(layers - shared) if not local[i]]
    hidden = get("feed_forward_length")
    key_is_value = bool(own_global) and f"blk.{own_global[0]}.attn_v.weight" not in shapes
    softcap = get("final_logit_softcapping", None)
    return {
        "sliding_window": int(get("attention.sliding_window")),
        "layer_is_local": local,
        "head_dim": int(get("attention.key_length_swa")),
        "global_head_dim": int(get("attention.key_length")),
        "kv_heads": by_layer[local.index(True) if True in local else 0],
        "global_kv_heads": by_layer[own_global[0]] if key_is_value else 0,
        "key_is_value": key_is_value,
        "query_scale": 1.0,
        "rope_theta_local": float(get("rope.freq_base_swa", 10_000.0)),
        "rope_share": _rope_share(gguf_file),
        "final_softcap": None if softcap is None else _shortest(softcap),
        "shared_kv_layers": shared,
        "wide_shared": not np.isscalar(hidden) and int(hidden[-1]) == 2 * int(hidden[0]),
        "value_norm": True,
        "per_layer_width": per_layer,
        "per_layer_vocab": shapes["per_layer_token_embd.weight"][0] if per_layer else 0,
        "layer_scalar": True,
        "tied": _is_tied(gguf_file),
    }


_READERS = {"gemma": _gemma, "gemma2": _gemma2, "gemma3": _gemma3, "gemma4": _gemma4}


def _is_tied(gguf_file: GgufFile) -> bool:
    return all(tensor.name != "output.weight" for tensor in gguf_file.tensors)


def _rope_share(gguf_file: GgufFile) -> float:
    """Share of a head that global layers rotate, by the factors that the file has for its pairs."""
    for tensor in gguf_file.tensors:
        if tensor.name == ROPE_FREQUENCIES:
            with gguf_file.path.open("rb", buffering=0) as file:
                factors = np.concatenate(list(read_float_blocks(gguf_file, tensor, file)))
            rotated = factors < _NOT_ROTATED
            if not np.all(factors[rotated] == 1.0) or np.any(np.diff(rotated.astype(int)) > 0):
                raise ValueError(f"{ROPE_FREQUENCIES} says more than which part is rotated")
            return float(rotated.mean())
    return 1.0


def _pattern(stored: Any, layers: int) -> tuple[bool, ...]:
    """Which layers are local: the file has every how many-th is global, or a list of them."""
    if isinstance(stored, int):
        return layer_pattern(layers, every=stored)
    return tuple(bool(local) for local in stored)


def _rope_scaling(get: _Metadata, where: str) -> float:
    kind = get("rope.scaling.type", "none")
    if kind not in ("none", "linear"):
        raise ModelError(
            f"{where}: rope scaling {kind!r} is not supported; supported: linear.",
            code="MODEL_CONFIG_UNSUPPORTED",
        )
    return float(get("rope.scaling.factor", 1.0)) if kind == "linear" else 1.0


def _shortest(value: float) -> float:
    """A float32 as the decimal that was meant: 9.99999997e-07 is 1e-06."""
    return float(f"{float(value):.7g}")

"""Tiny random Gemma models: every mechanism of the real ones, in a few kilobytes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from gemma_keras_tune.model.config import GemmaConfig, layer_pattern
from gemma_keras_tune.model.families import FAMILIES


def tiny_gemma3(**changes: Any) -> GemmaConfig:
    """A Gemma 3 of 6 layers (the last one global), width 32, window 8, 2 of 4 heads for keys.

    KerasHub fixes the pattern to every sixth layer global, so fewer than six layers are all
    local unless `layer_is_local` says otherwise (KerasHub can't build that one then); seven
    leave a remainder after the first group.

    Args:
        **changes: Fields of `GemmaConfig`.
    """
    return _tiny("gemma3", layers=changes.pop("layers", 6), **changes)


def tiny_gemma1(**changes: Any) -> GemmaConfig:
    """A Gemma 1 of 3 layers that all see everything, with a key head for every query head."""
    return _tiny("gemma", **{"kv_heads": 4, "sliding_window": 0, **changes})


def tiny_gemma2(**changes: Any) -> GemmaConfig:
    """A Gemma 2 of 3 layers, the middle one global, with both caps low enough to matter."""
    return _tiny("gemma2", **{"attention_softcap": 2.0, "final_softcap": 3.0, **changes})


def tiny_vaultgemma(**changes: Any) -> GemmaConfig:
    """A Gemma 2 without the norms after attention and feed-forward."""
    return _tiny("vaultgemma", **{"attention_softcap": 2.0, "final_softcap": 3.0, **changes})


def tiny_gemma4(**changes: Any) -> GemmaConfig:
    """A Gemma 4 as the small ones are: 6 layers of which the last 3 share keys, inputs by layer."""
    values = {
        "layers": 6,
        "layer_is_local": (True, True, False) * 2,
        "shared_kv_layers": 3,
        "wide_shared": True,
        "per_layer_width": 8,
        "per_layer_vocab": changes.get("vocab_size", 512),
        "final_softcap": 3.0,
    }
    return _tiny_gemma4(**{**values, **changes})


def tiny_gemma4_large(**changes: Any) -> GemmaConfig:
    """A Gemma 4 as the 31B is: global layers have fewer key heads, and their keys are values."""
    values = {
        "layers": 3,
        "layer_is_local": (True, True, False),
        "global_kv_heads": 1,
        "key_is_value": True,
    }
    return _tiny_gemma4(**{**values, **changes})


def _tiny_gemma4(**changes: Any) -> GemmaConfig:
    values = {
        "query_scale": 1.0,
        "global_head_dim": 32,
        "value_norm": True,
        "rope_share": 0.25,
        "layer_scalar": True,
    }
    return _tiny("gemma4", **{**values, **changes})


def _tiny(name: str, *, layers: int = 3, **changes: Any) -> GemmaConfig:
    family, head_dim = FAMILIES[name], changes.get("head_dim", 16)
    values: dict[str, Any] = {
        "family": name,
        "vocab_size": 512,
        "width": 32,
        "layers": layers,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": head_dim,
        "hidden_dim": 64,
        "query_scale": head_dim**-0.5,
        "sliding_window": 8,
        "layer_is_local": layer_pattern(layers, every=family.global_every),
        "rope_theta": family.rope_theta,
        "rope_theta_local": 10_000.0,
        "max_positions": 1024,
        "qk_norm": family.qk_norm,
        "post_norms": family.post_norms,
        "norm_offset": family.norm_offset,
    }
    return GemmaConfig(**{**values, **changes})


TINY_FAMILIES = {
    "gemma-mqa": tiny_gemma1(kv_heads=1),
    "gemma-mha": tiny_gemma1(),
    "gemma2": tiny_gemma2(),
    "gemma2-27b": tiny_gemma2(query_scale=(32 // 4) ** -0.5),
    "vaultgemma": tiny_vaultgemma(),
    "gemma3": tiny_gemma3(layers=7),
    "gemma3-27b": tiny_gemma3(query_scale=(32 // 4) ** -0.5, rope_scaling=8.0),
    "gemma4-small": tiny_gemma4(),
    "gemma4-large": tiny_gemma4_large(),
}
"""One of everything that a Gemma text model can be made of."""


def slow_but(names: Iterable[str], *quick: str) -> list[Any]:
    """Names as parameters of a test that takes seconds for each: all but some are slow ones."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]

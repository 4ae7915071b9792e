"""Tiny random Gemma models: every mechanism of the real ones, in a few kilobytes."""

from __future__ import annotations

from typing import Any

from gemma_keras_tune.model.config import GemmaConfig, gemma3_pattern


def tiny_gemma3(**changes: Any) -> GemmaConfig:
    """A Gemma 3 of 6 layers (the last one global), width 32, window 8, 2 of 4 heads for keys.

    KerasHub fixes the pattern to every sixth layer global, so fewer than six layers are all
    local unless `layer_is_local` says otherwise (KerasHub can't build that one then); seven
    leave a remainder after the first group.

    Args:
        **changes: Fields of `GemmaConfig`.
    """
    layers = changes.get("layers", 6)
    head_dim = changes.get("head_dim", 16)
    values: dict[str, Any] = {
        "vocab_size": 512,
        "width": 32,
        "layers": layers,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": head_dim,
        "hidden_dim": 64,
        "query_scale": head_dim**-0.5,
        "sliding_window": 8,
        "layer_is_local": gemma3_pattern(layers),
        "max_positions": 1024,
    }
    return GemmaConfig(**{**values, **changes})

"""How large a piece of work is, by what computes it. No JAX here: plans ask too."""

from __future__ import annotations

from .config import GemmaConfig

MOST_AT_ONCE = 256
"""Tokens of a row that go at once into a cache of keys and values."""


def block_size(length: int, platform: str) -> int | None:
    """Tokens of a block for rows of this length; None: one mask for the whole row is better.

    On a CPU blocks are quicker from 512 tokens on (`docs/decisions.md`). Elsewhere a loop of small
    products is dear, so there they begin where a mask of [length, length] gets large.

    Args:
        length: Tokens of a row.
        platform: What computes, by JAX's word, such as `cpu`.
    """
    if platform == "cpu":
        return 128 if length >= 512 else None
    return 512 if length >= 2048 else None


def vocabulary_tile(platform: str) -> int:
    """Words of the vocabulary whose logits exist at once, for each position of a chunk.

    On a CPU a tile of logits and of the head's rows stays in its cache; elsewhere few large
    products are better than many small ones.

    Args:
        platform: What computes, by JAX's word.
    """
    return 2048 if platform == "cpu" else 32_768


def cache_slots(config: GemmaConfig, slots: int) -> tuple[int, ...]:
    """How many tokens of a row each layer with keys of its own keeps, in a cache of `slots`.

    A local layer keeps its window and what is written at once; but all, where no layer would tell
    how long the cache is.
    """
    kinds = [kind for kind in config.kinds if kind.has_key]
    window = config.sliding_window + MOST_AT_ONCE
    if all(kind.is_local for kind in kinds):
        window = slots
    return tuple(min(slots, window) if kind.is_local else slots for kind in kinds)

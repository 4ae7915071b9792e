"""The shape of a Gemma model: everything that the forward pass must know besides the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

_MOST_LAYERS = 10_000


@dataclass(frozen=True, kw_only=True)
class GemmaConfig:
    """One Gemma model's sizes and constants; hashable, so that JAX can take it as static.

    A family is data: what differs between Gemma 1, 2 and 3 is said by the fields below.

    Attributes:
        family: `"gemma3"`.
        vocab_size: Rows of the embedding, tokens.
        width: Size of a hidden state.
        layers: Number of decoder blocks.
        heads: Query heads.
        kv_heads: Key and value heads; divides `heads`.
        head_dim: Size of a head.
        hidden_dim: Size of the feed-forward layer.
        rms_eps: Added to the mean square in every RMSNorm.
        query_scale: Multiplies the product of query and key.
        sliding_window: Tokens that a local layer sees, itself included.
        layer_is_local: Whether each layer has the sliding window; `layers` long.
        rope_theta: Base of the rotary wavelengths of global layers.
        rope_theta_local: The same for local layers.
        rope_scaling: Positions of global layers are divided by this factor.
        final_softcap: Cap of the logits, or None.
        attention_softcap: Cap of the attention scores, or None.
        max_positions: Longest sequence that the model was made for, tokens.
        qk_norm: Whether queries and keys are normalised per head.
        post_norms: Whether attention and feed-forward outputs are normalised.
        norm_offset: RMSNorm multiplies by `norm_offset + scale`.
        tied: Whether the output projection is the embedding.

    Raises:
        ValueError: If the fields contradict each other.
    """

    family: str = "gemma3"
    vocab_size: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden_dim: int
    rms_eps: float = 1e-6
    query_scale: float
    sliding_window: int
    layer_is_local: tuple[bool, ...]
    rope_theta: float = 1_000_000.0
    rope_theta_local: float = 10_000.0
    rope_scaling: float = 1.0
    final_softcap: float | None = None
    attention_softcap: float | None = None
    max_positions: int = 32_768
    qk_norm: bool = True
    post_norms: bool = True
    norm_offset: float = 1.0
    tied: bool = True

    def __post_init__(self) -> None:
        positive = ("vocab_size", "width", "layers", "heads", "kv_heads", "head_dim", "hidden_dim")
        wrong = [name for name in positive if getattr(self, name) < 1]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} must be at least 1")
        if self.heads % self.kv_heads:
            raise ValueError(f"{self.heads} query heads can't share {self.kv_heads} key heads")
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for rotary positions, not {self.head_dim}")
        if len(self.layer_is_local) != self.layers:
            raise ValueError(
                f"layer_is_local names {len(self.layer_is_local)} layers, "
                f"the model has {self.layers}"
            )
        if any(self.layer_is_local) and self.sliding_window < 1:
            raise ValueError(f"sliding_window must be at least 1, not {self.sliding_window}")

    @property
    def query_size(self) -> int:
        """Columns of `q_proj`: heads times the size of a head."""
        return self.heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Columns of `k_proj` and `v_proj`."""
        return self.kv_heads * self.head_dim

    def to_json(self) -> dict[str, Any]:
        """Plain values, for JSON; `from_json` reads them back."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {"layer_is_local": list(self.layer_is_local)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> GemmaConfig:
        """The config whose `to_json` gave `values`.

        Raises:
            TypeError: If a field is unknown or missing.
        """
        return cls(**{**values, "layer_is_local": tuple(values["layer_is_local"])})


def gemma3_pattern(layers: int, *, every: int = 6) -> tuple[bool, ...]:
    """Gemma 3's layers: every sixth sees everything (False), the others a window (True).

    Raises:
        ValueError: If there are more layers than any model has; the number comes from a file.

    Source:
        Gemma 3 technical report, section 2, arXiv:2503.19786.
    """
    if layers > _MOST_LAYERS:
        raise ValueError(f"{layers:,} layers")
    return tuple((index + 1) % every != 0 for index in range(layers))

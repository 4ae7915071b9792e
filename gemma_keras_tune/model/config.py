"""The shape of a Gemma model: everything that the forward pass must know besides the weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from .families import FAMILIES

_MOST_LAYERS = 10_000


@dataclass(frozen=True, kw_only=True)
class LayerKind:
    """What one layer is made of.

    Attributes:
        is_local: Whether it has the sliding window.
        heads: Query heads.
        head_dim: Size of a head.
        kv_heads: Key and value heads.
        has_key: Whether it has keys of its own, and not those of an earlier layer.
        has_value: Whether it has a projection for values, and not its keys or an earlier layer's.
        hidden_dim: Size of the feed-forward layer.
    """

    is_local: bool
    heads: int
    head_dim: int
    kv_heads: int
    has_key: bool
    has_value: bool
    hidden_dim: int

    @property
    def query_size(self) -> int:
        """Columns of `q_proj`: heads times the size of a head."""
        return self.heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Columns of `k_proj` and `v_proj`."""
        return self.kv_heads * self.head_dim


@dataclass(frozen=True, kw_only=True)
class GemmaConfig:
    """One Gemma model's sizes and constants; hashable, so that JAX can take it as static.

    A family is data: what differs between them is said by the fields below and in `families`.

    Attributes:
        family: A name in `families.FAMILIES`.
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
        tied: Whether the output projection is the embedding; else the weights have one of its own.
        global_head_dim: Size of a head in global layers; 0 where it is `head_dim`.
        global_kv_heads: Key and value heads in global layers; 0 where they are `kv_heads`.
        key_is_value: Whether global layers take their keys, before rotation, as values too.
        shared_kv_layers: So many last layers have no keys and values of their own: they take those
            of the last layer of their kind before them.
        wide_shared: Whether those layers' feed-forward is twice as wide.
        value_norm: Whether values are normalised per head, without a scale.
        rope_share: Share of a head that global layers rotate.
        per_layer_width: Size of the input that each layer gets from the token itself; 0: none.
        per_layer_vocab: Rows of that input's embedding, tokens.
        layer_scalar: Whether each layer's output is multiplied by a number of its own.

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
    global_head_dim: int = 0
    global_kv_heads: int = 0
    key_is_value: bool = False
    shared_kv_layers: int = 0
    wide_shared: bool = False
    value_norm: bool = False
    rope_share: float = 1.0
    per_layer_width: int = 0
    per_layer_vocab: int = 0
    layer_scalar: bool = False

    def __post_init__(self) -> None:
        positive = ("vocab_size", "width", "layers", "heads", "kv_heads", "head_dim", "hidden_dim")
        wrong = [name for name in positive if getattr(self, name) < 1]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} must be at least 1")
        if self.family not in FAMILIES:
            raise ValueError(f"family {self.family!r} is none of {', '.join(FAMILIES)}")
        for kv_heads in (self.kv_heads, self.global_kv_heads or self.kv_heads):
            if self.heads % kv_heads:
                raise ValueError(f"{self.heads} query heads can't share {kv_heads} key heads")
        for head_dim in (self.head_dim, self.global_head_dim):
            if head_dim % 2:
                raise ValueError(f"head_dim must be even for rotary positions, not {head_dim}")
        if len(self.layer_is_local) != self.layers:
            raise ValueError(
                f"layer_is_local names {len(self.layer_is_local)} layers, "
                f"the model has {self.layers}"
            )
        if any(self.layer_is_local) and self.sliding_window < 1:
            raise ValueError(f"sliding_window must be at least 1, not {self.sliding_window}")
        if (self.per_layer_width > 0) != (self.per_layer_vocab > 0):
            raise ValueError("per_layer_width and per_layer_vocab must both be there, or neither")
        own = self.layer_is_local[: self.layers - self.shared_kv_layers]
        if not 0 <= self.shared_kv_layers < self.layers or set(own) != set(self.layer_is_local):
            raise ValueError(
                f"the last {self.shared_kv_layers} layers share keys and values, but before them "
                "is no layer of their kind"
            )

    @cached_property
    def kinds(self) -> tuple[LayerKind, ...]:
        """What each layer is made of, `layers` long."""
        return tuple(self._kind(layer) for layer in range(self.layers))

    @property
    def is_uniform(self) -> bool:
        """Whether all layers have weights of the same shapes, and keys and values of their own."""
        alike = {dataclasses.replace(kind, is_local=True) for kind in self.kinds}
        return len(alike) == 1 and self.shared_kv_layers == 0 and self.per_layer_width == 0

    @cached_property
    def kv_sources(self) -> tuple[int, ...]:
        """The layer whose keys and values each layer attends to: itself, or an earlier one."""
        first_shared = self.layers - self.shared_kv_layers
        last = {self.layer_is_local[layer]: layer for layer in range(first_shared)}
        return tuple(
            layer if layer < first_shared else last[self.layer_is_local[layer]]
            for layer in range(self.layers)
        )

    def _kind(self, layer: int) -> LayerKind:
        is_local, shares = self.layer_is_local[layer], self.kv_sources[layer] != layer
        return LayerKind(
            is_local=is_local,
            heads=self.heads,
            head_dim=self.head_dim if is_local else self.global_head_dim or self.head_dim,
            kv_heads=self.kv_heads if is_local else self.global_kv_heads or self.kv_heads,
            has_key=not shares,
            has_value=not shares and (is_local or not self.key_is_value),
            hidden_dim=self.hidden_dim * (2 if shares and self.wide_shared else 1),
        )

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


def layer_pattern(layers: int, *, every: int = 6) -> tuple[bool, ...]:
    """Which layers see a window (True), where every how many-th sees everything (False).

    Every sixth in Gemma 3, every second in Gemma 2, every one in Gemma 1.

    Raises:
        ValueError: If there are more layers than any model has; the number comes from a file.

    Source:
        Gemma 3 technical report, section 2, arXiv:2503.19786; Gemma 2, arXiv:2408.00118.
    """
    if layers > _MOST_LAYERS:
        raise ValueError(f"{layers:,} layers")
    return tuple((index + 1) % every != 0 for index in range(layers))

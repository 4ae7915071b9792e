"""Which of several ways attention and the backward pass take here. No JAX: plans ask too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import RecipeError
from .config import GemmaConfig
from .tiles import block_size

AttentionWish = Literal["auto", "fused", "plain"]
"""Whether a device's own kernels may be used, must be, or plain XLA only."""

_SPLASH_BLOCK = 512
_SPLASH_BLOCK_OF_WIDE_HEADS = 256  # so that a block takes no more of a TPU's own memory
_LANES = 128  # of a TPU's registers
_FUSED_BLOCK = 64
_FUSED_BLOCK_OF_WIDE_HEADS = 32  # so that a block takes no more of a GPU's registers
_FUSED_FROM = 512  # tokens of a row; below, its scores are few
_WIDE = 256  # numbers of a head; more are wide


@dataclass(frozen=True, kw_only=True)
class AttentionPath:
    """A way to compute attention.

    Attributes:
        name: `mask`: all scores of a row at once; `blocks`: block by block in plain XLA; `splash`:
            block by block in JAX's kernel for a TPU; `fused`: in ours for a GPU.
        block: Tokens of a block; 0 with a mask.
        why_plain: Why it is no kernel, where a long row could have one; else empty.
    """

    name: Literal["mask", "blocks", "splash", "fused"]
    block: int = 0
    why_plain: str = ""

    def in_words(self, length: int) -> str:
        """A sentence for people, for rows of so many tokens."""
        seen = f"How the tokens of a row see one another (attention, rows of {length:,} tokens)"
        if self.name == "mask":
            return f"{seen}: all at once, with a mask."
        if self.name == "blocks":
            why = f", since {self.why_plain}" if self.why_plain else ""
            return f"{seen}: by blocks of {self.block}, without a kernel (in plain XLA){why}."
        kernel, device = ("JAX's splash kernel", "TPU")
        if self.name == "fused":
            kernel, device = ("our own kernels", "GPU")
        return (
            f"{seen}: by blocks of {self.block}, in {kernel}, which we have not run on a {device} "
            'yet; train.attention = "plain" does without.'
        )


def attention_path(
    config: GemmaConfig,
    *,
    length: int,
    platform: str,
    dtype: str,
    asked: AttentionWish,
    cuts: int = 1,
    branched: bool = False,
) -> AttentionPath:
    """The way for rows of this length.

    On a TPU a kernel takes the place of blocks in plain XLA, on long rows; never that of a mask.
    On a GPU it takes that of both, where it is asked for.

    Args:
        config: The model's heads.
        length: Tokens of a row.
        platform: What computes, by JAX's word, such as `tpu`.
        dtype: Of queries, keys and values, such as `bfloat16`.
        asked: What the recipe wants.
        cuts: Devices of a group over which heads are dealt out.
        branched: Whether several answers share one prompt.
    """
    why = _why_plain(config, platform, dtype, asked, cuts, branched)
    wide = max(kind.head_dim for kind in config.kinds) > _WIDE
    if platform == "gpu" and not why and length >= _FUSED_FROM:
        return AttentionPath(
            name="fused", block=_FUSED_BLOCK_OF_WIDE_HEADS if wide else _FUSED_BLOCK
        )
    block = block_size(length, platform)
    if block is None:
        return AttentionPath(name="mask")
    if platform == "cpu" or why:
        return AttentionPath(name="blocks", block=block, why_plain="" if platform == "cpu" else why)
    return AttentionPath(
        name="splash", block=_SPLASH_BLOCK_OF_WIDE_HEADS if wide else _SPLASH_BLOCK
    )


def _why_plain(
    config: GemmaConfig,
    platform: str,
    dtype: str,
    asked: AttentionWish,
    cuts: int,
    branched: bool,
) -> str:
    """Why no kernel can be used, or `""`."""
    if platform == "cpu":
        return "a CPU has none"
    if asked == "plain":
        return 'train.attention is "plain"'
    if platform == "gpu" and asked != "fused":
        return 'that for a GPU waits for train.attention = "fused"'
    dtypes = ("bfloat16",) if platform == "gpu" else ("bfloat16", "float32")
    if dtype not in dtypes:
        return f"the kernel doesn't take {dtype}"
    if branched:
        return "the kernel knows no branches"
    for size in sorted({kind.head_dim for kind in config.kinds}):
        if platform == "gpu" and not (16 <= size <= 512 and size.bit_count() == 1):
            return f"the size of a head, {size}, is no power of two from 16 to 512"
        if platform != "gpu" and size % _LANES:
            return f"the size of a head, {size}, is no multiple of {_LANES}"
    if not deals_out(config, cuts):
        return f"the keys of {config.heads} query heads can't be dealt out over {cuts} devices"
    return ""


def check_attention(
    config: GemmaConfig,
    *,
    platform: str,
    dtype: str,
    asked: AttentionWish,
    cuts: int = 1,
    capability: str | None = None,
) -> None:
    """Refuse to train without the kernel that a recipe demands.

    Args:
        config: The model's heads.
        platform: What computes, by JAX's word.
        dtype: Of queries, keys and values.
        asked: What the recipe wants.
        cuts: Devices of a group over which heads are dealt out.
        capability: What a GPU can do, as its maker counts, such as `9.0`; None if it isn't known.

    Raises:
        RecipeError: `NO_FUSED_ATTENTION`.
    """
    if asked != "fused":
        return
    why = _why_plain(config, platform, dtype, asked, cuts, branched=False)
    if not why and platform == "gpu" and capability is not None and not _can_fuse(capability):
        why = f"it needs an NVIDIA GPU of compute capability 8.0 or more, not {capability}"
    if why:
        raise RecipeError(
            f'train.attention is "fused", but there is no kernel for it here: {why}. Take '
            'train.attention = "auto".',
            code="NO_FUSED_ATTENTION",
        )


def _can_fuse(capability: str) -> bool:
    """Whether a GPU multiplies bfloat16; AMD's capabilities are names."""
    major, _, _ = capability.partition(".")
    return major.isdecimal() and int(major) >= 8


def check_remat(remat: str, platform: str) -> None:
    """Refuse to bring products to where they are already.

    Args:
        remat: The recipe's.
        platform: What computes, by JAX's word.

    Raises:
        RecipeError: `NOTHING_TO_OFFLOAD`.
    """
    if remat == "offload" and platform == "cpu":
        raise RecipeError(
            'train.remat is "offload": products wait in the machine\'s memory while a GPU or TPU '
            "computes. Here the processor computes, in that same memory. Take "
            'train.remat = "dots", or "full" for less memory.',
            code="NOTHING_TO_OFFLOAD",
        )


def deals_out(config: GemmaConfig, cuts: int) -> bool:
    """Whether each of so many devices can take its query heads, with whole keys and values.

    So it is where keys can be dealt out too, or where all query heads of a device share one.

    Args:
        config: The model's heads.
        cuts: Devices of a group; divides the query heads.
    """

    def fits(kv_heads: int) -> bool:
        return kv_heads % cuts == 0 or (config.heads // kv_heads) % (config.heads // cuts) == 0

    return all(fits(kind.kv_heads) for kind in config.kinds)

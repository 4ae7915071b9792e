"""Which of several ways attention and the backward pass take here. No JAX: plans ask too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import RecipeError
from .config import GemmaConfig
from .tiles import block_size

AttentionWish = Literal["auto", "plain"]
"""Whether a device's own kernels may be used, or plain XLA only."""

_KERNEL_BLOCK = 512
_KERNEL_BLOCK_OF_WIDE_HEADS = 256  # so that a block takes no more of a TPU's own memory
_LANES = 128  # of a TPU's registers


@dataclass(frozen=True, kw_only=True)
class AttentionPath:
    """A way to compute attention.

    Attributes:
        name: `mask`: all scores of a row at once; `blocks`: block by block in plain XLA; `splash`:
            block by block in JAX's kernel for a TPU.
        block: Tokens of a block; 0 with a mask.
        why_plain: Why it is no kernel, where a long row could have one; else empty.
    """

    name: Literal["mask", "blocks", "splash"]
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
        return (
            f"{seen}: by blocks of {self.block}, in JAX's splash kernel. We have not run it on a "
            'TPU yet; train.attention = "plain" does without it.'
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

    A kernel takes the place of blocks in plain XLA, on long rows; never that of a mask.

    Args:
        config: The model's heads.
        length: Tokens of a row.
        platform: What computes, by JAX's word, such as `tpu`.
        dtype: Of queries, keys and values, such as `bfloat16`.
        asked: What the recipe wants.
        cuts: Devices of a group over which heads are dealt out.
        branched: Whether several answers share one prompt.
    """
    block = block_size(length, platform)
    if block is None:
        return AttentionPath(name="mask")
    why = "" if platform == "cpu" else _why_plain(config, platform, dtype, asked, cuts, branched)
    if platform == "cpu" or why:
        return AttentionPath(name="blocks", block=block, why_plain=why)
    widest = max(kind.head_dim for kind in config.kinds)
    wide = widest > 2 * _LANES
    return AttentionPath(
        name="splash", block=_KERNEL_BLOCK_OF_WIDE_HEADS if wide else _KERNEL_BLOCK
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
    if asked == "plain":
        return 'train.attention is "plain"'
    if platform != "tpu":  # `docs/decisions.md` says why there is none for a GPU
        return f"no kernel is used on a {platform.upper()}"
    if dtype not in ("bfloat16", "float32"):
        return f"the kernel doesn't take {dtype}"
    if branched:
        return "the kernel knows no branches"
    sizes = sorted({kind.head_dim for kind in config.kinds})
    odd = [size for size in sizes if size % _LANES]
    if odd:
        return f"the size of a head, {odd[0]}, is no multiple of {_LANES}"
    if not deals_out(config, cuts):
        return f"the keys of {config.heads} query heads can't be dealt out over {cuts} devices"
    return ""


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

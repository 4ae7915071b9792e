"""What the compiler needs between a function's inputs and results, as formulas.

The coefficients were read off `memory_analysis()` of the real functions: Gemma 3 270M and 1B and
variants of them with other widths, heads, hidden sizes and vocabularies, compiled by XLA for a CPU
(jax 0.10.2, 2026-11-22; attention by blocks 2026-11-28; bfloat16 2026-11-29). `docs/plan.md` says
how far off they are. For a GPU or a TPU the same formulas serve; there the compiler's own word is
better.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..model.config import GemmaConfig
from ..model.paths import attention_path
from ..model.tiles import block_size, cache_slots, vocabulary_tile
from ..model.weights import PROJECTIONS, layer_shapes, parameter_count, stacks_of
from ..recipe import LoraRecipe, TrainRecipe

FLOAT = 4
"""Bytes of a float32 number."""

_NARROW_FULL = 0.8  # of a layer that is made again in float32: some of it is bfloat16 then


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """How numbers are stored and computed.

    Attributes:
        size: Bytes of a frozen weight, and of an activation that is kept.
        platform: What computes; it decides which rows attention sees by blocks.
    """

    size: int
    platform: str

    @property
    def is_narrow(self) -> bool:
        """Whether a CPU computes in bfloat16 (`model.narrow`)."""
        return self.size < FLOAT and self.platform == "cpu"


@dataclass(frozen=True, kw_only=True)
class Temporaries:
    """Bytes between inputs and results of one compiled function.

    Attributes:
        kept: Activations that the backward pass needs, of all layers.
        offloaded: What of them waits in the machine's memory instead; not in the sum.
        gradients: Of the adapters.
        whole: Arrays of the whole batch: hidden states, rotary tables, masks.
        logits: Logits of a chunk of answers and a tile of words, and what is summed over the tiles.
        layer: The largest that one layer needs while it is computed.
        copy: The layers' weights in float32, on a CPU with bfloat16 and `remat = "none"`.
    """

    kept: int
    gradients: int
    whole: int
    logits: int
    layer: int
    copy: int = 0
    offloaded: int = 0

    @property
    def bytes(self) -> int:
        """The sum, logits and a layer's share never at the same time."""
        fixed = self.kept + self.gradients + self.whole + self.copy
        return fixed + max(self.logits, self.layer)


def adapter_numbers(config: GemmaConfig, lora: LoraRecipe) -> int:
    """How many numbers the adapters hold."""
    stacks = stacks_of(config, lora.projections).values()
    return lora.rank * sum(len(stack.layers) * sum(stack.shape) for stack in stacks)


def of_training(
    config: GemmaConfig,
    lora: LoraRecipe,
    train: TrainRecipe,
    *,
    rows: int,
    length: int,
    numbers: Numbers,
) -> Temporaries:
    """What an optimizer step needs, for micro-batches of `rows` rows of `length` tokens.

    Args:
        config: The model.
        lora: The adapters.
        train: Recomputation and chunk.
        rows: Of a micro-batch.
        length: Tokens of a row.
        numbers: Bytes.
    """
    tokens = rows * length
    path = attention_path(
        config,
        length=length,
        platform=numbers.platform,
        dtype="float32" if numbers.size == FLOAT else "bfloat16",
        asked=train.attention,
    )
    block = path.block or None
    kept, layer = _kept_and_layer(config, lora, train.remat, length, block)
    dropout = 0
    if lora.dropout and train.remat != "full":
        dropout = tokens * _widest_input(config)
    chunk = min(train.loss_chunk, tokens)
    offloaded = 0.0
    if train.remat == "offload":
        waiting, _ = _kept_and_layer(config, lora, "dots", length, block)
        offloaded = config.layers * tokens * (waiting - kept) * numbers.size
    size, copy = numbers.size, 0
    if numbers.is_narrow and train.remat == "none":  # what has no name XLA keeps in float32
        size, copy = FLOAT, FLOAT * (parameter_count(config) - config.vocab_size * config.width)
    if numbers.is_narrow and train.remat == "full":
        layer *= _NARROW_FULL
    return Temporaries(
        kept=math.ceil(config.layers * tokens * kept * size),
        gradients=2 * FLOAT * adapter_numbers(config, lora),
        whole=math.ceil((tokens * _whole(config, length, block) + dropout) * FLOAT),
        logits=_logits(config, chunk, numbers.platform),
        layer=math.ceil((tokens * layer + _beside_blocks(config, rows, block)) * FLOAT),
        copy=copy,
        offloaded=math.ceil(offloaded),
    )


def of_scoring(
    config: GemmaConfig, *, rows: int, length: int, chunk: int, numbers: Numbers
) -> Temporaries:
    """What a forward pass with the log-probabilities of targets needs: no gradient.

    Args:
        config: The model.
        rows: Of a batch.
        length: Tokens of a row.
        chunk: Positions whose answers are looked at at once.
        numbers: Bytes.
    """
    tokens, block = rows * length, block_size(length, numbers.platform)
    if block is None:
        layer, masks = 4.5 * config.hidden_dim + 2.6 * config.heads * length, length // 2
    else:
        attention = max(5.1 * kind.query_size + 3.7 * kind.kv_size for kind in config.kinds)
        layer, masks = max(5.3 * config.hidden_dim, attention), 0
    return Temporaries(
        kept=0,
        gradients=0,
        whole=tokens * (config.width + masks) * FLOAT,
        logits=_logits(config, min(chunk, tokens), numbers.platform),
        layer=math.ceil(tokens * layer * FLOAT),
    )


def of_generation(
    config: GemmaConfig, *, rows: int, prompt: int, new: int, numbers: Numbers
) -> tuple[int, int]:
    """`(cache, rest)` in bytes of answering `rows` prompts of `prompt` tokens at once.

    On one device. The cache is there twice while it grows.

    Args:
        config: The model.
        rows: Prompts at once.
        prompt: Tokens of the longest.
        new: Longest answer, tokens.
        numbers: Bytes.
    """
    slots = _power_of_two(prompt, 32) + _power_of_two(new, 16)
    sizes = [kind.kv_size for kind in config.kinds if kind.has_key]
    kept = zip(sizes, cache_slots(config, slots), strict=True)
    cache = 2 * rows * sum(size * own for size, own in kept) * numbers.size
    queries = rows * min(prompt, 256)
    layer = queries * (4.5 * config.hidden_dim + 2.6 * config.heads * slots) * FLOAT
    return 2 * cache, math.ceil(layer) + 3 * rows * config.vocab_size * FLOAT


def _logits(config: GemmaConfig, chunk: int, platform: str) -> int:
    tile = min(vocabulary_tile(platform), config.vocab_size)
    return chunk * 2 * (tile + config.width) * FLOAT


def _kept_and_layer(
    config: GemmaConfig, lora: LoraRecipe, remat: str, length: int, block: int | None
) -> tuple[float, float]:
    """Numbers a token: kept in each layer, and alive within the one that is computed.

    Where layers differ: on average, and in the largest.
    """
    if remat == "offload":  # one layer's products are used while another's are on their way
        waiting, layer = _kept_and_layer(config, lora, "dots", length, block)
        return config.width, layer + 2 * (waiting - config.width)
    layers = range(config.layers)
    kept = [_kept(config, lora, remat, layer, block) for layer in layers]
    within = [_within(config, remat, layer, block) for layer in layers]
    scores = 0 if block is not None else config.heads * length
    kept_scores = 2.25 * scores if remat == "none" else 0.0
    return (
        sum(kept) / len(kept) + kept_scores,
        max(within) + (3.1 if remat == "full" else 2.7) * scores,
    )


def _kept(
    config: GemmaConfig, lora: LoraRecipe, remat: str, layer: int, block: int | None
) -> float:
    """Numbers a token that the backward pass needs of a layer, scores of a whole row apart."""
    if remat == "full":  # the carry only; a layer is made again in whole
        return config.width
    shapes, kind = layer_shapes(config, layer), config.kinds[layer]
    base = sum(shapes[name][1] for name in PROJECTIONS if name in shapes)
    targets = [name for name in lora.projections if name in shapes]
    adapted = sum(shapes[name][1] for name in targets)
    low = lora.rank * len(targets)
    attended = 0 if block is None else kind.query_size + config.heads  # and each log-sum
    if remat == "dots":  # the carry, every projection's result, and the adapters' inner ones
        return config.width + base + low + attended
    states = 10 * config.width + 4 * kind.query_size + 4 * kind.kv_size + 8 * kind.hidden_dim
    return states + 2 * kind.head_dim + low - (base - adapted) + attended


def _within(config: GemmaConfig, remat: str, layer: int, block: int | None) -> float:
    """Numbers a token alive while a layer is computed, scores of a whole row apart."""
    kind = config.kinds[layer]
    width, hidden, heads = config.width, kind.hidden_dim, kind.query_size + kind.kv_size
    if block is not None:
        within = {
            "none": 6.5 * hidden + 6.3 * heads,
            "dots": 7 * hidden + 7 * heads + 2.5 * width,
            "full": 11 * hidden + 7 * heads + 5 * width,
        }
    else:
        within = {
            "none": 8 * hidden,
            "dots": 8 * hidden + 4 * heads,
            "full": 13 * hidden + 4 * heads + 5 * width,
        }
    return within[remat]


def _beside_blocks(config: GemmaConfig, rows: int, block: int | None) -> float:
    """Numbers beside those of each token: a block's scores, and turned copies of the matrices."""
    if block is None:
        return 0.0
    matrices = max(
        sum(math.prod(shape) for name, shape in layer_shapes(config, layer).items())
        for layer in range(config.layers)
    )
    return 4 * rows * config.heads * block**2 + 0.67 * matrices


def _whole(config: GemmaConfig, length: int, block: int | None) -> float:
    """Numbers a token: three hidden states, four rotary tables, two masks of a byte a key."""
    tables = max(kind.head_dim for kind in config.kinds)
    return 3 * config.width + 2 * tables + (length / 2 if block is None else 0)


def _widest_input(config: GemmaConfig) -> int:
    def inputs(layer: int) -> int:
        shapes = layer_shapes(config, layer)
        return sum(shapes[name][0] for name in PROJECTIONS if name in shapes)

    return max(inputs(layer) for layer in range(config.layers))


def _power_of_two(size: int, smallest: int) -> int:
    return max(smallest, 1 << max(size - 1, 0).bit_length())

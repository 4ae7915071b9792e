"""Imports a Gemma 3 GGUF file of any quantisation, and assembles the demo model's."""

from __future__ import annotations

import re
from typing import Any

from ..errors import ModelError
from .assemble import Layout, Progress, WeightsBuilder
from .config import GemmaConfig, gemma3_pattern
from .gguf_file import GgufFile, GgufTensor, read_float_blocks
from .pieces import proto_from_gguf
from .weights import PROJECTIONS, Weights

GGUF_LAYER_NAMES = {
    "input_norm": "attn_norm",
    "post_attention_norm": "post_attention_norm",
    "pre_feedforward_norm": "ffn_norm",
    "post_feedforward_norm": "post_ffw_norm",
    "q_norm": "attn_q_norm",
    "k_norm": "attn_k_norm",
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}
"""Our name for a weight of a layer, and what llama.cpp calls it."""

ROPE_FREQUENCIES = "rope_freqs.weight"
"""A tensor of what is computed here."""

_OUR_NAMES = {theirs: ours for ours, theirs in GGUF_LAYER_NAMES.items()}
_LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
_LAYERS_OF_27B = 62  # llama.cpp tells the 27B by this, the one with another query scale


def gguf_config(gguf_file: GgufFile) -> GemmaConfig:
    """The config in the metadata.

    Raises:
        ModelError: If it is no Gemma 3, only a part of one, or a value is missing or senseless.
    """
    metadata, where = gguf_file.metadata, gguf_file.path.name
    architecture = metadata.get("general.architecture")
    if architecture != "gemma3":
        raise ModelError(
            f"{where} holds a model of architecture {architecture!r}; only gemma3 can be loaded.",
            code="MODEL_TYPE",
        )

    if int(metadata.get("split.count", 1)) > 1:
        raise ModelError(
            f"{where} is one part of {metadata['split.count']}. Join them first: "
            "llama-gguf-split --merge FIRST_PART OUT.gguf",
            code="MODEL_SPLIT_FILE",
        )

    def get(key: str, *default: Any) -> Any:
        name = f"gemma3.{key}"
        return metadata.get(name, *default) if default else metadata[name]

    try:
        width, heads = int(get("embedding_length")), int(get("attention.head_count"))
        layers, head_dim = int(get("block_count")), int(get("attention.key_length", 256))
        divisor = width // heads if layers == _LAYERS_OF_27B else head_dim
        return GemmaConfig(
            vocab_size=len(metadata["tokenizer.ggml.tokens"]),
            width=width,
            layers=layers,
            heads=heads,
            kv_heads=int(get("attention.head_count_kv", heads)),
            head_dim=head_dim,
            hidden_dim=int(get("feed_forward_length")),
            rms_eps=_shortest(get("attention.layer_norm_rms_epsilon")),
            query_scale=divisor**-0.5,
            sliding_window=int(get("attention.sliding_window")),
            layer_is_local=_pattern(get("attention.sliding_window_pattern", 6), layers),
            rope_theta=float(get("rope.freq_base", 1_000_000.0)),
            rope_theta_local=float(get("rope.freq_base_swa", 10_000.0)),
            rope_scaling=_rope_scaling(gguf_file),
            final_softcap=get("final_logit_softcapping", None),
            attention_softcap=get("attn_logit_softcapping", None),
            max_positions=int(get("context_length")),
        )
    except KeyError as error:
        raise ModelError(f"{where}: metadata {error} is missing.", code="MODEL_CONFIG") from error
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(
            f"{where}: its metadata makes no sense: {error}", code="MODEL_CONFIG"
        ) from error


def gguf_weights(
    gguf_file: GgufFile, config: GemmaConfig, *, dtype: Any, on_progress: Progress | None = None
) -> Weights:
    """The weights, dequantised and streamed into the final layout.

    Args:
        gguf_file: The parsed header.
        config: What `gguf_config` gave.
        dtype: NumPy dtype of the result: float32 or `ml_dtypes.bfloat16`.
        on_progress: See `assemble.Progress`.

    Raises:
        ModelError: If a tensor is missing, damaged, of another shape, or unknown.
        MissingExtraError: If the `gguf` package isn't installed.
    """
    where = gguf_file.path.name
    builder = WeightsBuilder(config, dtype, where=where, on_progress=on_progress)
    with gguf_file.path.open("rb", buffering=0) as file:
        for tensor in gguf_file.tensors:
            if tensor.name == ROPE_FREQUENCIES:
                continue
            name, layer = _our_name(tensor, where)
            blocks = read_float_blocks(gguf_file, tensor, file)
            if name.endswith("norm"):
                # llama.cpp stores 1 + w, and multiplies by it; w is what everybody else keeps
                blocks = (block - 1.0 for block in blocks)
            layout: Layout = (lambda a: a.T) if name in PROJECTIONS else (lambda a: a)
            builder.fill(name, layer, blocks, shape=tensor.shape, layout=layout, called=tensor.name)
    return builder.finish()


def gguf_tokenizer_proto(gguf_file: GgufFile) -> bytes:
    """The SentencePiece model rebuilt from the file's vocabulary.

    Raises:
        ModelError: If the file has none, or one of another kind.
    """
    metadata, where = gguf_file.metadata, gguf_file.path.name
    kind = metadata.get("tokenizer.ggml.model")
    if kind != "llama":
        raise ModelError(
            f"{where} has a tokenizer of type {kind!r}; a Gemma 3 file has 'llama'.",
            code="MODEL_TOKENIZER",
        )
    try:
        tokens, scores, kinds = (
            metadata[f"tokenizer.ggml.{part}"] for part in ("tokens", "scores", "token_type")
        )
        return proto_from_gguf(tokens, scores, kinds)
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"{where}: its vocabulary can't be read ({error}).", code="MODEL_TOKENIZER"
        ) from error


def _our_name(tensor: GgufTensor, where: str) -> tuple[str, int | None]:
    if tensor.name == "token_embd.weight":
        return "embedding", None
    if tensor.name == "output_norm.weight":
        return "final_norm", None
    match = _LAYER.fullmatch(tensor.name)
    if match and match[2] in _OUR_NAMES:
        return _OUR_NAMES[match[2]], int(match[1])
    raise ModelError(
        f"{where}: tensor {tensor.name!r} has no place in a Gemma 3 text model.",
        code="MODEL_TENSOR_UNKNOWN",
    )


def _pattern(stored: Any, layers: int) -> tuple[bool, ...]:
    """Which layers are local: the file has every how many-th is global, or a list of them."""
    if isinstance(stored, int):
        return gemma3_pattern(layers, every=stored)
    return tuple(bool(local) for local in stored)


def _rope_scaling(gguf_file: GgufFile) -> float:
    metadata = gguf_file.metadata
    kind = metadata.get("gemma3.rope.scaling.type", "none")
    if kind not in ("none", "linear"):
        raise ModelError(
            f"{gguf_file.path.name}: rope scaling {kind!r} is not supported; supported: linear.",
            code="MODEL_CONFIG_UNSUPPORTED",
        )
    return float(metadata.get("gemma3.rope.scaling.factor", 1.0)) if kind == "linear" else 1.0


def _shortest(value: float) -> float:
    """A float32 as the decimal that was meant: 9.99999997e-07 is 1e-06."""
    return float(f"{float(value):.7g}")

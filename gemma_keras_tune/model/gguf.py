"""Imports a Gemma GGUF file of any quantisation, and assembles the demo model's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ModelError
from .assemble import Progress, WeightsBuilder
from .config import GemmaConfig
from .gguf_config import ROPE_FREQUENCIES
from .gguf_file import GgufFile, GgufTensor, read_float_blocks
from .parts import Layout
from .pieces import proto_from_gguf, proto_from_merges
from .weights import Weights, is_left_out, is_matrix, is_scale

if TYPE_CHECKING:
    from jax.sharding import Mesh

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
    "per_layer_input_gate": "inp_gate",
    "per_layer_projection": "proj",
    "post_per_layer_input_norm": "post_norm",
    "layer_scalar": "layer_output_scale",
}
"""Our name for a weight of a layer, and what llama.cpp calls it."""

GGUF_OUTER_NAMES = {
    "embedding": "token_embd",
    "final_norm": "output_norm",
    "output": "output",
    "per_layer_embedding": "per_layer_token_embd",
    "per_layer_model_projection": "per_layer_model_proj",
    "per_layer_projection_norm": "per_layer_proj_norm",
}
"""The same for what isn't of one layer."""

_OUR_NAMES = {theirs: ours for ours, theirs in GGUF_LAYER_NAMES.items()}
_OUR_OUTER_NAMES = {f"{theirs}.weight": ours for ours, theirs in GGUF_OUTER_NAMES.items()}
_LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.weight")


def gguf_weights(
    gguf_file: GgufFile,
    config: GemmaConfig,
    *,
    dtype: Any,
    mesh: Mesh | None = None,
    on_progress: Progress | None = None,
) -> Weights:
    """The weights, dequantised and streamed into the final layout.

    Args:
        gguf_file: The parsed header.
        config: What `gguf_config` gave.
        dtype: NumPy dtype of the result: float32 or `ml_dtypes.bfloat16`.
        mesh: See `WeightsBuilder`.
        on_progress: See `assemble.Progress`.

    Raises:
        ModelError: If a tensor is missing, damaged, of another shape, or unknown.
        MissingExtraError: If the `gguf` package isn't installed.
    """
    where = gguf_file.path.name
    builder = WeightsBuilder(config, dtype, where=where, mesh=mesh, on_progress=on_progress)
    with gguf_file.path.open("rb", buffering=0) as file:
        for tensor in gguf_file.tensors:
            if not is_loaded(tensor.name, config):
                continue
            name, layer = _our_name(tensor, where)
            blocks = read_float_blocks(gguf_file, tensor, file)
            if is_scale(name) and config.norm_offset:
                # llama.cpp stores 1 + w, and multiplies by it; w is what everybody else keeps
                blocks = (block - np.float32(config.norm_offset) for block in blocks)
            layout: Layout = (lambda a: a.T) if is_matrix(name) else (lambda a: a)
            builder.fill(name, layer, blocks, shape=tensor.shape, layout=layout, called=tensor.name)
    return builder.finish()


def is_loaded(name: str, config: GemmaConfig) -> bool:
    """Whether the tensor of that name is: not what is computed here, nor keys that nobody uses."""
    if name == ROPE_FREQUENCIES:
        return False
    match = _LAYER.fullmatch(name)
    ours = _OUR_NAMES.get(match[2]) if match else None
    return match is None or ours is None or not is_left_out(config, ours, int(match[1]))


def gguf_tokenizer_proto(gguf_file: GgufFile) -> bytes:
    """The SentencePiece model rebuilt from the file's vocabulary.

    Raises:
        ModelError: If the file has none, or one of another kind.
    """
    metadata, where = gguf_file.metadata, gguf_file.path.name
    kind = metadata.get("tokenizer.ggml.model")
    if kind not in ("llama", "gemma4"):
        raise ModelError(
            f"{where} has a tokenizer of type {kind!r}; a Gemma file has 'llama' or 'gemma4'.",
            code="MODEL_TOKENIZER",
        )
    try:
        tokens, kinds = metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"]
        if kind == "gemma4":  # it has merges; its scores say nothing
            return proto_from_merges(tokens, kinds, metadata["tokenizer.ggml.merges"])
        return proto_from_gguf(tokens, metadata["tokenizer.ggml.scores"], kinds)
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(
            f"{where}: its vocabulary can't be read ({error}).", code="MODEL_TOKENIZER"
        ) from error


def _our_name(tensor: GgufTensor, where: str) -> tuple[str, int | None]:
    if tensor.name in _OUR_OUTER_NAMES:
        return _OUR_OUTER_NAMES[tensor.name], None
    match = _LAYER.fullmatch(tensor.name)
    if match and match[2] in _OUR_NAMES:
        return _OUR_NAMES[match[2]], int(match[1])
    raise ModelError(
        f"{where}: tensor {tensor.name!r} has no place in a Gemma text model.",
        code="MODEL_TENSOR_UNKNOWN",
    )

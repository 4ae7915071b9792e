"""Reads a KerasHub preset folder with h5py alone: no Keras object is built, nothing is executed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from ..errors import ModelError
from .assemble import BLOCK_BYTES, Progress, WeightsBuilder
from .config import GemmaConfig
from .huggingface import read_json
from .keras_config import backbone_config
from .parts import Layout
from .weights import Weights

if TYPE_CHECKING:
    import h5py
    from jax.sharding import Mesh

SINGLE_FILE, SHARD_INDEX = "model.weights.h5", "model.weights.json"

KERAS_LAYER_NAMES = {
    "input_norm": "pre_attention_norm",
    "post_attention_norm": "post_attention_norm",
    "pre_feedforward_norm": "pre_ffw_norm",
    "post_feedforward_norm": "post_ffw_norm",
    "q_norm": "attention/query_norm",
    "k_norm": "attention/key_norm",
    "q_proj": "attention/query_dense",
    "k_proj": "attention/key_dense",
    "v_proj": "attention/value_dense",
    "o_proj": "attention/output_dense",
    "gate_proj": "gating_ffw",
    "up_proj": "gating_ffw_2",
    "down_proj": "ffw_linear",
    "per_layer_input_gate": "per_layer_input_gate",
    "per_layer_projection": "per_layer_up_proj",
    "post_per_layer_input_norm": "post_per_layer_input_norm",
}
"""Our name for a weight of a layer, and the attributes of KerasHub's decoder block that hold it."""

_OUR_NAMES = {theirs: ours for ours, theirs in KERAS_LAYER_NAMES.items()}
_ROOT = r"(?:layers|_layer_checkpoint_dependencies)/"
_OUTER = {
    "embedding": "reversible_embedding|token_embedding",
    "final_norm": "rms_normalization|final_normalization",
    "per_layer_embedding": "embedding|per_layer_token_embedding",
    "per_layer_model_projection": "dense|per_layer_model_projection",
    "per_layer_projection_norm": "per_layer_projection_norm",
}
# where two norms stand outside of the blocks, a container calls the first one without a suffix
_OUTER_WITH_INPUTS = _OUTER | {
    "final_norm": "rms_normalization_1|final_normalization",
    "per_layer_projection_norm": "rms_normalization|per_layer_projection_norm",
}
# a container counts its blocks from no suffix, then _1; the layers' own names count from _0
_BLOCK = re.compile(
    _ROOT + r"(?:(?:gemma|gemma3|gemma4_text)_decoder_block(?:_(\d+))?|decoder_block_(\d+))/"
    r"(?:(.+)/)?vars/0"
)
_NOT_TEXT = re.compile(
    _ROOT + r"(?:gemma[34]_)?(?:vision_encoder|audio_encoder|(?:audio_)?interleave_embeddings)"
)


def keras_config(folder: Path) -> GemmaConfig:
    """The config of the backbone in `config.json`.

    Raises:
        ModelError: If it is another class, or asks for what isn't supported.
    """
    outer, where = read_json(folder / "config.json"), folder.name
    inner = outer.get("config")
    class_name = str(outer.get("class_name")) if isinstance(inner, dict) else "nothing"
    return backbone_config(class_name, inner if isinstance(inner, dict) else {}, where=where)


def keras_weights(
    folder: Path,
    config: GemmaConfig,
    *,
    dtype: Any,
    mesh: Mesh | None = None,
    on_progress: Progress | None = None,
) -> Weights:
    """The weights in `model.weights.h5` or its shards, streamed into the final layout.

    Args:
        folder: The preset's folder.
        config: What `keras_config` gave.
        dtype: NumPy dtype of the result: float32 or `ml_dtypes.bfloat16`.
        mesh: See `WeightsBuilder`.
        on_progress: See `assemble.Progress`.

    Raises:
        ModelError: If a file or tensor is missing, damaged, unknown, or lies outside the file.
    """
    import h5py

    builder = WeightsBuilder(config, dtype, where=folder.name, mesh=mesh, on_progress=on_progress)
    for path in keras_weight_files(folder):
        try:
            with h5py.File(path, "r") as file:
                for name, dataset in _datasets(file, "", where=path.name):
                    _fill(builder, name, dataset, config=config, where=path.name)
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise ModelError(
                f"{path.name} in {folder.name!r} is damaged or not complete: {error}. Download "
                "the model again.",
                code="MODEL_FILE_DAMAGED",
            ) from error
    return builder.finish()


def keras_tokenizer_proto(folder: Path) -> bytes:
    """The SentencePiece model in the preset's assets.

    Raises:
        ModelError: If it isn't there.
    """
    path = folder / "assets" / "tokenizer" / "vocabulary.spm"
    if not path.is_file():
        raise ModelError(
            f"The preset {folder.name!r} has no tokenizer: {path.relative_to(folder)} is missing. "
            "Save the whole model (causal_lm.save_to_preset), not only its backbone.",
            code="MODEL_NO_TOKENIZER",
        )
    return path.read_bytes()


def keras_weight_files(folder: Path) -> list[Path]:
    """The preset's weight files, all present.

    Raises:
        ModelError: If there are none, or the index names one that is missing.
    """
    if (folder / SINGLE_FILE).is_file():
        return [folder / SINGLE_FILE]
    mapped = read_json(folder / SHARD_INDEX).get("weight_map")
    if not isinstance(mapped, dict):
        raise ModelError(f"{SHARD_INDEX} in {folder.name!r} has no weight_map.", code="MODEL_INDEX")
    names: set[str] = set()
    for value in mapped.values():
        names.update(value if isinstance(value, list) else [value])
    missing = [n for n in sorted(names) if Path(n).name != n or not (folder / n).is_file()]
    if missing:
        raise ModelError(
            f"{SHARD_INDEX} in {folder.name!r} names files that are not in the folder: "
            f"{', '.join(missing[:5])}. Download them again.",
            code="MODEL_FILE_MISSING",
        )
    return [folder / name for name in sorted(names)]


def _datasets(group: h5py.Group, prefix: str, *, where: str) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every dataset that lies in this very file; a link out of it is refused."""
    import h5py

    for key in group:
        name = f"{prefix}/{key}" if prefix else key
        if not isinstance(group.get(key, getlink=True), h5py.HardLink):
            raise _outside(where, name, "a link")
        item = group[key]
        if isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external:
                raise _outside(where, name, "data of another file")
            yield name, item
        else:
            yield from _datasets(item, name, where=where)


def _fill(
    builder: WeightsBuilder, name: str, dataset: h5py.Dataset, *, config: GemmaConfig, where: str
) -> None:
    if _NOT_TEXT.match(name):
        return
    ours, layer = _our_name(name, config, where)
    builder.fill(
        ours,
        layer,
        _blocks(dataset, name, where=where),
        shape=dataset.shape or (1,),  # a layer's own number has no axis here
        layout=keras_layout(ours, layer, config),
        called=name,
    )


def keras_layout(name: str, layer: int | None, config: GemmaConfig) -> Layout:
    """Our `[in, out]` matrix seen with the axes of KerasHub's kernel, without a copy.

    KerasHub has query, key and value as `[heads, width, head_dim]` and the attention output as
    `[heads, head_dim, width]`; everything else is as ours.
    """
    if layer is None or name not in ("q_proj", "k_proj", "v_proj", "o_proj"):
        return lambda ours: ours
    kind = config.kinds[layer]
    heads = config.heads if name in ("q_proj", "o_proj") else kind.kv_heads
    if name == "o_proj":
        return lambda ours: ours.reshape(heads, kind.head_dim, config.width)
    return lambda ours: ours.reshape(config.width, heads, kind.head_dim).transpose(1, 0, 2)


def _our_name(name: str, config: GemmaConfig, where: str) -> tuple[str, int | None]:
    outer = _OUTER_WITH_INPUTS if config.per_layer_width else _OUTER
    for ours, theirs in outer.items():
        if re.fullmatch(f"{_ROOT}(?:{theirs})/vars/0", name):
            return ours, None
    match = _BLOCK.fullmatch(name)
    if match and (match[3] is None or match[3] in _OUR_NAMES):
        ours = "layer_scalar" if match[3] is None else _OUR_NAMES[match[3]]
        return ours, int(match[1] or match[2] or 0)
    raise ModelError(
        f"{where}: the variable {name!r} has no place in a Gemma text model. A quantised model, "
        "or one with LoRA enabled when it was saved, can't be loaded.",
        code="MODEL_TENSOR_UNKNOWN",
    )


def _blocks(dataset: h5py.Dataset, name: str, *, where: str) -> Iterator[np.ndarray]:
    # Keras writes bfloat16 as two opaque bytes and says so in an attribute
    bfloat16 = dataset.dtype.kind == "V" and dataset.attrs.get("dtype") == "bfloat16"
    if not bfloat16 and dataset.dtype.kind != "f":
        raise ModelError(
            f"{where}: the variable {name!r} has the type {dataset.dtype}; only float32, float16 "
            "and bfloat16 can be loaded.",
            code="MODEL_DTYPE",
        )
    if not dataset.shape:
        yield np.asarray(dataset[()]).reshape(1)
        return
    rows = dataset.shape[0]
    step = max(1, BLOCK_BYTES // max(1, dataset.dtype.itemsize * dataset.size // rows))
    for row in range(0, rows, step):
        block = dataset[row : row + step]
        yield block.view(ml_dtypes.bfloat16) if bfloat16 else block


def _outside(where: str, name: str, what: str) -> ModelError:
    return ModelError(
        f"{where}: {name!r} is {what}, so opening it would read files that are not part of the "
        "model. It is refused.",
        code="MODEL_OUTSIDE_FILE",
    )

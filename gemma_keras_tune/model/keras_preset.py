"""Reads a KerasHub preset folder with h5py alone: no Keras object is built, nothing is executed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from ..errors import ModelError
from .assemble import BLOCK_BYTES, Layout, Progress, WeightsBuilder
from .config import GemmaConfig, gemma3_pattern
from .huggingface import read_json
from .weights import Weights

if TYPE_CHECKING:
    import h5py

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
}
"""Our name for a weight of a layer, and the attributes of KerasHub's decoder block that hold it."""

_OUR_NAMES = {theirs: ours for ours, theirs in KERAS_LAYER_NAMES.items()}
_ROOT = r"(?:layers|_layer_checkpoint_dependencies)/"
_EMBEDDING = re.compile(_ROOT + r"(?:reversible_embedding|token_embedding)/vars/0")
_FINAL_NORM = re.compile(_ROOT + r"(?:rms_normalization|final_normalization)/vars/0")
# a container counts its blocks from no suffix, then _1; the layers' own names count from _0
_BLOCK = re.compile(_ROOT + r"(?:gemma3_decoder_block(?:_(\d+))?|decoder_block_(\d+))/(.+)/vars/0")
_PICTURES = re.compile(_ROOT + r"(?:gemma3_)?(?:vision_encoder|interleave_embeddings)")
_LONG_CONTEXT, _SHORT_CONTEXT = 131_072, 32_768

_ONLY: dict[str, tuple[Any, ...]] = {
    "use_bidirectional_attention": (False,),
    "is_embedding_model": (False,),
    "local_rope_scaling_factor": (1.0,),
    "dropout": (0,),
}


def keras_config(folder: Path) -> GemmaConfig:
    """The config of a `Gemma3Backbone` in `config.json`.

    The query scale is the backbone's own setting: KerasHub's decoder blocks ignore it, which is
    right for every size but the 27B.

    Raises:
        ModelError: If it is another class, or asks for what isn't supported.
    """
    outer, where = read_json(folder / "config.json"), folder.name
    if outer.get("class_name") != "Gemma3Backbone" or not isinstance(outer.get("config"), dict):
        raise ModelError(
            f"{where}: config.json describes a {outer.get('class_name')!r}; only a Gemma3Backbone "
            "can be loaded.",
            code="MODEL_TYPE",
        )
    return backbone_config(outer["config"], where=where)


def backbone_config(config: Mapping[str, Any], *, where: str) -> GemmaConfig:
    """The GemmaConfig of what `Gemma3Backbone.get_config()` gives.

    Args:
        config: The backbone's settings.
        where: The folder's or backbone's name, for messages.

    Raises:
        ModelError: If they ask for what isn't supported, or make no sense.
    """
    for key, allowed in _ONLY.items():
        if config.get(key, allowed[0]) not in allowed:
            raise _unsupported(where, key, config[key])
    dtype = config.get("dtype")
    if isinstance(dtype, dict) and dtype.get("class_name") != "DTypePolicy":
        raise _unsupported(where, "dtype", dtype.get("class_name"))
    post_norms = bool(config.get("use_post_ffw_norm", False))
    if post_norms != bool(config.get("use_post_attention_norm", False)):
        raise _unsupported(where, "use_post_attention_norm", not post_norms)
    try:
        return _config(config, post_norms=post_norms)
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelError(
            f"{where}: config.json makes no sense: {error!r}", code="MODEL_CONFIG"
        ) from error


def keras_weights(
    folder: Path, config: GemmaConfig, *, dtype: Any, on_progress: Progress | None = None
) -> Weights:
    """The weights in `model.weights.h5` or its shards, streamed into the final layout.

    Args:
        folder: The preset's folder.
        config: What `keras_config` gave.
        dtype: NumPy dtype of the result: float32 or `ml_dtypes.bfloat16`.
        on_progress: See `assemble.Progress`.

    Raises:
        ModelError: If a file or tensor is missing, damaged, unknown, or lies outside the file.
    """
    import h5py

    builder = WeightsBuilder(config, dtype, where=folder.name, on_progress=on_progress)
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


def _config(config: Mapping[str, Any], *, post_norms: bool) -> GemmaConfig:
    layers, head_dim = int(config["num_layers"]), int(config["head_dim"])
    width, heads = int(config["hidden_dim"]), int(config["num_query_heads"])
    sliding = bool(config.get("use_sliding_window_attention", False))
    scaling = float(config.get("global_rope_scaling_factor", 1.0))
    by_head = config.get("query_head_dim_normalize", True)
    return GemmaConfig(
        vocab_size=int(config["vocabulary_size"]),
        width=width,
        layers=layers,
        heads=heads,
        kv_heads=int(config["num_key_value_heads"]),
        head_dim=head_dim,
        hidden_dim=int(config["intermediate_dim"]),
        rms_eps=float(config.get("layer_norm_epsilon", 1e-6)),
        query_scale=(head_dim if by_head else width // heads) ** -0.5,
        sliding_window=int(config.get("sliding_window_size", 1024)),
        layer_is_local=gemma3_pattern(layers) if sliding else (False,) * layers,
        rope_scaling=scaling,
        final_softcap=config.get("final_logit_soft_cap"),
        attention_softcap=config.get("attention_logit_soft_cap"),
        # KerasHub's config has no such number; only the models with a long context scale
        max_positions=_LONG_CONTEXT if scaling > 1 else _SHORT_CONTEXT,
        qk_norm=bool(config.get("use_query_key_norm", True)),
        post_norms=post_norms,
    )


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
    if _PICTURES.match(name):
        return
    ours, layer = _our_name(name, where)
    builder.fill(
        ours,
        layer,
        _blocks(dataset, name, where=where),
        shape=dataset.shape,
        layout=keras_layout(ours, config),
        called=name,
    )


def keras_layout(name: str, config: GemmaConfig) -> Layout:
    """Our `[in, out]` matrix seen with the axes of KerasHub's kernel, without a copy.

    KerasHub has query, key and value as `[heads, width, head_dim]` and the attention output as
    `[heads, head_dim, width]`; everything else is as ours.
    """
    heads = config.heads if name in ("q_proj", "o_proj") else config.kv_heads
    if name in ("q_proj", "k_proj", "v_proj"):
        return lambda ours: ours.reshape(config.width, heads, config.head_dim).transpose(1, 0, 2)
    if name == "o_proj":
        return lambda ours: ours.reshape(heads, config.head_dim, config.width)
    return lambda ours: ours


def _our_name(name: str, where: str) -> tuple[str, int | None]:
    if _EMBEDDING.fullmatch(name):
        return "embedding", None
    if _FINAL_NORM.fullmatch(name):
        return "final_norm", None
    match = _BLOCK.fullmatch(name)
    if match and match[3] in _OUR_NAMES:
        return _OUR_NAMES[match[3]], int(match[1] or match[2] or 0)
    raise ModelError(
        f"{where}: the variable {name!r} has no place in a Gemma 3 text model. A quantised model, "
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


def _unsupported(where: str, key: str, value: Any) -> ModelError:
    return ModelError(
        f"{where}: config.json has {key} = {value!r}, which is not supported here.",
        code="MODEL_CONFIG_UNSUPPORTED",
    )

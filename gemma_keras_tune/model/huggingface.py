"""Reads a Hugging Face folder: config.json, safetensors, tokenizer. Nothing in it is executed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ..errors import ModelError
from .assemble import Layout, Progress, WeightsBuilder
from .config import GemmaConfig
from .huggingface_config import gemma3_config
from .pieces import proto_from_tokenizer_json
from .safetensors_file import TensorPlace, read_blocks, read_header
from .weights import PROJECTIONS, Weights

HF_LAYER_NAMES = {
    "input_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "pre_feedforward_norm": "pre_feedforward_layernorm",
    "post_feedforward_norm": "post_feedforward_layernorm",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
    **{name: f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj")},
    **{name: f"mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")},
}
"""Our name for a weight of a layer, and what `transformers` calls it."""

_OUR_NAMES = {theirs: ours for ours, theirs in HF_LAYER_NAMES.items()}
_TEXT_PREFIX = re.compile(r"^(model\.language_model\.|language_model\.model\.|model\.)")
_LAYER = re.compile(r"layers\.(\d+)\.(.+)\.weight")
# tensors that a text model does without: the picture half, and copies of what is computed
_NOT_OURS = re.compile(
    r"^(model\.)?(vision_tower|multi_modal_projector)\.|(^|\.)lm_head\.weight$|rotary_emb\.inv_freq$"
)


def read_config(folder: Path) -> GemmaConfig:
    """The config in `config.json`.

    Raises:
        ModelError: If it is missing, unreadable, or asks for what isn't supported.
    """
    return gemma3_config(read_json(folder / "config.json"), where=folder.name)


def read_weights(
    folder: Path, config: GemmaConfig, *, dtype: Any, on_progress: Progress | None = None
) -> Weights:
    """The weights of the folder's safetensors files, streamed into the final layout.

    Args:
        folder: The folder.
        config: What `read_config` gave.
        dtype: NumPy dtype of the result: float32 or `ml_dtypes.bfloat16`.
        on_progress: See `assemble.Progress`.

    Raises:
        ModelError: If a file or tensor is missing, damaged, of another shape, or unknown.
    """
    builder = WeightsBuilder(config, dtype, where=folder.name, on_progress=on_progress)
    for path in weight_files(folder):
        with path.open("rb", buffering=0) as file:
            for place in read_header(path):
                if is_of_the_text_model(place.name):
                    name, layer = _our_name(place, folder)
                    builder.fill(
                        name,
                        layer,
                        read_blocks(place, file),
                        shape=place.shape,
                        layout=_transposed if name in PROJECTIONS else _as_it_is,
                        called=place.name,
                    )
    return builder.finish()


def is_of_the_text_model(name: str) -> bool:
    """Whether the tensor of that name is loaded: not the picture half, nor copies."""
    return not _NOT_OURS.search(name)


def read_tokenizer_proto(folder: Path) -> bytes:
    """The SentencePiece model: `tokenizer.model`, or one rebuilt from `tokenizer.json`.

    Raises:
        ModelError: If the folder has neither, or `tokenizer.json` can't be rebuilt.
    """
    if (folder / "tokenizer.model").is_file():
        return (folder / "tokenizer.model").read_bytes()
    if (folder / "tokenizer.json").is_file():
        return proto_from_tokenizer_json(read_json(folder / "tokenizer.json"), where=folder.name)
    raise ModelError(
        f"The folder {folder.name!r} has no tokenizer: neither tokenizer.model nor tokenizer.json "
        "is there. Copy the one of the model that it was made from.",
        code="MODEL_NO_TOKENIZER",
    )


def chat_template(folder: Path) -> str:
    """The folder's chat template as text, `""` where it has none; it is never run."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    if not (folder / "tokenizer_config.json").is_file():
        return ""
    template = read_json(folder / "tokenizer_config.json").get("chat_template") or ""
    return template if isinstance(template, str) else json.dumps(template)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold the weights, all present.

    Raises:
        ModelError: If there are none, only pickled ones, or the index names one that is missing.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        mapped = read_json(index).get("weight_map")
        if not isinstance(mapped, dict) or not all(isinstance(v, str) for v in mapped.values()):
            raise ModelError(
                f"{index.name} in {folder.name!r} has no weight_map.", code="MODEL_INDEX"
            )
        names = sorted(set(mapped.values()))
        outside = [name for name in names if Path(name).name != name]
        missing = [name for name in names if not (folder / name).is_file()]
        if outside or missing:
            raise ModelError(
                f"{index.name} in {folder.name!r} names {len(outside or missing)} files that are "
                f"not in the folder: {', '.join((outside or missing)[:5])}. Download them again.",
                code="MODEL_FILE_MISSING",
            )
        return [folder / name for name in names]
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    raise _no_weights(folder)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        ModelError: If it is missing or not a JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(
            f"The folder {path.parent.name!r} has no {path.name}.", code="MODEL_FILE_MISSING"
        ) from error
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path.name} in {path.parent.name!r} can't be read: {error}", code="MODEL_FILE_DAMAGED"
        ) from error
    if not isinstance(value, dict):
        raise ModelError(
            f"{path.name} in {path.parent.name!r} is not a JSON object.", code="MODEL_FILE_DAMAGED"
        )
    return value


def _our_name(place: TensorPlace, folder: Path) -> tuple[str, int | None]:
    bare = _TEXT_PREFIX.sub("", place.name)
    if bare == "embed_tokens.weight":
        return "embedding", None
    if bare == "norm.weight":
        return "final_norm", None
    match = _LAYER.fullmatch(bare)
    if match and match[2] in _OUR_NAMES:
        return _OUR_NAMES[match[2]], int(match[1])
    raise ModelError(
        f"{folder.name}: tensor {place.name!r} has no place in a Gemma 3 text model. A model with "
        "parts added to it (an unmerged adapter, a new head) can't be loaded.",
        code="MODEL_TENSOR_UNKNOWN",
    )


def _no_weights(folder: Path) -> ModelError:
    pickled = sorted(
        p.name for p in folder.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".ckpt"}
    )
    if pickled:
        return ModelError(
            f"The folder {folder.name!r} has its weights only as {', '.join(pickled[:3])}: such "
            "files can run code when they are opened, so they are refused. Take the safetensors "
            "version of the model.",
            code="MODEL_PICKLE",
        )
    return ModelError(
        f"The folder {folder.name!r} has no model.safetensors.", code="MODEL_FILE_MISSING"
    )


_transposed: Layout = lambda ours: ours.T  # noqa: E731 - the layouts read best side by side
_as_it_is: Layout = lambda ours: ours  # noqa: E731

"""Reads a Hugging Face folder: config.json, safetensors, tokenizer. Nothing in it is executed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from .assemble import Progress, WeightsBuilder
from .config import GemmaConfig
from .huggingface_config import model_config
from .parts import Layout
from .pieces import proto_from_tokenizer_json
from .safetensors_file import read_blocks, read_header
from .weights import Weights, is_left_out, is_matrix, layer_shapes, weight_shapes

if TYPE_CHECKING:
    from jax.sharding import Mesh

_LAYER_NAMES = {
    "input_norm": "input_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "pre_feedforward_norm": "pre_feedforward_layernorm",
    "post_feedforward_norm": "post_feedforward_layernorm",
    "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm",
    **{name: f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj")},
    **{name: f"mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")},
    **{
        name: name
        for name in ("per_layer_input_gate", "per_layer_projection", "post_per_layer_input_norm")
    },
}
_OUTER_NAMES = {
    "embedding": "embed_tokens",
    "final_norm": "norm",
    "per_layer_embedding": "embed_tokens_per_layer",
    "per_layer_model_projection": "per_layer_model_projection",
    "per_layer_projection_norm": "per_layer_projection_norm",
}
_TEXT_PREFIX = re.compile(r"^(model\.language_model\.|language_model\.model\.|model\.)")
_OUTPUT = re.compile(r"(^|\.)lm_head\.weight$")
# tensors that a text model does without: pictures and sound, and copies of what is computed
_NOT_OURS = re.compile(
    r"^(model\.)?(vision_tower|multi_modal_projector|audio_tower|embed_vision|embed_audio)\."
    r"|rotary_emb\.inv_freq$"
)
_KEYS = re.compile(r"layers\.(\d+)\.self_attn\.([kv]_proj|[kv]_norm)\.weight$")


def read_config(folder: Path) -> GemmaConfig:
    """The config in `config.json`.

    Raises:
        ModelError: If it is missing, unreadable, or asks for what isn't supported.
    """
    return model_config(read_json(folder / "config.json"), where=folder.name)


def read_weights(
    folder: Path,
    config: GemmaConfig,
    *,
    dtype: Any,
    mesh: Mesh | None = None,
    on_progress: Progress | None = None,
) -> Weights:
    """The weights of the folder's safetensors files, streamed into the final layout.

    Args:
        folder: The folder.
        config: What `read_config` gave.
        dtype: NumPy dtype of the result: float32 or `ml_dtypes.bfloat16`.
        mesh: See `WeightsBuilder`.
        on_progress: See `assemble.Progress`.

    Raises:
        ModelError: If a file or tensor is missing, damaged, of another shape, or unknown.
    """
    builder = WeightsBuilder(config, dtype, where=folder.name, mesh=mesh, on_progress=on_progress)
    ours = {theirs: place for place, theirs in hf_names(config).items()}
    for path in weight_files(folder):
        with path.open("rb", buffering=0) as file:
            for place in read_header(path):
                if is_of_the_text_model(place.name, config):
                    name, layer = _our_place(place.name, ours, folder)
                    builder.fill(
                        name,
                        layer,
                        read_blocks(place, file),
                        shape=place.shape,
                        layout=_transposed if is_matrix(name) else _as_it_is,
                        called=place.name,
                    )
    return builder.finish()


def hf_names(config: GemmaConfig) -> dict[tuple[str, int | None], str]:
    """What `transformers` calls each tensor, by our name for it and the layer, in file order.

    The layer is None for what isn't of one. Gemma 1 and VaultGemma have two norms a layer, and
    Gemma 1 calls the second one "post_attention_layernorm", which is another norm elsewhere.
    """
    inner = dict(_LAYER_NAMES)
    if config.family == "gemma":
        inner["pre_feedforward_norm"] = "post_attention_layernorm"
    found: dict[tuple[str, int | None], str] = {}
    for name in weight_shapes(config):
        if name in _OUTER_NAMES and name != "final_norm":
            found[name, None] = f"model.{_OUTER_NAMES[name]}.weight"
    for layer in range(config.layers):
        for name in layer_shapes(config, layer):
            # a number of its own is no parameter of a module, so it has no "weight" at the end
            end = name if name == "layer_scalar" else f"{inner[name]}.weight"
            found[name, layer] = f"model.layers.{layer}.{end}"
    found["final_norm", None] = "model.norm.weight"
    if not config.tied:
        found["output", None] = "lm_head.weight"
    return found


def is_of_the_text_model(name: str, config: GemmaConfig) -> bool:
    """Whether the tensor of that name is loaded.

    Not loaded are pictures and sound, a copy of the embedding, and the keys and values of layers
    that share those of another.
    """
    if _NOT_OURS.search(name) or (config.tied and _OUTPUT.search(name)):
        return False
    match = _KEYS.search(name)
    return match is None or not is_left_out(config, match[2], int(match[1]))


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


def _our_place(
    name: str, ours: Mapping[str, tuple[str, int | None]], folder: Path
) -> tuple[str, int | None]:
    bare = "lm_head.weight" if _OUTPUT.search(name) else f"model.{_TEXT_PREFIX.sub('', name)}"
    if bare in ours:
        return ours[bare]
    raise ModelError(
        f"{folder.name}: tensor {name!r} has no place in a Gemma text model of these sizes. A "
        "model with parts added to it (an unmerged adapter, a new head, more layers than its "
        "config says) can't be loaded.",
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

"""`load_model`: whatever a recipe names, as a Model value."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ..catalogue import DEMO, find, nearest, why_not
from ..durable import sha256_file
from ..errors import ModelError, expect
from ..out_of_memory import told_of_memory
from ..recipe import ModelRecipe
from ..text.template import Template, template_for
from ..text.tokenizer import Tokenizer
from . import gguf, gguf_config, huggingface, keras_preset
from .assemble import Progress
from .config import GemmaConfig
from .demo import demo_file
from .download import from_hugging_face, from_kaggle
from .families import FAMILIES
from .gguf_file import read_gguf
from .mesh import MeshShape
from .value import Model, ModelSource
from .weights import Weights


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """A model whose config and tokenizer are read, and whose weights are still in their files."""

    config: GemmaConfig
    proto: bytes
    files: Sequence[Path]
    weights: Callable[..., Weights]
    kind: str
    instruct: bool
    licence: str = ""
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """A model without its weights.

    Attributes:
        config: Sizes and constants.
        template: How turns become ids; it has the tokenizer.
        instruct: Whether the model was tuned to take turns.
        files: Where its weights are.
    """

    config: GemmaConfig
    template: Template
    instruct: bool
    files: tuple[Path, ...] = ()


@told_of_memory("model")
def load_model(
    recipe: ModelRecipe, *, mesh: MeshShape | None = None, on_progress: Progress | None = None
) -> Model:
    """The model that a recipe names, without adapters.

    Peak memory is what the imports take plus the weights in their final dtype plus a few blocks
    of 1 MB: every tensor goes from the file straight to its final place.

    Args:
        recipe: `preset` is `demo`, a KerasHub preset, a `kaggle://` or `hf://` handle, a Keras or
            Hugging Face folder, or a `.gguf` file.
        mesh: How the weights are laid over all devices; of each, this process holds and fills only
            its own devices' parts. None puts them on one device.
        on_progress: Called with `"weights"`, bytes done and bytes in all, after every tensor.

    Raises:
        ModelError: If the model is unknown, can't be reached, is damaged, or isn't supported;
            `MESH_SHAPE` if the mesh doesn't fit it.
        OutOfMemory: If there isn't enough memory for its weights.
        MissingExtraError: If it needs a package that isn't installed.
        TypeError: If `recipe` is another part of a recipe, or all of it.
    """
    expect("recipe", recipe, ModelRecipe, such_as="recipe.model")
    opened = _open(recipe.preset)
    template = _template(opened, recipe)
    devices = None if mesh is None else _mesh_for(opened.config, mesh)
    with ThreadPoolExecutor(1) as beside:  # hashing leaves the interpreter free meanwhile
        digest = beside.submit(lambda: opened.sha256 or _digest(opened.files))
        weights = opened.weights(
            opened.config,
            dtype=_numpy_dtype(recipe.dtype),
            mesh=devices,
            on_progress=on_progress,
        )
    return Model(
        config=opened.config,
        weights=weights,
        tokenizer=template.tokenizer,
        template=template,
        lora=recipe.lora,
        source=ModelSource(
            name=_public_name(recipe.preset),
            kind=opened.kind,
            licence=opened.licence or FAMILIES[opened.config.family].licence,
            sha256=digest.result(),
            instruct=opened.instruct,
        ),
    )


def describe_model(recipe: ModelRecipe) -> ModelDescription:
    """What a model's files say without their weights being read.

    Raises:
        ModelError: As `load_model`.
        MissingExtraError: As `load_model`.
    """
    opened = _open(recipe.preset)
    return ModelDescription(
        config=opened.config,
        template=_template(opened, recipe),
        instruct=opened.instruct,
        files=tuple(opened.files),
    )


def _template(opened: _Opened, recipe: ModelRecipe) -> Template:
    """The turn template that the recipe names, or that belongs to the model, with its tokenizer.

    Raises:
        ModelError: If the tokenizer is not the model's.
    """
    tokenizer = Tokenizer(opened.proto)
    if tokenizer.vocab_size > opened.config.vocab_size:
        raise ModelError(
            f"The tokenizer of {recipe.preset!r} has {tokenizer.vocab_size} tokens, but the model "
            f"has an embedding for only {opened.config.vocab_size}: they don't belong together.",
            code="MODEL_TOKENIZER",
        )
    if recipe.template != "auto":
        return template_for(recipe.template, tokenizer)
    own = _own_template(opened.config, tokenizer) if opened.instruct else "plain"
    return template_for(own, tokenizer)


def _own_template(config: GemmaConfig, tokenizer: Tokenizer) -> str:
    """The turns that an instruct model was tuned on: its family's, or FunctionGemma's."""
    calls = tokenizer.has("<start_of_function_call>") and config.family == "gemma3"
    return "function_gemma" if calls else FAMILIES[config.family].template


def _open(preset: str) -> _Opened:
    if preset == DEMO:
        path, sha256 = demo_file()
        return _open_gguf(path, kind="demo", sha256=sha256)
    if (entry := find(preset)) is not None:
        folder = from_kaggle(entry.handle.removeprefix("kaggle://"))
        return _open_folder(folder, kind="preset", instruct=entry.instruct, licence=entry.licence)
    if (reason := why_not(preset)) is not None:
        raise ModelError(
            f"The model {preset!r} can't be loaded: {reason}. `gemma-keras-tune models` lists what "
            "can be.",
            code="MODEL_NOT_SUPPORTED",
        )
    scheme, separator, rest = preset.partition("://")
    if separator:
        if scheme == "kaggle":
            return _open_folder(from_kaggle(rest), kind="kaggle", name=rest)
        if scheme == "hf":
            return _open_folder(from_hugging_face(rest), kind="hf", name=rest)
        raise ModelError(
            f"Models can't be loaded from {scheme}://; use kaggle://, hf://, or a local path.",
            code="MODEL_HANDLE",
        )
    path = Path(preset).expanduser()
    if path.is_dir():
        return _open_folder(path, kind="folder", name=path.resolve().name)
    if path.is_file() and path.suffix.lower() == ".gguf":
        return _open_gguf(path, kind="gguf")
    if path.is_file():
        raise ModelError(
            f"{path.name!r} is a file, and only .gguf files can be named as such. For safetensors "
            "or Keras weights name the folder that they lie in.",
            code="MODEL_FILE",
        )
    raise _unknown(preset)


def _open_folder(
    folder: Path, *, kind: str, name: str = "", instruct: bool | None = None, licence: str = ""
) -> _Opened:
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise ModelError(
            f"The folder {folder.name!r} holds an adapter, which is no model of its own. Name the "
            "model that it was trained on as the preset.",
            code="MODEL_IS_ADAPTER",
        )
    config = huggingface.read_json(folder / "config.json")
    if "model_type" in config:
        template = huggingface.chat_template(folder)
        # a template without Gemma's markers is one that a plain model was exported with
        taught = _has_turns(template) or (not template and _says_instruct(name))
        return _Opened(
            config=huggingface.read_config(folder),
            proto=huggingface.read_tokenizer_proto(folder),
            files=huggingface.weight_files(folder),
            weights=lambda config, **how: huggingface.read_weights(folder, config, **how),
            kind="hf_folder" if kind == "folder" else kind,
            instruct=taught if instruct is None else instruct,
            licence=licence,
        )
    return _Opened(
        config=keras_preset.keras_config(folder),
        proto=keras_preset.keras_tokenizer_proto(folder),
        files=keras_preset.keras_weight_files(folder),
        weights=lambda config, **how: keras_preset.keras_weights(folder, config, **how),
        kind="keras_folder" if kind == "folder" else kind,
        instruct=_says_instruct(name) if instruct is None else instruct,
        licence=licence,
    )


def _open_gguf(path: Path, *, kind: str, sha256: str = "") -> _Opened:
    parsed = read_gguf(path)
    template = str(parsed.metadata.get("tokenizer.chat_template", ""))
    return _Opened(
        config=gguf_config.gguf_config(parsed),
        proto=gguf.gguf_tokenizer_proto(parsed),
        files=[path],
        weights=lambda config, **how: gguf.gguf_weights(parsed, config, **how),
        kind=kind,
        instruct=_has_turns(template),
        sha256=sha256,
    )


def _has_turns(template: str) -> bool:
    return "<start_of_turn>" in template or "<|turn>" in template


def _says_instruct(name: str) -> bool:
    words = name.lower().replace("-", "_").replace("/", "_").split("_")
    return "instruct" in words or "it" in words


def _mesh_for(config: GemmaConfig, shape: MeshShape) -> Any:
    from .sharding import mesh_for  # here, so that reading a config loads no JAX

    return mesh_for(config, shape)


def _numpy_dtype(name: str) -> Any:
    """What a recipe's `dtype` means on this machine."""
    if name == "auto":
        import jax  # here, so that `describe_model` loads no JAX

        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return {"float32": np.dtype(np.float32), "bfloat16": np.dtype(ml_dtypes.bfloat16)}[name]


def _digest(files: Sequence[Path]) -> str:
    """The SHA-256 of one file; of several, of the list that `sha256sum` would print."""
    digests = [(sha256_file(path), path.name) for path in sorted(files)]
    if len(digests) == 1:
        return digests[0][0]
    return hashlib.sha256("".join(f"{d}  {n}\n" for d, n in digests).encode()).hexdigest()


def _public_name(preset: str) -> str:
    """The preset without the folders around a local path, which say where somebody lives."""
    path = Path(preset).expanduser()
    return path.resolve().name if "://" not in preset and path.exists() else preset


def _unknown(preset: str) -> ModelError:
    close = nearest(preset)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return ModelError(
        f"There is no model {preset!r}.{hint} A model is 'demo', a KerasHub preset "
        "(`gemma-keras-tune models` lists them), kaggle://owner/model/keras/variation, "
        "hf://owner/name, a local Keras or Hugging Face folder, or a .gguf file.",
        code="MODEL_UNKNOWN",
    )

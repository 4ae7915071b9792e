"""Names that people gave their files: shown, never used as a path."""

from __future__ import annotations

import re
import unicodedata

_LONGEST = 200
_LONGEST_SUFFIX = 16
_UNNAMED = "unnamed"


def display_name(text: str) -> str:
    """A file's name to show: without folders, control letters, and letters that turn text around.

    The last dot and what follows it are kept when the name has to be cut.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", text))[-1]
    shown = "".join(letter for letter in last if unicodedata.category(letter)[0] != "C")
    shown = " ".join(shown.split()).strip(". ")
    if len(shown) > _LONGEST:
        suffix = suffix_of(shown)
        shown = shown[: _LONGEST - len(suffix)].rstrip() + suffix
    return shown or _UNNAMED


def suffix_of(name: str) -> str:
    """The last dot of a name and what follows it, lower case; empty if there is none."""
    stem, dot, suffix = name.rpartition(".")
    is_one = dot and stem and len(suffix) < _LONGEST_SUFFIX and suffix.isascii()
    return f".{suffix.lower()}" if is_one else ""

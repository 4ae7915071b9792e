"""Where compiled programs are kept, so that the next process needn't wait for the compiler.

Nothing of JAX is loaded here: what is set in the environment counts when JAX is first imported.
"""

from __future__ import annotations

import hashlib
import os
import platform
from contextlib import suppress
from pathlib import Path

from .run_folder import data_root

FOLDER = "JAX_COMPILATION_CACHE_DIR"
SHORTEST = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
MOST_BYTES = 2**30
_SHORTEST_S = "0.5"  # of a compilation that is worth a file


def keep_compiled_programs() -> None:
    """Makes JAX keep what it compiles under the data root, and forgets what was unused longest.

    JAX knows a program by its code, options, version and kind of device; a folder of its own for
    each kind of processor keeps machines that share a data root apart. Where `FOLDER` is set
    already, or nothing can be written there, nothing is changed. JAX makes the folder when it has
    something to keep.
    """
    folder = compiled_folder()
    if FOLDER in os.environ or not _can_be_made(folder):
        return
    os.environ[FOLDER] = str(folder)
    os.environ.setdefault(SHORTEST, _SHORTEST_S)
    with suppress(OSError):
        _forget(folder)


def _can_be_made(folder: Path) -> bool:
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    return nearest.is_dir() and os.access(nearest, os.W_OK)


def compiled_folder() -> Path:
    """The folder of this kind of processor's programs."""
    return data_root() / "cache" / "programs" / _processor()


def _processor() -> str:
    """A word for the processor's kind and what it can do."""
    about = platform.machine() + platform.processor()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "flags", "Features"):
                about += value
            if not line.strip():  # the first processor's paragraph says enough
                break
    return hashlib.sha256(about.encode()).hexdigest()[:16]


def _forget(folder: Path) -> None:
    """Deletes the files that were used longest ago, until few enough bytes are left."""
    found = [(path.stat(), path) for path in folder.iterdir() if path.is_file()]
    total = sum(status.st_size for status, _ in found)
    for status, path in sorted(found, key=lambda one: max(one[0].st_atime, one[0].st_mtime)):
        if total <= MOST_BYTES:
            break
        path.unlink(missing_ok=True)
        total -= status.st_size

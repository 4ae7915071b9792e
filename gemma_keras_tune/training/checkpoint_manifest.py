"""`manifest.json`: the size and SHA-256 of each file of a checkpoint, and what it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..durable import sha256_file

MANIFEST = "manifest.json"


def make_manifest(folder: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """`facts`, and under `files` each file below `folder`.

    Raises:
        OSError: If a file can't be read.
    """
    files = {
        path.relative_to(folder).as_posix(): {
            "size_bytes": path.stat().st_size,
            "sha256": sha256_file(path),
        }
        for path in _files_in(folder)
    }
    return {**facts, "files": files}


def check_folder(folder: Path, manifest_sha256: str | None) -> tuple[dict[str, Any], str]:
    """The manifest of a checkpoint and what is wrong with the folder; `""` if nothing is.

    Args:
        folder: The checkpoint's folder.
        manifest_sha256: What the index says about the manifest itself; None: nothing is known.
    """
    try:
        if not folder.is_dir():
            return {}, "the folder is missing"
        if manifest_sha256 not in (None, sha256_file(folder / MANIFEST)):
            return {}, f"{MANIFEST} was changed (its SHA-256 differs)"
        manifest = json.loads((folder / MANIFEST).read_bytes())
        expected = manifest["files"]
        found = {path.relative_to(folder).as_posix(): path for path in _files_in(folder)}
        for name in sorted(expected.keys() | found.keys()):
            problem = _file_problem(name, found.get(name), expected.get(name))
            if problem:
                return {}, problem
    except FileNotFoundError as error:
        return {}, f"{Path(str(error.filename)).name} is missing"
    except OSError as error:
        return {}, f"it can't be read ({error.strerror or error})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}, f"{MANIFEST} is damaged"
    return manifest, ""


def _file_problem(name: str, path: Path | None, expected: Mapping[str, Any] | None) -> str:
    if path is None:
        return f"{name} is missing"
    if expected is None:
        return f"{name} does not belong to it"
    size = path.stat().st_size
    if size != expected["size_bytes"]:
        return f"{name} has {size} bytes instead of {expected['size_bytes']}"
    if sha256_file(path) != expected["sha256"]:
        return f"{name} was changed (its SHA-256 differs)"
    return ""


def _files_in(folder: Path) -> list[Path]:
    """All files below `folder` but its own manifest."""
    paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
    return [path for path in paths if path != folder / MANIFEST]

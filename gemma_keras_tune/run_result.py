"""What a finished run has to show, read from its folder: plain values, no accelerator code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import TuneError
from .run_folder import RunFolder


def run_result(folder: RunFolder) -> dict[str, Any]:
    """What a program wants to know of a finished run.

    Returns:
        `run` (its id), `path`, `report` (the content of `report.json`, or None) and `artifacts`:
        of each its `format`, `path` and `parity`.

    Raises:
        TuneError: `RUN_FILE` if one of the files is damaged.
    """
    return {
        "run": folder.id,
        "path": str(folder.path),
        "report": read_report(folder),
        "artifacts": [
            {"format": path.name, "path": str(path), "parity": parity}
            for path, parity in read_exports(folder)
        ],
    }


def read_report(folder: RunFolder) -> dict[str, Any] | None:
    """The run's `report.json`, or None where nothing was held back.

    Raises:
        TuneError: `RUN_FILE` if it is damaged.
    """
    return _read_json(folder.report_json)


def read_lineage(folder: RunFolder) -> dict[str, Any] | None:
    """The run's `lineage.json`, or None where it has not come that far.

    Raises:
        TuneError: `RUN_FILE` if it is damaged.
    """
    return _read_json(folder.lineage_json)


def read_exports(folder: RunFolder) -> list[tuple[Path, dict[str, Any]]]:
    """Folder and `parity.json` of every published artifact of the run.

    Raises:
        TuneError: `RUN_FILE` if one is damaged.
    """
    found = []
    for path in sorted(folder.artifacts.glob("*/parity.json")):
        parity = _read_json(path)
        if parity and not path.parent.name.startswith("."):
            found.append((path.parent, parity))
    return found


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise TuneError(
            f"{path} can't be read: {error}. Copy it from a backup, or remove it.", code="RUN_FILE"
        ) from error
    return values if isinstance(values, dict) else None

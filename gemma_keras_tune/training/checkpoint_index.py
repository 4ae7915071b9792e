"""`index.json`, the one record of which checkpoints are committed, as a value."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

_NAME = re.compile(r"(\d+)-(\d+)(?:-(\d+))?")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One committed checkpoint.

    Attributes:
        name: Its folder's name, `<step>-<attempt>`.
        step: Optimizer steps that it holds.
        attempt: Which attempt of the run wrote it.
        size_bytes: What its files take, without the manifest.
        manifest_sha256: The manifest's SHA-256, so that damage to it shows too.
        problem: What was found damaged; empty while it is whole.
    """

    name: str
    step: int
    attempt: int
    size_bytes: int = 0
    manifest_sha256: str = ""
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Index:
    """The committed checkpoints.

    Attributes:
        entries: In the order in which they were committed.
        best: The name of the one with the lowest validation loss, if any was marked.
    """

    entries: tuple[Entry, ...] = ()
    best: str | None = None

    @property
    def whole(self) -> tuple[Entry, ...]:
        """The entries that nothing is known against, oldest first."""
        return tuple(entry for entry in self.entries if not entry.problem)

    @property
    def best_entry(self) -> Entry | None:
        """The entry that `best` names."""
        return next((entry for entry in self.entries if entry.name == self.best), None)


def with_entry(index: Index, entry: Entry, *, keep: int, best: bool) -> Index:
    """The index with a new entry, and without those that have had their time.

    What stays: the newest `keep` whole ones, the best, and damaged ones as new as these. An older
    entry of the same step goes: it holds the same step of the same run.
    """
    replaced = {old.name for old in index.entries if old.step == entry.step}
    entries = (*(old for old in index.entries if old.name not in replaced), entry)
    best_name = entry.name if best or index.best in replaced else index.best
    newest = [old for old in entries if not old.problem][-keep:]
    since = entries.index(newest[0])
    kept = (old for n, old in enumerate(entries) if n >= since or old.name == best_name)
    return Index(entries=tuple(kept), best=best_name)


def folder_order(name: str) -> tuple[int, int, int] | None:
    """(attempt, step, again) of a checkpoint folder's name, which sorts as they were made.

    None for any other name.
    """
    match = _NAME.fullmatch(name)
    return (int(match[2]), int(match[1]), int(match[3] or 1)) if match else None


def to_json(index: Index) -> dict[str, Any]:
    """The index for `index.json`, with a checksum over itself."""
    body = {"entries": [asdict(entry) for entry in index.entries], "best": index.best}
    return {"sha256": _checksum(body), **body}


def parse_index(data: bytes) -> Index | None:
    """The index that `data` holds, or None if it is damaged."""
    try:
        body = json.loads(data)
        expected = body.pop("sha256")
        if expected != _checksum(body):
            return None
        return Index(entries=tuple(Entry(**entry) for entry in body["entries"]), best=body["best"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _checksum(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()

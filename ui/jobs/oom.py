"""Whether the system killed a process because memory ran out."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def oom_kills(root: Path = Path("/")) -> int:
    """How many processes of this control group (else: of this machine) were killed for memory."""
    with suppress(OSError, ValueError, IndexError):
        own = (root / "proc/self/cgroup").read_text(encoding="utf-8").rpartition("::")[2].strip()
        for group in (own.lstrip("/"), ""):
            events = root / "sys/fs/cgroup" / group / "memory.events"
            if events.is_file():
                return _counted(events, "oom_kill")
    with suppress(OSError, ValueError):
        return _counted(root / "proc/vmstat", "oom_kill")
    return 0


def _counted(path: Path, name: str) -> int:
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0

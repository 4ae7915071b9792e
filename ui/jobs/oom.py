"""Whether the system killed a process because memory ran out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def oom_kills(root: Path = Path("/")) -> int:
    """How many processes of this control group (else: of this machine) were killed for memory."""
    for counter in (*_of_own_group(root), root / "proc/vmstat"):
        with suppress(OSError, ValueError, KeyError):
            return _counters(counter)["oom_kill"]
    return 0


def _of_own_group(root: Path) -> Iterator[Path]:
    """Where the counter of this process's group may be; in a container, its root is the group."""
    groups = root / "sys/fs/cgroup"
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            for place in (path.lstrip("/"), ""):
                if not controllers:
                    yield groups / place / "memory.events"
                elif "memory" in controllers.split(","):
                    yield groups / "memory" / place / "memory.oom_control"


def _counters(path: Path) -> dict[str, int]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return {name: int(value) for name, _, value in (line.partition(" ") for line in lines)}

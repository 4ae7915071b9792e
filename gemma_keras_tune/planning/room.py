"""How much memory there is for a run: of the machine, of its container, and of the device."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import psutil

from .values import Room

Platform = Literal["cpu", "gpu", "tpu"]

_NO_LIMIT = 1 << 60  # version 1 of control groups writes a number near 2**63 where there is none
_PREALLOCATED = 0.75  # share of a GPU that JAX takes, unless XLA_PYTHON_CLIENT_MEM_FRACTION is set


def machine_room(*, proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> Room:
    """What a run may take of the machine's memory, once this process is gone or is the run.

    The least of what the system has available and what each control group around this process
    has left. Pages that merely keep a file count as free.

    Args:
        proc: The process file system.
        groups: Where the control groups are mounted.
    """
    machine = psutil.virtual_memory()
    own = psutil.Process().memory_info().rss
    free, total, source = machine.available, machine.total, "the system"
    for limit, used in _group_limits(proc, groups):
        if limit < total:
            total = limit
        if limit - used < free:
            free, source = max(0, limit - used), "the container's limit"
    return Room(where="machine", free_bytes=free + own, total_bytes=total, source=source)


def likely_platform() -> Platform:
    """What JAX will most likely compute with; asks it only where it is loaded already."""
    jax = sys.modules.get("jax")
    if jax is not None:
        backend = jax.default_backend()
        return backend if backend in ("gpu", "tpu") else "cpu"
    wished = os.environ.get("JAX_PLATFORMS", "").split(",")[0]
    if wished:
        return {"cuda": "gpu", "rocm": "gpu", "gpu": "gpu", "tpu": "tpu"}.get(wished, "cpu")  # type: ignore[return-value]
    if _installed("jax-cuda12-plugin", "jax-cuda13-plugin") and Path("/dev/nvidiactl").exists():
        return "gpu"
    if _installed("libtpu") and (Path("/dev/accel0").exists() or Path("/dev/vfio").exists()):
        return "tpu"
    return "cpu"


def device_room(platform: Platform) -> Room:
    """What a run may take of the accelerator's memory.

    Args:
        platform: `gpu` or `tpu`.
    """
    jax = sys.modules.get("jax")
    if jax is not None:
        stats = jax.local_devices()[0].memory_stats() or {}
        limit, used = stats.get("bytes_limit"), stats.get("bytes_in_use", 0)
        if limit:
            return Room(
                where="device", free_bytes=limit - used, total_bytes=limit, source="the device"
            )
    if platform == "gpu":
        found = _nvidia_memory()
        if found is not None:
            total, free = found
            share = float(os.environ.get("XLA_PYTHON_CLIENT_MEM_FRACTION") or _PREALLOCATED)
            usable = min(free, int(total * share))
            source = f"nvidia-smi; JAX takes {share:.0%} of it"
            return Room(where="device", free_bytes=usable, total_bytes=total, source=source)
    return Room(where="device", free_bytes=None, total_bytes=None, source="nobody")


def device_count(platform: Platform) -> int:
    """How many devices there are; 1 where nobody can say."""
    jax = sys.modules.get("jax")
    if jax is not None:
        return int(jax.local_device_count())
    found = 0
    if platform == "gpu" and (tool := shutil.which("nvidia-smi")) is not None:
        found = _listed_gpus(tool)
        chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
        if chosen is not None:
            found = min(found, len([one for one in chosen.split(",") if one.strip()]))
    if platform == "tpu":  # older chips are the first, newer ones the second
        found = sum(1 for name in ("accel[0-9]*", "vfio/[0-9]*") for _ in Path("/dev").glob(name))
    return max(1, found)


def _group_limits(proc: Path, groups: Path) -> Iterator[tuple[int, int]]:
    """`(limit, used without cached files)` of this process's control groups and those above."""
    with suppress(OSError):
        for line in (proc / "self" / "cgroup").read_text("ascii", "replace").splitlines():
            _, _, rest = line.partition(":")
            controllers, _, path = rest.partition(":")
            if controllers and "memory" not in controllers.split(","):
                continue
            root = groups / "memory" if controllers else groups
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            if not controllers:
                names = ("memory.max", "memory.current")
            place = root / path.lstrip("/")
            while True:
                limit = _number(place / names[0])
                used = _number(place / names[1])
                if limit is not None and used is not None and limit < _NO_LIMIT:
                    yield limit, max(0, used - _cached(place))
                if place == root or root not in place.parents:
                    break
                place = place.parent


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text("ascii"))
    except (OSError, ValueError):
        return None


def _cached(group: Path) -> int:
    """Bytes of files that the system may forget."""
    with suppress(OSError, ValueError):
        for line in (group / "memory.stat").read_text("ascii").splitlines():
            name, _, value = line.partition(" ")
            if name in ("inactive_file", "total_inactive_file"):
                return int(value)
    return 0


def _installed(*names: str) -> bool:
    for name in names:
        with suppress(PackageNotFoundError):
            version(name)
            return True
    return False


@cache
def _listed_gpus(tool: str) -> int:
    """How many GPUs a machine has; asked once, since a form plans at every change."""
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [tool, "--list-gpus"], capture_output=True, text=True, stdin=subprocess.DEVNULL,
            timeout=10, check=True,
        )  # fmt: skip
        return sum(line.startswith("GPU ") for line in done.stdout.splitlines())
    return 0


def _nvidia_memory() -> tuple[int, int] | None:
    """`(total, free)` bytes of the first GPU, or None where its tool isn't there."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    query = [tool, "--query-gpu=memory.total,memory.free", "--format=csv,noheader,nounits", "-i0"]
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            query, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=10, check=True
        )
        total, free = (int(part) << 20 for part in done.stdout.split(","))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return total, free

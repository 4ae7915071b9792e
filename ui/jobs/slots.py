"""Which devices jobs can have, found without loading an accelerator library.

One job at a time has a device. A GPU is one slot. All chips of a TPU host are one slot together,
since one process drives them. A machine with neither has the slot `cpu`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from .job import DEVICE, LIGHT, Slots


def find_devices(
    *, dev: Path = Path("/dev"), environment: Mapping[str, str] | None = None
) -> tuple[str, ...]:
    """The devices' names: `gpu:0`, `gpu:1`, … or `tpu:0` or `cpu:0`.

    Args:
        dev: Where the system shows its devices.
        environment: Where `CUDA_VISIBLE_DEVICES` and `JAX_PLATFORMS` are looked up, which are
            respected.
    """
    variables = os.environ if environment is None else environment
    platforms = variables.get("JAX_PLATFORMS", "").split(",")
    if platforms == ["cpu"]:
        return ("cpu:0",)
    if _numbered(dev, r"accel(\d+)") or _numbered(dev / "vfio", r"(\d+)"):
        return ("tpu:0",)
    gpus = _numbered(dev, r"nvidia(\d+)")
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = [name for name in visible.split(",") if name and name != "-1"]
    return tuple(f"gpu:{name}" for name in gpus) or ("cpu:0",)


def make_slots(devices: tuple[str, ...], *, light: int = 2, at_once: int | None = None) -> Slots:
    """The slots of a machine.

    Args:
        devices: As `find_devices` names them.
        light: How many jobs that need no device may run at once.
        at_once: How many jobs may share a CPU, on a machine without other devices; devices
            themselves are never shared, so on them a lower number leaves the rest free.
    """
    if at_once is not None:
        if devices == ("cpu:0",):
            devices = tuple(f"cpu:{number}" for number in range(at_once))
        devices = devices[:at_once]
    return {LIGHT: tuple(f"light:{number}" for number in range(light)), DEVICE: devices}


def environment_for(slots: tuple[str, ...]) -> dict[str, str]:
    """Variables that keep a process to the slots it was given."""
    gpus = [name.partition(":")[2] for name in slots if name.startswith("gpu:")]
    if gpus:
        return {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    if not any(name.startswith("cpu:") for name in slots):
        return {}  # light work uses no device, but plans look at what there is
    return {"JAX_PLATFORMS": "cpu"}


def _numbered(folder: Path, pattern: str) -> list[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    found = [match[1] for name in names if (match := re.fullmatch(pattern, name))]
    return sorted(found, key=int)

"""What a run costs the machine while it works: `Load` events from a small thread of their own."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from .errors import TuneError
from .event_types import Event, Load
from .machine import peak_memory_bytes

EVERY_S = 5.0


class LoadWatch:
    """Looks at the process, the machine and, once they are `ready`, at JAX's devices.

    The first look only sets the clocks of the processor's load.
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._devices: list[Any] = []
        self._process.cpu_percent()
        psutil.cpu_percent()

    def devices_ready(self) -> None:
        """Lets the devices be looked at; called once JAX has opened them, never by this thread."""
        jax = sys.modules.get("jax")
        self._devices = list(jax.local_devices()) if jax else []

    def look(self) -> Load:
        """The load since the look before.

        Raises:
            psutil.Error: If the system doesn't tell.
            OSError: Likewise.
        """
        memory = psutil.virtual_memory()
        return Load(
            cpu_percent=self._process.cpu_percent(),
            rss_bytes=self._process.memory_info().rss,
            peak_rss_bytes=peak_memory_bytes(),
            machine_cpu_percent=psutil.cpu_percent(),
            machine_memory_bytes=memory.total - memory.available,
            machine_memory_total_bytes=memory.total,
            device_bytes=_memory_of(self._devices, "bytes_in_use"),
            peak_device_bytes=_memory_of(self._devices, "peak_bytes_in_use"),
            device_limit_bytes=_memory_of(self._devices, "bytes_limit"),
            device_percent=_gpu_percent(self._devices),
        )


@contextmanager
def told_load(tell: Callable[[Event], None], *, every_s: float = EVERY_S) -> Iterator[LoadWatch]:
    """Tells the load every few seconds, and once more at the end. Never breaks what it watches.

    Args:
        tell: Receives the events, from another thread.
        every_s: Seconds between two of them.
    """
    watch, over = LoadWatch(), threading.Event()

    def tell_once() -> bool:
        try:
            tell(watch.look())
        except (psutil.Error, OSError, TuneError):  # a full disk stops the run by itself
            return False
        return True

    def tell_until_over() -> None:
        while not over.wait(every_s) and tell_once():
            pass

    thread = threading.Thread(target=tell_until_over, name="load", daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join()
        tell_once()


def _memory_of(devices: Sequence[Any], name: str) -> int | None:
    """A figure of the devices' memory, summed, in bytes; the CPU's backend tells none."""
    stats: list[dict[str, int]] = []
    with suppress(RuntimeError):  # how JAX says that a backend doesn't know
        stats = [device.memory_stats() or {} for device in devices]
    return sum(one[name] for one in stats) if stats and all(name in one for one in stats) else None


def _gpu_percent(devices: Sequence[Any]) -> float | None:
    """Mean utilisation of the NVIDIA GPUs among the devices, where NVML's library is installed."""
    places = [device.local_hardware_id for device in devices if device.platform == "gpu"]
    if not places or any(place is None for place in places):
        return None
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None
    try:
        nvml.nvmlInit()
        handles = [_nvml_handle(nvml, place) for place in places]
        return float(sum(nvml.nvmlDeviceGetUtilizationRates(h).gpu for h in handles) / len(handles))
    except (nvml.NVMLError, IndexError):  # no driver, no permission, or a device of another kind
        return None


def _nvml_handle(nvml: Any, place: int) -> Any:
    """NVML's handle of the device that CUDA counts as `place`: CUDA may see fewer, reordered."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    name = visible.split(",")[place].strip() if visible else str(place)
    if name.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    return nvml.nvmlDeviceGetHandleByUUID(name)

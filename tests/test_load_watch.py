"""The load of process, machine and devices, told from a thread that breaks nothing."""

from __future__ import annotations

import sys
import threading
import time
from types import ModuleType, SimpleNamespace
from typing import Any

import psutil
import pytest

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.event_types import Event, Load
from gemma_keras_tune.load_watch import LoadWatch, told_load


def test_the_load_of_a_busy_process_is_what_it_does() -> None:
    watch = LoadWatch()
    until = time.process_time() + 0.3
    block = bytearray(64 * 2**20)
    block[::4096] = b"x" * len(block[::4096])
    while time.process_time() < until:
        pass
    load = watch.look()
    assert load.cpu_percent > 5
    assert load.peak_rss_bytes >= load.rss_bytes * 0.99 > 64 * 2**20
    assert 0 < load.machine_memory_bytes < load.machine_memory_total_bytes
    assert load.machine_memory_total_bytes == psutil.virtual_memory().total
    assert 0 <= load.machine_cpu_percent <= 100
    assert load.device_bytes is load.device_limit_bytes is load.device_percent is None


def device(number: int, **stats: int) -> Any:
    return SimpleNamespace(
        platform="gpu", local_hardware_id=number, memory_stats=lambda: stats or None
    )


def test_devices_are_summed_and_only_looked_at_once_they_are_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    devices = [
        device(n, bytes_in_use=10 + n, peak_bytes_in_use=20 + n, bytes_limit=100) for n in (0, 1)
    ]
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(local_devices=lambda: devices))
    monkeypatch.setitem(sys.modules, "pynvml", None)
    watch = LoadWatch()
    assert watch.look().device_bytes is None
    watch.devices_ready()
    load = watch.look()
    assert (load.device_bytes, load.peak_device_bytes, load.device_limit_bytes) == (21, 41, 200)
    assert load.device_percent is None
    devices[1] = device(1)  # a backend that tells of one device only
    watch.devices_ready()
    assert watch.look().device_bytes is None


def test_the_gpu_s_utilisation_comes_from_nvml_in_cuda_s_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nvml: Any = ModuleType("pynvml")
    nvml.NVMLError = type("NVMLError", (Exception,), {})
    nvml.nvmlInit = lambda: None
    nvml.nvmlDeviceGetHandleByIndex = lambda number: number
    nvml.nvmlDeviceGetHandleByUUID = lambda name: {"GPU-x": 7}[name]
    nvml.nvmlDeviceGetUtilizationRates = lambda handle: SimpleNamespace(gpu=10 * handle)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    jax = SimpleNamespace(local_devices=lambda: [device(0), device(1)])
    monkeypatch.setitem(sys.modules, "jax", jax)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-x")
    watch = LoadWatch()
    watch.devices_ready()
    assert watch.look().device_percent == 50

    def no_driver() -> None:
        raise nvml.NVMLError

    nvml.nvmlInit = no_driver
    assert watch.look().device_percent is None


def test_it_tells_every_few_seconds_from_another_thread_and_once_at_the_end() -> None:
    told: list[tuple[Event, str]] = []
    with told_load(
        lambda event: told.append((event, threading.current_thread().name)), every_s=0.02
    ):
        deadline = time.monotonic() + 10
        while len(told) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
    names = [name for _, name in told]
    assert names[:2] == ["load", "load"] and names[-1] == "MainThread"
    assert all(isinstance(event, Load) for event, _ in told)
    count = len(told)
    time.sleep(0.1)
    assert len(told) == count


@pytest.mark.parametrize("error", [OSError("gone"), TuneError("full"), psutil.Error("hidden")])
def test_what_can_t_be_told_stops_the_telling_and_nothing_else(error: Exception) -> None:
    calls: list[Event] = []

    def tell(event: Event) -> None:
        calls.append(event)
        raise error

    with told_load(tell, every_s=0.01):
        time.sleep(0.2)
    assert len(calls) == 2  # the thread's first, and the last one

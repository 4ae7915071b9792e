"""Which process is meant, what a child is given, and which devices there are."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_keras_tune.job_folder import JobFolder
from gemma_keras_tune_ui.jobs.children import OwnChild, clean_environment
from gemma_keras_tune_ui.jobs.oom import oom_kills
from gemma_keras_tune_ui.jobs.processes import (
    Identity,
    catches,
    ended,
    identify,
    signal_group,
    signal_one,
)
from gemma_keras_tune_ui.jobs.slots import environment_for, find_devices, make_slots

SLEEP = ("sleep", "60")


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    (tmp_path / "jobs" / "j").mkdir(parents=True)
    return JobFolder(tmp_path / "jobs" / "j")


def test_a_number_that_was_used_again_is_another_process() -> None:
    with subprocess.Popen(SLEEP, start_new_session=True) as process:
        me = identify(process.pid)
        stranger = Identity(process.pid, me.start - 1)
        assert me.is_alive() and not stranger.is_alive()
        assert not signal_group(stranger, signal.SIGKILL)
        assert not signal_one(stranger, signal.SIGKILL)
        assert process.poll() is None
        assert signal_group(me, signal.SIGKILL)
        process.wait()
        assert not me.is_alive()
        assert not signal_group(me, signal.SIGKILL)


@pytest.mark.parametrize("pid", [0, 1, -1])
def test_our_own_group_is_never_signalled(pid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda group, number: sent.append(group))
    monkeypatch.setattr(os, "kill", lambda one, number: sent.append(one))
    for start in (-1, 0, 1):
        assert not signal_group(Identity(pid, start), signal.SIGKILL)
        assert not signal_one(Identity(pid, start), signal.SIGKILL)
    assert sent == []


async def test_what_a_child_leaves_behind_is_ended_with_it(folder: JobFolder) -> None:
    script = "sleep 60 & echo $!; exec sleep 0.2"
    child = OwnChild(("/bin/sh", "-c", script), folder=folder, environment=clean_environment({}))
    child.go()
    async with asyncio.timeout(10):
        await child.ended()
    assert child.exit_code == 0
    left = int(folder.log.read_text())
    async with asyncio.timeout(5):
        await ended(identify(left))


async def test_a_child_begins_only_when_the_gate_is_opened(folder: JobFolder) -> None:
    for opens in (False, True):
        script = (sys.executable, "-c", "import sys; print(repr(sys.stdin.read()))")
        child = OwnChild(script, folder=folder, environment=clean_environment({}))
        await asyncio.sleep(0.1)
        assert folder.log.read_text() == ""
        if opens:
            child.go()
            await child.ended()
            assert child.exit_code == 0
        else:
            await child.turn_away()
            assert child.exit_code == 1
    assert folder.log.read_text() == "''\n"  # its input is empty


async def test_the_end_of_a_process_that_is_no_child_of_ours_is_seen() -> None:
    script = "sleep 60 >/dev/null & echo $!"
    parent = await asyncio.create_subprocess_exec("/bin/sh", "-c", script, stdout=subprocess.PIPE)
    pid = int((await parent.communicate())[0])
    orphan = identify(pid)
    waiting = asyncio.create_task(ended(orphan))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(5):
        await waiting
    await ended(Identity(os.getpid(), 1))  # not us: began at another time


def test_a_handler_of_its_own_is_seen_before_a_signal_is_sent() -> None:
    me = identify(os.getpid())
    before = signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    assert not catches(me, signal.SIGUSR2)
    signal.signal(signal.SIGUSR2, lambda *_: None)
    assert catches(me, signal.SIGUSR2)
    signal.signal(signal.SIGUSR2, before)


def test_no_secret_reaches_a_child() -> None:
    given = {
        "PATH": "/bin",
        "JAX_PLATFORMS": "cpu",
        "HF_TOKEN": "hf_x",
        "KAGGLE_KEY": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "GEMMA_KERAS_TUNE_DATABASE__URL": "postgresql://u:p@h/d",
        "GEMMA_KERAS_TUNE_HOME": "/root-of-data",
    }
    kept = clean_environment({"CUDA_VISIBLE_DEVICES": "1"}, given)
    assert kept == {
        "PATH": "/bin",
        "JAX_PLATFORMS": "cpu",
        "GEMMA_KERAS_TUNE_HOME": "/root-of-data",
        "CUDA_VISIBLE_DEVICES": "1",
    }


@pytest.mark.parametrize(
    ("names", "variables", "expected"),
    [
        ((), {}, ("cpu:0",)),
        (("nvidia0", "nvidia1", "nvidia10", "nvidiactl"), {}, ("gpu:0", "gpu:1", "gpu:10")),
        (("nvidia0", "nvidia1"), {"CUDA_VISIBLE_DEVICES": "1"}, ("gpu:1",)),
        (("nvidia0",), {"CUDA_VISIBLE_DEVICES": ""}, ("cpu:0",)),
        (("nvidia0",), {"JAX_PLATFORMS": "cpu"}, ("cpu:0",)),
        (("accel0", "accel1", "accel2", "accel3"), {}, ("tpu:0",)),
        (("vfio/0", "vfio/vfio"), {}, ("tpu:0",)),
        (("vfio/vfio",), {}, ("cpu:0",)),
    ],
)
def test_devices_are_found_by_what_the_system_shows(
    tmp_path: Path, names: tuple[str, ...], variables: dict[str, str], expected: tuple[str, ...]
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_devices(dev=tmp_path, environment=variables) == expected


def test_slots_keep_a_job_to_its_device() -> None:
    assert make_slots(("gpu:0", "gpu:1"), light=1)["device"] == ("gpu:0", "gpu:1")
    assert make_slots(("gpu:0", "gpu:1"), at_once=1)["device"] == ("gpu:0",)
    assert make_slots(("gpu:0",), at_once=4)["device"] == ("gpu:0",)  # never shared
    assert make_slots(("cpu:0",), at_once=2)["device"] == ("cpu:0", "cpu:1")
    assert make_slots(("cpu:0",), light=3)["light"] == ("light:0", "light:1", "light:2")
    assert environment_for(("gpu:3",)) == {"CUDA_VISIBLE_DEVICES": "3"}
    assert environment_for(("cpu:0",)) == {"JAX_PLATFORMS": "cpu"}
    assert environment_for(("light:0",)) == environment_for(()) == {}, "a plan is for the device"
    assert environment_for(("tpu:0",)) == {}


def test_kills_for_memory_are_counted_in_the_own_group(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/app").mkdir(parents=True)
    (tmp_path / "proc/vmstat").write_text("nr_free_pages 1\noom_kill 7\n")
    assert oom_kills(tmp_path) == 7
    (tmp_path / "proc/self/cgroup").write_text("0::/app\n")
    assert oom_kills(tmp_path) == 7
    events = tmp_path / "sys/fs/cgroup/app/memory.events"
    events.write_text("low 0\nhigh 0\nmax 3\noom 3\noom_kill 2\n")
    assert oom_kills(tmp_path) == 2
    assert oom_kills(tmp_path / "nowhere") == 0


def test_kills_for_memory_are_counted_by_the_older_groups_too(tmp_path: Path) -> None:
    group = tmp_path / "sys/fs/cgroup/memory/box"
    for folder in (tmp_path / "proc/self", group):
        folder.mkdir(parents=True)
    (tmp_path / "proc/vmstat").write_text("oom_kill 7\n")  # a neighbour's: not ours
    (tmp_path / "proc/self/cgroup").write_text("5:cpu:/box\n4:memory:/box\n0::/\n")
    counters = "oom_kill_disable 0\nunder_oom 0\n"
    (group / "memory.oom_control").write_text(counters)  # of a kernel that doesn't count there
    assert oom_kills(tmp_path) == 7
    (group / "memory.oom_control").write_text(f"{counters}oom_kill 3\n")
    assert oom_kills(tmp_path) == 3
    (group / "memory.oom_control").rename(group.parent / "memory.oom_control")
    assert oom_kills(tmp_path) == 3

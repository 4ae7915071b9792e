"""What is free, with and without a container's limit."""

from pathlib import Path

import psutil
import pytest

from gemma_keras_tune.planning.room import likely_platform, machine_room


def group(folder: Path, *, limit: object, used: int, cached: int, names: tuple[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\n")


V2 = ("memory.max", "memory.current")
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


@pytest.fixture
def proc(tmp_path) -> Path:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    return tmp_path / "proc"


def own() -> int:
    return psutil.Process().memory_info().rss


def test_without_a_limit_it_is_what_the_system_has(proc, tmp_path):
    (proc / "self" / "cgroup").write_text("0::/\n")
    found = machine_room(proc=proc, groups=tmp_path / "groups")
    assert found.source == "the system"
    assert found.total_bytes == psutil.virtual_memory().total
    assert found.free_bytes is not None and found.free_bytes <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("line", "place", "names"),
    [
        ("0::/box/inner\n", "box/inner", V2),
        ("0::/box/inner\n", "box", V2),  # the limit of a group above counts as well
        ("7:memory:/box\n3:cpu:/box\n", "memory/box", V1),
    ],
)
def test_a_containers_limit_counts_without_cached_files(proc, tmp_path, line, place, names):
    groups = tmp_path / "groups"
    (proc / "self" / "cgroup").write_text(line)
    group(groups / place, limit=1_000_000_000, used=700_000_000, cached=200_000_000, names=names)
    found = machine_room(proc=proc, groups=groups)
    assert found.source == "the container's limit"
    assert found.total_bytes == 1_000_000_000
    assert found.free_bytes is not None
    assert abs(found.free_bytes - (500_000_000 + own())) < 20_000_000  # this process moves a little


@pytest.mark.parametrize("limit", ["max", 2**63 - 4096])
def test_a_group_without_a_limit_is_none(proc, tmp_path, limit):
    (proc / "self" / "cgroup").write_text("0::/box\n")
    group(tmp_path / "groups" / "box", limit=limit, used=7, cached=0, names=V2)
    assert machine_room(proc=proc, groups=tmp_path / "groups").source == "the system"


def test_the_wished_platform_is_believed_where_jax_is_not_loaded(monkeypatch):
    import sys

    monkeypatch.delitem(sys.modules, "jax", raising=False)
    for wish, platform in {"cuda,cpu": "gpu", "tpu": "tpu", "cpu": "cpu"}.items():
        monkeypatch.setenv("JAX_PLATFORMS", wish)
        assert likely_platform() == platform

"""Writes that are whole or not there: every system call is made to fail in turn."""

from __future__ import annotations

import errno
import hashlib
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gemma_keras_tune import durable
from tests.support.faulty_disk import FaultyDisk, names_in


def test_a_file_is_the_old_one_or_the_new_one_whichever_call_fails(tmp_path, monkeypatch):
    path = tmp_path / "file.txt"
    failures = 0
    for fail_at in itertools.count(1):
        path.write_text("old")
        with monkeypatch.context() as patch:
            disk = FaultyDisk(fail_at=fail_at).install(patch)
            try:
                durable.atomic_write_text(path, "new")
            except OSError as error:
                assert error.errno == errno.ENOSPC
                failures += 1
        assert names_in(tmp_path) == {"file.txt"}, f"litter after call {fail_at} failed"
        assert path.read_text() in ("old", "new")
        if disk.calls < fail_at:
            break
    # open, write, fsync, rename, open the folder, fsync the folder
    assert failures == 6
    assert path.read_text() == "new"


def test_bytes_are_flushed_before_the_rename_and_the_name_after_it(tmp_path, monkeypatch):
    disk = FaultyDisk().install(monkeypatch)
    durable.atomic_write_bytes(tmp_path / "file", b"data")
    kinds = [entry[0] for entry in disk.log]
    assert kinds == ["fsync", "rename", "fsync"]
    assert disk.log[0][1] == disk.log[1][1], "what was flushed is what was renamed"
    assert disk.log[2][1] == str(tmp_path)


def test_a_write_that_takes_a_part_is_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "_write", lambda handle, data: os.write(handle, bytes(data)[:3]))
    durable.atomic_write_bytes(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_json_with_a_nan_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "file.json"
    durable.atomic_write_json(path, {"loss": 1.5})
    with pytest.raises(ValueError):
        durable.atomic_write_json(path, {"loss": float("nan")})
    assert path.read_text() == '{\n  "loss": 1.5\n}\n'


def test_a_new_file_has_the_rights_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        durable.atomic_write_text(tmp_path / "file", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_new_folder_appears_whole_or_not_at_all_whichever_call_fails(tmp_path, monkeypatch):
    for fail_at in itertools.count(1):
        target = tmp_path / str(fail_at) / "artifact"
        with monkeypatch.context() as patch:
            disk = FaultyDisk(fail_at=fail_at).install(patch)
            try:
                _make(target)
            except OSError:
                pass
        assert names_in(target.parent) <= {"artifact"}, f"litter after call {fail_at} failed"
        if target.exists():
            assert names_in(target) == {"a", "deeper"}
        if disk.calls < fail_at:
            break
    assert fail_at > 5
    assert (target / "deeper" / "b").read_text() == "b"


def test_a_folder_is_replaced_whole_or_stays_whichever_call_fails(tmp_path, monkeypatch):
    outcomes = set()
    for fail_at in itertools.count(1):
        target = tmp_path / str(fail_at) / "artifact"
        target.mkdir(parents=True)
        (target / "old").write_text("old")
        with monkeypatch.context() as patch:
            disk = FaultyDisk(fail_at=fail_at).install(patch)
            try:
                _make(target, replace=True)
            except OSError:
                pass
        outcomes.add(frozenset(names_in(target)))
        if disk.calls < fail_at:
            break
    assert outcomes == {frozenset({"old"}), frozenset({"a", "deeper"})}
    assert names_in(target.parent) == {"artifact"}


def test_a_folder_that_is_there_is_not_replaced_unasked(tmp_path):
    _make(tmp_path / "artifact")
    with pytest.raises(FileExistsError):
        _make(tmp_path / "artifact")


def test_an_error_in_the_body_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), durable.new_folder(tmp_path / "artifact") as folder:
        (folder / "half").write_text("x")
        raise ZeroDivisionError
    assert names_in(tmp_path) == set()


def test_all_of_a_folder_is_flushed_before_it_gets_its_name(tmp_path, monkeypatch):
    seen = []

    def check(source: Path, target: Path) -> None:
        below = [source, *source.rglob("*")]
        seen.append({str(path) for path in below} <= disk.flushed)

    disk = FaultyDisk(before_rename=check).install(monkeypatch)
    _make(tmp_path / "artifact")
    assert seen == [True]
    assert disk.log[-1] == ("fsync", str(tmp_path))


def test_a_removed_folder_never_stands_half_under_its_name(tmp_path, monkeypatch):
    folder, trash = tmp_path / "folder", tmp_path / "trash"
    _make(folder)
    monkeypatch.setattr(durable.shutil, "rmtree", lambda *a, **k: None)  # killed right there
    durable.remove_tree(folder, trash=trash)
    assert not folder.exists()
    assert len(list(trash.iterdir())) == 1


def test_a_file_system_without_folder_fsync_is_accepted_but_an_io_error_is_not(
    tmp_path, monkeypatch
):
    def fail(number):
        def fsync(handle):
            raise OSError(number, os.strerror(number))

        return fsync

    monkeypatch.setattr(durable, "_fsync", fail(errno.EINVAL))
    durable.fsync_folder(tmp_path)
    monkeypatch.setattr(durable, "_fsync", fail(errno.EIO))
    with pytest.raises(OSError):
        durable.fsync_folder(tmp_path)


def test_the_sha256_of_abc_is_the_one_of_fips_180(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert durable.sha256_file(tmp_path / "abc") == expected
    (tmp_path / "large").write_bytes(bytes(3_000_000))
    assert durable.sha256_file(tmp_path / "large") == hashlib.sha256(bytes(3_000_000)).hexdigest()


def _make(target: Path, *, replace: bool = False) -> None:
    with durable.new_folder(target, replace=replace) as folder:
        (folder / "a").write_text("a")
        (folder / "deeper").mkdir()
        (folder / "deeper" / "b").write_text("b")


KILLED = """
import os, signal, sys
from gemma_keras_tune.durable import new_folder
with new_folder(sys.argv[1]) as folder:
    (folder / "half").write_text("of a model")
    print(folder, flush=True)
    if sys.argv[2] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    target = tmp_path / "hf"
    command = [sys.executable, "-c", KILLED, str(target)]
    killed = subprocess.run([*command, "dies"], capture_output=True, text=True, timeout=60)
    left = Path(killed.stdout.strip())
    living = subprocess.Popen(
        [*command, "lives"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert living.stdout is not None
    written = Path(living.stdout.readline().strip())
    other = tmp_path / ".hf.thesis.tmp"
    other.mkdir()
    with durable.new_folder(target, replace=True):
        assert left.exists()  # a minute hasn't passed: it might be one that was just made
    for folder in (left, written, other):
        os.utime(folder, (0, 0))
    try:
        with durable.new_folder(target, replace=True) as folder:
            (folder / "whole").write_text("model")
        assert not left.exists()
        assert (written / "half").exists() and other.exists()
    finally:
        living.kill()
        living.communicate()
    assert (target / "whole").read_text() == "model"


KILLED_AT_RENAME = """
import os, signal, sys
from gemma_keras_tune import durable
real, wanted = durable._rename, int(sys.argv[2])
calls = 0
def rename(source, target):
    global calls
    real(source, target)
    calls += 1
    if calls == wanted:
        os.kill(os.getpid(), signal.SIGKILL)
durable._rename = rename
with durable.new_folder(sys.argv[1], replace=True) as folder:
    (folder / "whole").write_text("new")
"""


@pytest.mark.parametrize(("renames", "kept"), [(1, "old"), (2, "new")])
def test_a_kill_while_a_folder_is_replaced_loses_nothing_and_leaves_nothing(
    tmp_path, monkeypatch, renames, kept
):
    """After one rename there is no target, only what was set aside; after two it is there twice."""
    target = tmp_path / "hf"
    target.mkdir()
    (target / "whole").write_text("old")
    command = [sys.executable, "-c", KILLED_AT_RENAME, str(target), str(renames)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len(list(tmp_path.glob(".hf.*.old"))) == 1
    monkeypatch.setattr(durable, "_NEW_S", -1.0)  # a change of a name is when it happened
    with pytest.raises(KeyError), durable.new_folder(target, replace=True):
        raise KeyError  # the new one fails, so that what was there is seen
    assert (target / "whole").read_text() == kept
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]

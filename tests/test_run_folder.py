"""Run folders: names that can't escape, one writer at a time, and a fence against late ones."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma_keras_tune import durable, locks, writing
from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.events import EventWriter, Note
from gemma_keras_tune.run_folder import (
    RunFolder,
    current_writer,
    data_root,
    find_run,
    new_run,
    open_for_writing,
    slug,
)

HOLDER = """
import sys, time
from gemma_keras_tune.run_folder import *
from pathlib import Path
with open_for_writing(RunFolder(Path(sys.argv[1]))) as writer:
    print(writer.attempt, flush=True)
    {body}
"""


def hold(folder: RunFolder, body: str = "time.sleep(60)") -> subprocess.Popen[str]:
    """Another process that writes in `folder`; returns when it does."""
    code = HOLDER.format(body=body)
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(folder.path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline().strip().isdigit()
    return child


def made_run(root: Path, name: str) -> RunFolder:
    folder = new_run(root, name)
    folder.recipe_json.write_text("{}")
    return folder


def test_the_data_root_is_the_variable_or_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GEMMA_KERAS_TUNE_HOME", str(tmp_path))
    assert data_root() == tmp_path
    monkeypatch.delenv("GEMMA_KERAS_TUNE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert data_root() == tmp_path / "home" / ".gemma-keras-tune"


def test_ids_sort_by_the_time_of_their_making(tmp_path):
    names = ["zebra", "apple", "zebra", "mango", "apple"] * 4
    ids = [new_run(tmp_path, name).id for name in names]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


@given(st.text())
def test_no_name_of_a_person_becomes_more_than_a_plain_word(name):
    made = slug(name)
    assert 1 <= len(made) <= 40
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert not made.startswith("-")
    assert not made.endswith("-")


@pytest.mark.parametrize("name", ["../../etc/passwd", "/abs", "..", "", "a\0b", "-rf", "C:\\x"])
def test_a_hostile_name_stays_inside_the_root(tmp_path, name):
    folder = new_run(tmp_path, name)
    assert folder.path.resolve().parent == (tmp_path / "runs").resolve()


def test_a_root_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(TuneError, match="file") as caught:
        new_run(tmp_path / "file", "x")
    assert caught.value.code == "ROOT_NOT_WRITABLE"


def test_a_run_is_found_by_path_id_start_name_and_latest(tmp_path):
    first = made_run(tmp_path, "spam")
    second = made_run(tmp_path, "chat")
    assert find_run(tmp_path, str(first.path)).id == first.id
    assert find_run(tmp_path, first.id) == first
    unique_start = (
        os.path.commonprefix([first.id, second.id])
        + first.id[len(os.path.commonprefix([first.id, second.id]))]
    )
    assert find_run(tmp_path, unique_start) == first
    assert find_run(tmp_path, "spam") == first
    assert find_run(tmp_path, "latest") == second


def test_a_run_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    folder = made_run(tmp_path, "spam")
    with pytest.raises(TuneError, match=folder.id) as caught:
        find_run(tmp_path, "spum")
    assert caught.value.code == "RUN_NOT_FOUND"
    with pytest.raises(TuneError, match="holds none yet"):
        find_run(tmp_path / "empty", "spam")
    with pytest.raises(TuneError, match="no run: it has neither"):
        find_run(tmp_path, str(tmp_path))
    with pytest.raises(TuneError):
        find_run(tmp_path, "")


def test_a_start_that_several_runs_share_lists_them(tmp_path):
    folders = [made_run(tmp_path, "spam") for _ in range(2)]
    for what in (folders[0].id[:4], "spam"):
        with pytest.raises(TuneError) as caught:
            find_run(tmp_path, what)
        assert caught.value.code == "RUN_AMBIGUOUS"
        assert all(folder.id in str(caught.value) for folder in folders)


def test_a_request_of_another_person_cannot_name_a_path(tmp_path):
    folder = made_run(tmp_path / "theirs", "secret")
    (tmp_path / "mine" / "runs").mkdir(parents=True)
    for what in (str(folder.path), f"../../theirs/runs/{folder.id}", "../../theirs/runs/"):
        with pytest.raises(TuneError):
            find_run(tmp_path / "mine", what, allow_paths=False)


def test_each_opening_has_the_next_attempt_number(tmp_path):
    folder = RunFolder(tmp_path / "run")
    for expected in (1, 2, 3):
        with open_for_writing(folder) as writer:
            assert writer.attempt == expected
            assert writer.still_mine()
    assert json.loads(folder.attempt_json.read_text())["attempt"] == 3


def test_a_second_writer_is_told_who_the_first_is(tmp_path):
    folder = RunFolder(tmp_path / "run")
    child = hold(folder)
    try:
        with pytest.raises(TuneError, match=f"process {child.pid} ") as caught:
            with open_for_writing(folder):
                pytest.fail("two writers at once")
        assert caught.value.code == "RUN_LOCKED"
        found = current_writer(folder)
        assert found is not None
        assert found.pid == child.pid
        assert json.loads(folder.attempt_json.read_text())["attempt"] == 1
    finally:
        child.kill()
        child.wait()


def test_the_same_process_cannot_open_a_run_twice_either(tmp_path):
    with open_for_writing(RunFolder(tmp_path)), pytest.raises(TuneError):
        with open_for_writing(RunFolder(tmp_path)):
            pass


def test_the_lock_of_a_killed_writer_is_taken_over(tmp_path):
    folder = RunFolder(tmp_path / "run")
    child = hold(folder)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert current_writer(folder) is None, "its pid is gone"
    with open_for_writing(folder) as writer:
        assert writer.attempt == 2
    assert current_writer(folder) is None


def test_a_forked_child_does_not_keep_the_lock_of_a_dead_writer(tmp_path):
    folder = RunFolder(tmp_path / "run")
    body = "import os; pid = os.fork(); pid and print(pid, flush=True); time.sleep(60)"
    child = hold(folder, body)
    assert child.stdout is not None
    forked = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    child.wait()
    try:
        with open_for_writing(folder, wait_s=5) as writer:
            assert writer.attempt == 2
    finally:
        os.kill(forked, signal.SIGKILL)


def test_a_forked_child_that_ends_touches_neither_the_lock_nor_a_file_with_its_number(tmp_path):
    folder = RunFolder(tmp_path / "run")
    victim = tmp_path / "victim"
    victim.write_text("mine")
    body = (
        "import os; pid = os.fork()\n"
        "    if pid: os.waitpid(pid, 0); print(1, flush=True); time.sleep(60)\n"
        f"    else: kept = os.open({str(victim)!r}, os.O_RDWR)"  # gets the number of the lock
    )
    child = hold(folder, body)
    assert child.stdout is not None
    assert child.stdout.readline() == "1\n"
    try:
        assert victim.read_text() == "mine"
        found = current_writer(folder)
        assert found is not None
        assert found.pid == child.pid
        with pytest.raises(TuneError), open_for_writing(folder):
            pass
    finally:
        child.kill()
        child.wait()


def test_a_lock_on_a_file_that_was_replaced_meanwhile_is_not_believed(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    real = locks.fcntl.flock
    replaced: list[bool] = []

    def replaced_first(handle: int, how: int) -> None:
        if not replaced:
            folder.lock.unlink()
            folder.lock.touch()
            replaced.append(True)
        real(handle, how)

    monkeypatch.setattr(locks.fcntl, "flock", replaced_first)
    with open_for_writing(folder, wait_s=5):
        assert current_writer(folder) is not None, "the lock is on the file that others see"


def test_a_writer_waits_for_the_one_before_when_asked(tmp_path):
    folder = RunFolder(tmp_path / "run")
    child = hold(folder, "time.sleep(0.5)")
    before = time.monotonic()
    with open_for_writing(folder, wait_s=30) as writer:
        assert writer.attempt == 2
    assert time.monotonic() - before < 25
    child.wait()


def test_a_writer_whose_lock_file_was_removed_is_fenced_by_the_next_attempt(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with open_for_writing(folder) as late:
        folder.lock.unlink()
        with open_for_writing(folder) as newer:
            assert newer.attempt == late.attempt + 1
            assert newer.still_mine()
            assert not late.still_mine()
        assert not late.still_mine()


def test_a_writer_is_fenced_when_its_number_is_given_out_twice(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with open_for_writing(folder) as writer:
        durable.atomic_write_json(folder.attempt_json, {"attempt": 1, "token": "another"})
        assert not writer.still_mine()


def test_a_lost_or_damaged_attempt_file_does_not_start_again_from_one(tmp_path):
    folder = RunFolder(tmp_path)
    with EventWriter(folder.events, 7) as write:
        write(Note(message="x"))
    with open_for_writing(folder) as writer:
        assert writer.attempt == 8
    folder.attempt_json.write_text("{torn")
    with open_for_writing(folder) as writer:
        assert writer.attempt == 8


def test_a_process_id_that_was_used_again_is_not_taken_for_the_writer(tmp_path):
    folder = RunFolder(tmp_path)
    with open_for_writing(folder):
        claim = json.loads(folder.lock.read_text())
    for field, value in (("process_start", 1), ("boot_id", "another boot")):
        folder.lock.write_text(json.dumps(claim | {field: value}))
        assert current_writer(folder) is None
    folder.lock.write_text(json.dumps(claim | {"host": "elsewhere", "boot_id": "another boot"}))
    assert current_writer(folder) is not None, "another machine's process can't be looked at"


def test_a_full_disk_at_the_start_is_one_clear_error_and_lets_go_of_the_lock(tmp_path, monkeypatch):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writing, "atomic_write_json", full)
        with pytest.raises(TuneError) as caught, open_for_writing(RunFolder(tmp_path)):
            pass
    assert caught.value.code == "NEEDS_SPACE"
    with open_for_writing(RunFolder(tmp_path)) as writer:
        assert writer.attempt == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TuneError, match="file") as caught:
        with open_for_writing(RunFolder(tmp_path / "file" / "run")):
            pass
    assert caught.value.code == "RUN_NOT_WRITABLE"

"""The protocol that makes checkpoints durable: killed, failed and damaged at every place."""

from __future__ import annotations

import errno
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gemma_keras_tune import durable
from gemma_keras_tune.errors import CheckpointError
from gemma_keras_tune.run_folder import RunFolder, open_for_writing
from gemma_keras_tune.training import checkpoint_folder
from gemma_keras_tune.training.checkpoint_folder import CheckpointFolder, Content
from gemma_keras_tune.training.checkpoint_index import (
    Entry,
    Index,
    folder_order,
    parse_index,
    to_json,
    with_entry,
)
from gemma_keras_tune.training.checkpoint_manifest import check_folder
from tests.support.checkpoint_child import commit, open_folder, whole_and_listed
from tests.support.faulty_disk import FaultyDisk, names_in

ROOT = Path(__file__).parents[2]
CHILD = [sys.executable, "-m", "tests.support.checkpoint_child"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Checkpoints of steps 1 (the best), 2 and 3, by attempt 1."""
    folder = open_folder(tmp_path / "checkpoints", 1)
    for step in (1, 2, 3):
        commit(folder, step, best=step == 1)
    return tmp_path / "checkpoints"


def found(content: Content | None) -> Entry:
    assert content is not None
    return content.entry


def newest_step(folder: CheckpointFolder) -> int:
    return found(folder.newest()).step


def steps(directory: Path) -> list[int]:
    return [entry.step for entry in open_folder(directory, None).index().entries]


# -- what stays ------------------------------------------------------------------------------------


def test_the_newest_two_and_the_best_stay(directory):
    folder = open_folder(directory, 2)
    assert steps(directory) == [1, 2, 3]
    commit(folder, 4)
    assert steps(directory) == [1, 3, 4]
    commit(folder, 5, best=True)
    assert steps(directory) == [4, 5]
    assert found(folder.best()).step == 5
    assert names_in(directory) == {"4-2", "5-2", "index.json", ".trash"}
    assert names_in(directory / ".trash") == set()


def test_a_step_saved_again_replaces_the_one_before_and_stays_the_best(directory):
    folder = open_folder(directory, 1)
    commit(folder, 3, best=True)
    commit(folder, 3)
    assert steps(directory) == [2, 3]
    assert found(folder.newest()).name == "3-1"
    assert found(folder.best()).name == "3-1"


def test_names_sort_by_attempt_then_step_then_repetition():
    names = ["9-1", "10-1", "10-1-2", "10-1-10", "2-2"]
    assert sorted(reversed(names), key=lambda name: folder_order(name) or ()) == names
    assert folder_order("index.json") is None
    assert folder_order("5-1.old") is None


@given(
    st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.booleans()), max_size=20),
    st.integers(1, 3),
)
def test_an_index_keeps_the_newest_whole_ones_and_the_best(history, keep):
    index = Index()
    saved: dict[int, str] = {}  # step -> name, in the order of saving
    damaged: set[str] = set()
    best_step = None
    listed: list[str] = []
    for n, (step, best, then_damaged) in enumerate(history, start=1):
        name = f"{step}-{n}"
        index = with_entry(index, Entry(name=name, step=step, attempt=n), keep=keep, best=best)
        saved.pop(step, None)
        saved = {old: was for old, was in saved.items() if was in listed} | {step: name}
        best_step = step if best else best_step
        whole = [name for name in saved.values() if name not in damaged]
        listed = [entry.name for entry in index.entries]
        assert listed == [name for name in saved.values() if name in listed], "order of saving"
        assert set(whole[-keep:]) <= set(listed)
        assert len([name for name in listed if name not in damaged]) <= keep + 1
        if best_step is not None:
            assert index.best == saved[best_step]
            assert index.best in listed
        if then_damaged:
            damaged.add(name)
            entries = tuple(
                Entry(name=e.name, step=e.step, attempt=e.attempt, problem="x")
                if e.name == name
                else e
                for e in index.entries
            )
            index = Index(entries=entries, best=index.best)
        assert parse_index(json.dumps(to_json(index)).encode()) == index


@given(st.data())
def test_an_index_with_any_changed_byte_is_known_as_damaged(data):
    entry = Entry(name="100-1", step=100, attempt=1, size_bytes=5, manifest_sha256="ab")
    text = json.dumps(to_json(Index(entries=(entry,), best="100-1"))).encode()
    place = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != text[place]))
    changed = text[:place] + bytes([byte]) + text[place + 1 :]
    assert parse_index(changed) in (None, parse_index(text))
    assert parse_index(text[:place]) is None


# -- a kill ----------------------------------------------------------------------------------------


def test_dying_at_every_system_call_of_a_commit_loses_nothing(tmp_path):
    out = subprocess.run(
        [*CHILD, str(tmp_path), "every-call"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert out.returncode == 0, out.stderr
    outcomes = [json.loads(line) for line in out.stdout.splitlines()]
    assert len(outcomes) > 40
    assert [o["code"] for o in outcomes] == [137] * (len(outcomes) - 1) + [0]
    for number, outcome in enumerate(outcomes, start=1):
        assert outcome["found"]["problems"] == [], f"call {number}: listed, but not whole"
        assert outcome["found"]["steps"] in ([1, 2, 3], [1, 3, 4]), f"call {number}"
        assert outcome["found"]["newest"] in (3, 4)
        assert outcome["after"]["problems"] == []
        assert outcome["after"]["steps"] in ([1, 3, 5], [1, 4, 5])
        left = set(outcome["names"]) - {".trash"}
        assert all(folder_order(name) or name == "index.json" for name in left), left
        assert len(left) == 4, "what was never listed must be swept"
    newest = [outcome["found"]["newest"] for outcome in outcomes]
    assert newest == sorted(newest), "once committed, it stays committed"


def kill_at_random(directory: Path, times: int, seed: int) -> int:
    """Kills a saving child `times` times; returns how many commits it made in all."""
    random_delay = random.Random(seed)
    acknowledged = 0
    for attempt in range(1, times + 1):
        child = subprocess.Popen(
            [*CHILD, str(directory), str(attempt)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        said = [child.stdout.readline()]  # it runs
        time.sleep(random_delay.uniform(0, 0.12))
        child.send_signal(signal.SIGKILL)
        said += child.stdout.readlines()
        child.wait()
        acknowledged = max(int(line) for line in said if line.endswith("\n"))
        seen = whole_and_listed(directory)
        assert seen["problems"] == []
        assert seen["newest"] in (acknowledged, acknowledged + 1)
    return acknowledged


def test_kill_9_at_random_moments_never_loses_what_was_acknowledged(tmp_path):
    assert kill_at_random(tmp_path / "checkpoints", times=25, seed=0) >= 25


@pytest.mark.slow
def test_kill_9_at_random_moments_never_loses_what_was_acknowledged_over_many_kills(tmp_path):
    assert kill_at_random(tmp_path / "checkpoints", times=300, seed=1) >= 300


# -- a power cut -----------------------------------------------------------------------------------


def test_nothing_is_renamed_before_it_is_flushed_nor_relied_on_before_its_name_is(
    directory, monkeypatch
):
    """A power cut may undo whatever was not flushed: so each rename needs all before it flushed."""
    folder = open_folder(directory, 2)
    before_index = (directory / "index.json").read_text()
    order: list[str] = []

    def check(source: Path, target: Path) -> None:
        since_last_rename = list(
            itertools.takewhile(lambda entry: entry[0] != "rename", reversed(disk.log))
        )
        below = {str(source), *(str(path) for path in source.rglob("*"))}
        if ".trash" in target.parts:
            order.append("trash")
            assert (directory / "index.json").read_text() != before_index, "out of the index first"
        elif target.name == "index.json":
            order.append("index")
            assert below <= disk.flushed
        elif target.name == "4-2":
            order.append("folder")
            assert below <= disk.flushed
        if order[1:]:
            assert ("fsync", str(directory)) in since_last_rename, "the rename before is flushed"

    disk = FaultyDisk(before_rename=lambda s, t: None).install(monkeypatch)
    disk.before_rename = lambda source, target: (
        None if target.name == "manifest.json" else check(source, target)
    )
    commit(folder, 4)
    assert order == ["folder", "index", "trash"]


# -- a full disk, a failing disk -------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_whichever_call_fails_the_checkpoints_of_before_are_intact(directory, tmp_path, number):
    codes = set()
    for fail_at in itertools.count(1):
        here = tmp_path / str(fail_at)
        shutil.copytree(directory, here)
        folder = open_folder(here, 2)
        error = None
        with pytest.MonkeyPatch.context() as patch:
            disk = FaultyDisk(fail_at=fail_at, number=number).install(patch)
            try:
                commit(folder, 4)
            except CheckpointError as caught:
                error = caught
        seen = whole_and_listed(here)
        assert seen["problems"] == [], f"call {fail_at}"
        assert seen["steps"] in ([1, 2, 3], [1, 3, 4])
        assert not [name for name in names_in(here) if name.startswith(".tmp") or "json." in name]
        if error is None:
            assert seen["newest"] == 4, "a save that returns is committed"
        else:
            codes.add(error.code)
            if seen["newest"] == 3:
                assert "4-2" not in names_in(here), "its space is given back"
        commit(folder, 5)  # there is room again
        assert newest_step(folder) == 5
        shutil.rmtree(here)
        if disk.calls < fail_at:
            break
    assert fail_at > 15
    assert codes == {"NEEDS_SPACE" if number == errno.ENOSPC else "CKPT_WRITE_FAILED"}


def test_too_little_space_is_told_before_anything_is_written(directory, monkeypatch):
    free = 100_000
    monkeypatch.setattr(
        checkpoint_folder.shutil, "disk_usage", lambda path: mock.Mock(free=free), raising=True
    )
    folder = open_folder(directory, 2)
    before = names_in(directory)
    with pytest.raises(CheckpointError, match="checkpoints of before are intact") as caught:
        folder.commit(4, lambda path: pytest.fail("wrote"), manifest={}, size_bytes=66_668)
    assert caught.value.code == "NEEDS_SPACE"
    assert names_in(directory) == before
    folder.commit(4, lambda path: None, manifest={}, size_bytes=66_666)  # 1.5 x 66,666 fits


def test_an_interrupted_write_leaves_nothing(directory):
    def interrupted(path: Path) -> None:
        (path / "half").write_text("x")
        raise KeyboardInterrupt

    folder = open_folder(directory, 2)
    before = names_in(directory)
    with pytest.raises(KeyboardInterrupt):
        folder.commit(4, interrupted, manifest={}, size_bytes=1)
    assert names_in(directory) == before
    assert steps(directory) == [1, 2, 3]


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file") as caught:
        open_folder(tmp_path / "file" / "checkpoints", 1)
    assert caught.value.code == "CKPT_UNUSABLE_FOLDER"


# -- damage ----------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def add(path: Path) -> None:
    path.with_name(path.name + ".extra").write_text("x")


DAMAGE: dict[str, Callable[[Path], None]] = {
    "flipped": flip,
    "cut": cut,
    "deleted": Path.unlink,
    "extra": add,
}


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("file", ["a", "b", "deeper/c", "manifest.json"])
def test_damage_in_any_file_is_found_recorded_and_the_one_before_used(directory, file, kind):
    DAMAGE[kind](directory / "3-1" / file)
    folder = open_folder(directory, 2)
    assert newest_step(folder) == 2
    (entry,) = (e for e in open_folder(directory, None).index().entries if e.problem)
    assert entry.step == 3
    assert (file.split("/")[-1] in entry.problem) or "extra" in entry.problem
    commit(folder, 4)
    assert steps(directory) == [1, 2, 3, 4], "two whole ones stay beside the damaged"
    commit(folder, 5)
    assert steps(directory) == [1, 4, 5]


def test_a_checkpoint_whose_folder_is_gone_is_passed_over(directory):
    shutil.rmtree(directory / "3-1")
    folder = open_folder(directory, 1)
    assert newest_step(folder) == 2
    commit(folder, 3)  # takes the free name again, and is whole
    assert newest_step(folder) == 3


def test_all_damaged_is_an_error_that_says_what_is_wrong_with_each(directory):
    flip(directory / "1-1" / "a")
    cut(directory / "2-1" / "b")
    (directory / "3-1" / "deeper" / "c").unlink()
    for attempt in (None, 2):
        with pytest.raises(CheckpointError) as caught:
            open_folder(directory, attempt).newest()
        assert caught.value.code == "CKPT_ALL_CORRUPT"
        for line in ("1-1: a was changed", "2-1: b has", "3-1: deeper/c is missing"):
            assert line in str(caught.value)


def test_a_damaged_best_is_refused_and_not_replaced_by_another(directory):
    flip(directory / "1-1" / "a")
    for attempt in (None, 2, 3):
        with pytest.raises(CheckpointError, match="step 1") as caught:
            open_folder(directory, attempt).best()
        assert caught.value.code == "CKPT_BEST_CORRUPT"


def test_no_checkpoint_at_all_is_none(tmp_path):
    assert open_folder(tmp_path / "none", None).newest() is None
    assert open_folder(tmp_path / "none", None).best() is None
    assert not (tmp_path / "none").exists(), "a reader makes nothing"
    assert open_folder(tmp_path / "some", 1).newest() is None


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_lost_index_is_made_anew_from_what_verifies(directory, damage):
    flip(directory / "3-1" / "a")
    damage(directory / "index.json")
    for attempt in (None, 2):
        folder = open_folder(directory, attempt)
        assert newest_step(folder) == 2
        assert found(folder.best()).step == 1
    assert steps(directory) == [1, 2, 3]
    assert parse_index((directory / "index.json").read_bytes()) is not None


def test_a_lost_index_over_damaged_checkpoints_is_no_fresh_start(directory):
    for name in ("1-1", "2-1", "3-1"):
        flip(directory / name / "a")
    (directory / "index.json").unlink()
    with pytest.raises(CheckpointError) as caught:
        open_folder(directory, 2).newest()
    assert caught.value.code == "CKPT_ALL_CORRUPT"


def test_a_reader_changes_nothing(directory):
    flip(directory / "3-1" / "a")
    (directory / ".tmp-4-1").mkdir()
    before = {path: path.stat().st_mtime_ns for path in directory.rglob("*")}
    assert newest_step(open_folder(directory, None)) == 2
    assert {path: path.stat().st_mtime_ns for path in directory.rglob("*")} == before
    with pytest.raises(ValueError):
        commit(open_folder(directory, None), 4)


def test_a_checkpoint_rotated_away_under_a_reader_is_not_called_damaged(directory):
    reader = open_folder(directory, None)
    writer = open_folder(directory, 2)
    real = check_folder
    saved: list[int] = []

    def rotated_meanwhile(folder, sha256):
        if not saved:
            saved.extend([4, 5])
            for step in saved:
                commit(writer, step)
        return real(folder, sha256)

    with mock.patch.object(checkpoint_folder, "check_folder", rotated_meanwhile):
        assert newest_step(reader) == 5
    assert not [entry for entry in reader.index().entries if entry.problem]


def test_damage_found_on_a_full_disk_is_still_passed_over(directory, monkeypatch):
    flip(directory / "3-1" / "a")
    folder = open_folder(directory, 2)
    FaultyDisk(fail_at=2).install(monkeypatch)
    assert newest_step(folder) == 2


# -- the fence -------------------------------------------------------------------------------------


def test_a_late_writer_cannot_commit(tmp_path):
    run = RunFolder(tmp_path / "run")
    with open_for_writing(run) as late:
        old = open_folder(run.checkpoints, late.attempt, still_mine=late.still_mine)
        commit(old, 1)
        run.lock.unlink()
        with open_for_writing(run) as newer:
            new = open_folder(run.checkpoints, newer.attempt, still_mine=newer.still_mine)
            with pytest.raises(CheckpointError) as caught:
                commit(old, 2)
            assert caught.value.code == "CKPT_FENCED"
            commit(new, 2)
            assert [e.name for e in new.index().entries] == ["1-1", "2-2"]
            flip(run.checkpoints / "2-2" / "a")
            before = (run.checkpoints / "index.json").read_bytes()
            assert newest_step(old) == 1
            assert (run.checkpoints / "index.json").read_bytes() == before, "not even a mark"
            with pytest.raises(CheckpointError):
                open_folder(run.checkpoints, late.attempt, still_mine=late.still_mine)


def test_a_writer_that_is_fenced_in_the_middle_of_a_save_takes_it_back(directory):
    mine = iter([True, True, False])  # at the sweep, at the start of the save, before the index
    folder = open_folder(directory, 1, still_mine=lambda: next(mine))
    before = (directory / "index.json").read_bytes()
    with pytest.raises(CheckpointError) as caught:
        commit(folder, 4)
    assert caught.value.code == "CKPT_FENCED"
    assert (directory / "index.json").read_bytes() == before
    assert names_in(directory) == {"1-1", "2-1", "3-1", "index.json"}


def test_the_next_attempt_sweeps_what_a_killed_one_left_and_nothing_else(directory):
    (directory / ".tmp-4-1").mkdir()
    (directory / ".tmp-4-1" / "a").write_text("half")
    (directory / ".trash" / "0-1.ab").mkdir(parents=True)
    (directory / ".index.json.0123.tmp").write_text("half")
    shutil.copytree(directory / "3-1", directory / "4-1")  # renamed, but never listed
    (directory / "notes of a person").write_text("mine")
    open_folder(directory, 2)
    assert names_in(directory) == {"1-1", "2-1", "3-1", "index.json", "notes of a person"}


# -- any order of all of these ---------------------------------------------------------------------


class AnyHistory(RuleBasedStateMachine):
    """Saves, failures, damage and new attempts in any order; the model is a list of what holds."""

    def __init__(self) -> None:
        super().__init__()
        self.base = tempfile.TemporaryDirectory()
        self.directory = Path(self.base.name) / "checkpoints"
        self.patch = mock.patch.object(durable, "_fsync", lambda handle: None)
        self.patch.start()
        self.attempt = 1
        self.step = 0
        self.committed: list[int] = []  # steps, in order
        self.damaged: set[int] = set()
        self.folder = open_folder(self.directory, self.attempt)

    def teardown(self) -> None:
        self.patch.stop()
        self.base.cleanup()

    @rule(best=st.booleans())
    def save(self, best: bool) -> None:
        self.step += 1
        commit(self.folder, self.step, best=best)
        self.committed.append(self.step)

    @rule(fail_at=st.integers(1, 25))
    def save_on_a_full_disk(self, fail_at: int) -> None:
        self.step += 1
        with pytest.MonkeyPatch.context() as patch:
            FaultyDisk(fail_at=fail_at).install(patch)
            try:
                commit(self.folder, self.step)
            except CheckpointError:
                pass
        if self.step in steps(self.directory):
            self.committed.append(self.step)

    @precondition(lambda self: self.committed)
    @rule(age=st.integers(0, 3), kind=st.sampled_from(sorted(DAMAGE)))
    def damage(self, age: int, kind: str) -> None:
        listed = steps(self.directory)
        step = listed[-1 - min(age, len(listed) - 1)]
        entry = next(e for e in self.folder.index().entries if e.step == step)
        if step not in self.damaged:
            DAMAGE[kind](self.directory / entry.name / "b")
            self.damaged.add(step)

    @rule()
    def start_again(self) -> None:
        self.attempt += 1
        self.folder = open_folder(self.directory, self.attempt)

    @precondition(lambda self: self.committed)
    @rule()
    def lose_the_index(self) -> None:
        (self.directory / "index.json").write_text("{")

    @invariant()
    def the_newest_whole_one_is_found(self) -> None:
        listed = steps(self.directory)
        whole = [step for step in self.committed if step in listed and step not in self.damaged]
        assert self.committed[-1:] == listed[-1:], "the last commit is always listed"
        if not self.committed:
            assert self.folder.newest() is None
        elif not whole:
            with pytest.raises(CheckpointError):
                self.folder.newest()
        else:
            assert newest_step(self.folder) == whole[-1]

    @invariant()
    def enough_are_kept(self) -> None:
        listed = steps(self.directory)
        assert {step for step in self.committed[-2:] if step not in self.damaged} <= set(listed)
        assert len([step for step in listed if step not in self.damaged]) <= 3


AnyHistory.TestCase.settings = settings(
    max_examples=int(os.environ.get("GKT_HISTORIES", "25")), stateful_step_count=12, deadline=None
)
test_any_history_leaves_the_newest_whole_checkpoint = AnyHistory.TestCase

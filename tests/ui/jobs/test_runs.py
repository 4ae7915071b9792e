"""The list of runs, kept like the folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from gemma_keras_tune import locks
from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.events import EventWriter, Note, RunEnded, RunStarted, Step
from gemma_keras_tune.run_folder import RunFolder, new_run
from gemma_keras_tune_ui.jobs.queue import Queue
from gemma_keras_tune_ui.jobs.runs import Runs
from gemma_keras_tune_ui.jobs.tail import Line, Tail
from gemma_keras_tune_ui.store.engine import Store
from gemma_keras_tune_ui.store.tables import runs
from tests.support.queue_jobs import fake_train, put


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def mirror(store: Store, root: Path) -> Runs:
    return Runs(store, root)


def step(number: int, loss: float = 1.5) -> Step:
    return Step(
        step=number, total_steps=10, epoch=0.1, loss=loss, tokens=9, answer_tokens=3,
        learning_rate=1e-4, grad_norm=1.0, seconds=0.1, tokens_per_s=90.0,
    )  # fmt: skip


def write(folder: RunFolder, *events: Any, attempt: int = 1) -> None:
    folder.path.mkdir(parents=True, exist_ok=True)
    with EventWriter(folder.events, attempt) as writer:
        for event in events:
            writer(event)


async def rows(store: Store) -> dict[str, Any]:
    async with store.begin() as connection:
        found = (await connection.execute(select(runs))).mappings().all()
    return {row["id"]: row for row in found if row["deleted_at"] is None}


async def row_of(store: Store, folder: RunFolder) -> Any:
    return (await rows(store))[folder.id]


async def test_a_run_from_a_terminal_appears_and_follows_its_events(
    store: Store, root: Path, mirror: Runs
) -> None:
    assert await mirror.sweep() == 0
    folder = new_run(root, "Spam")
    assert await mirror.sweep() == 0  # a folder alone is no run yet
    folder.recipe_json.write_text(json.dumps({"name": "spam-classifier"}))
    assert await mirror.sweep() == 1
    row = await row_of(store, folder)
    assert (row["name"], row["state"], row["workspace_id"]) == ("spam-classifier", "new", "w1")
    assert row["user_id"] is None
    handle = locks.take(folder.lock)
    locks.describe(handle)
    write(folder, RunStarted(), step(1, 2.5), step(2, 2.25))
    await mirror.sweep()
    row = await row_of(store, folder)
    assert (row["state"], row["step"], row["total_steps"]) == ("running", 2, 10)
    assert (row["loss"], row["seen_seq"]) == (2.25, 3)
    assert row["size"] >= folder.events.stat().st_size > 0
    assert await mirror.sweep() == 0  # nothing new, nothing written
    write(folder, RunEnded(status="done", step=2))
    locks.release(handle)
    await mirror.sweep()
    assert (await row_of(store, folder))["state"] == "done"


async def test_what_the_tuned_model_was_measured_to_be_is_in_its_row(
    store: Store, root: Path, mirror: Runs
) -> None:
    folder = new_run(root, "x")
    write(folder, RunStarted(), step(1), RunEnded(status="done", step=1))
    await mirror.sweep()
    row = await row_of(store, folder)
    assert (row["measured_loss"], row["accuracy"]) == (None, None)
    for text, found in (
        ('{"tuned": {"loss": 0.5, "accuracy": 0.9}}', (0.5, 0.9)),
        ('{"tuned": {"loss": 0.25}}', (0.25, None)),
        ('{"tuned": {"loss": 0.', (None, None)),
    ):
        folder.report_json.write_text(text)
        await mirror.sweep(all_of_them=True)
        row = await row_of(store, folder)
        assert (row["measured_loss"], row["accuracy"]) == found


async def test_a_run_whose_process_is_gone_is_not_shown_as_running(
    store: Store, root: Path, mirror: Runs
) -> None:
    folder = new_run(root, "x")
    write(folder, RunStarted(), step(1))
    await mirror.sweep()
    assert (await row_of(store, folder))["state"] == "died"


async def test_torn_lines_and_a_loss_that_is_no_number_are_survived(
    store: Store, root: Path, mirror: Runs
) -> None:
    folder = new_run(root, "x")
    write(folder, RunStarted(), step(1), step(2, float("nan")))
    with folder.events.open("ab") as file:
        file.write(b'{"seq": 4, "attempt": 1, "kind": "st')
    await mirror.sweep()
    row = await row_of(store, folder)
    assert (row["step"], row["loss"], row["seen_seq"]) == (2, None, 3)
    write(folder, step(3, 0.5))  # on a line of its own, after the torn one
    await mirror.sweep(all_of_them=True)
    row = await row_of(store, folder)
    assert (row["step"], row["loss"], row["seen_seq"]) == (3, 0.5, 4)


async def test_a_line_that_is_still_on_its_way_is_read_when_it_is_whole(
    store: Store, root: Path, mirror: Runs
) -> None:
    folder = new_run(root, "x")
    write(folder, RunStarted(), step(1))
    await mirror.sweep()
    line = json.dumps({"seq": 3, "attempt": 1, "kind": "step", "step": 2, "total_steps": 10})
    with folder.events.open("a") as file:
        file.write(line[:20])
    await mirror.sweep(all_of_them=True)
    assert (await row_of(store, folder))["step"] == 1
    with folder.events.open("a") as file:
        file.write(line[20:] + "\n")
    await mirror.sweep(all_of_them=True)
    assert (await row_of(store, folder))["step"] == 2


async def test_a_new_server_reads_on_where_the_table_stands(
    store: Store, root: Path, mirror: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_run(root, "x")
    write(folder, RunStarted(), step(1), RunEnded(status="stopped", step=1))
    await mirror.sweep()
    reads: list[Path] = []
    real = Tail.read

    def counted(self: Tail) -> list[Line]:
        reads.append(self.path)
        return real(self)

    monkeypatch.setattr(Tail, "read", counted)
    second = Runs(store, root)
    assert await second.sweep() == 0
    assert reads == []  # its last line says that nothing was added
    write(folder, RunStarted(resumed_from=1), step(2), attempt=2)
    third = Runs(store, root)
    await third.sweep()
    row = await row_of(store, folder)
    assert (row["step"], row["state"], row["seen_seq"]) == (2, "died", 5)
    assert reads


async def test_a_run_that_a_job_makes_belongs_to_who_asked_for_it(
    store: Store, root: Path, mirror: Runs
) -> None:
    await put(Queue(store), fake_train("steps=1", "made-by-bob"), user="bob")
    folder = RunFolder(root / "runs" / "made-by-bob")
    write(folder, RunStarted())
    await mirror.sweep()
    row = await row_of(store, folder)
    assert (row["user_id"], row["workspace_id"]) == ("bob", "w1")


async def test_a_folder_that_vanishes_is_missing_until_it_is_back(
    store: Store, root: Path, mirror: Runs
) -> None:
    folder = new_run(root, "x")
    write(folder, RunStarted(), RunEnded(status="done"))
    await mirror.sweep()
    away = folder.path.rename(root / "away")
    await mirror.sweep()
    assert (await row_of(store, folder))["state"] == "missing"
    away.rename(folder.path)
    await mirror.sweep()
    assert (await row_of(store, folder))["state"] == "done"
    folder.path.rename(root / "away")
    await Runs(store, root).sweep()  # it vanished while no server ran
    assert (await row_of(store, folder))["state"] == "missing"


async def test_only_adopted_folders_from_elsewhere_are_listed(
    store: Store, root: Path, mirror: Runs, tmp_path: Path
) -> None:
    outside = RunFolder(tmp_path / "other place" / "my run")
    write(outside, RunStarted(), step(4), RunEnded(status="done", step=4))
    (root / "runs").mkdir(parents=True)
    (root / "runs" / "sneaked-in").symlink_to(outside.path)
    await mirror.sweep()
    assert await rows(store) == {}
    run_id = await mirror.adopt(outside.path, workspace_id="w1", user_id="ann")
    assert run_id == "my-run"
    assert (await rows(store))[run_id]["step"] == 4
    write(outside, RunStarted(), step(5), attempt=2)
    await mirror.sweep()
    listed = await rows(store)
    assert set(listed) == {"my-run"}
    assert listed[run_id]["step"] == 5
    for path, code in (
        (outside.path, "ADOPT_TWICE"),
        (root / "runs" / run_id, "ADOPT_TWICE"),
        (tmp_path, "ADOPT_NO_RUN"),
        (Path("relative"), "ADOPT_NO_RUN"),
    ):
        with pytest.raises(TuneError) as caught:
            await mirror.adopt(path, workspace_id="w1", user_id="ann")
        assert caught.value.code == code
    assert await mirror.delete(run_id, workspace_id="w1")
    assert outside.events.exists()  # only the link is ours
    await mirror.sweep()
    assert await rows(store) == {}


async def test_a_run_is_deleted_only_while_nobody_works_on_it(
    store: Store, root: Path, mirror: Runs
) -> None:
    folder = new_run(root, "x")
    write(folder, RunStarted())
    await mirror.sweep()
    assert not await mirror.delete(folder.id, workspace_id="w2")
    handle = locks.take(folder.lock)
    with pytest.raises(TuneError) as caught:
        await mirror.delete(folder.id, workspace_id="w1")
    assert caught.value.code == "RUN_LOCKED"
    assert folder.id in await rows(store)
    locks.release(handle)
    queue = Queue(store)
    job = await put(queue, fake_train("steps=1", folder.id))
    with pytest.raises(TuneError) as caught:
        await mirror.delete(folder.id, workspace_id="w1")
    assert caught.value.code == "RUN_IN_USE"
    await queue.ask(job.id, "cancel")
    assert await mirror.delete(folder.id, workspace_id="w1")
    assert not folder.path.exists()
    assert not any((root / "runs" / ".trash").iterdir())
    await mirror.sweep()
    assert await rows(store) == {}
    assert not await mirror.delete(folder.id, workspace_id="w1")


async def test_names_that_are_no_ids_are_left_alone(store: Store, root: Path, mirror: Runs) -> None:
    for name in (".hidden", "with space", "x" * 121, "ünï"):
        write(RunFolder(root / "runs" / name), RunStarted())
    (root / "runs" / "a-file").write_text("")
    await mirror.sweep()
    assert await rows(store) == {}


async def test_a_row_that_was_made_before_the_folder_keeps_its_owner(
    store: Store, root: Path, mirror: Runs
) -> None:
    folder = new_run(root, "x")
    write(folder, RunStarted(), Note(message="hello"))
    await mirror.sweep()
    async with store.begin() as connection:
        await connection.execute(update(runs).values(user_id="ann", tags=["good"]))
    write(folder, step(1))
    await mirror.sweep(all_of_them=True)
    row = await row_of(store, folder)
    assert (row["user_id"], row["tags"], row["step"]) == ("ann", ["good"], 1)


async def test_what_could_not_be_written_is_written_by_the_next_sweep(
    store: Store, root: Path, mirror: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = new_run(root, "x")
    write(folder, RunStarted(), RunEnded(status="done"))

    async def locked(*_: Any) -> int:
        raise OSError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(mirror, "_upsert", locked)
        with pytest.raises(OSError, match="locked"):
            await mirror.sweep()
    await mirror.sweep()
    assert (await row_of(store, folder))["state"] == "done"

"""The supervisor with real processes that compute nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from gemma_keras_tune_ui.jobs.clock import Moment
from gemma_keras_tune_ui.jobs.job import Job, Work
from gemma_keras_tune_ui.jobs.processes import Identity, identify
from gemma_keras_tune_ui.jobs.queue import Queue
from gemma_keras_tune_ui.jobs.supervisor import Supervisor
from gemma_keras_tune_ui.jobs.watch import Patience
from gemma_keras_tune_ui.store.engine import Store
from tests.support.databases import add_people, quick_sqlite
from tests.support.queue_jobs import (
    HASTY,
    ONE_OF_EACH,
    done_by,
    fake_data,
    fake_train,
    ledger,
    new_supervisor,
    put,
    reach,
    until,
)


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Store]:
    store = await quick_sqlite(tmp_path)
    await add_people(store)
    yield store
    await store.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def has_begun(root: Path, job: Job) -> bool:
    return "step 1" in done_by(root, job)


@asynccontextmanager
async def running(store: Store, root: Path, **changes: Any) -> AsyncIterator[Supervisor]:
    supervisor = new_supervisor(store, root, **changes)
    await supervisor.start()
    try:
        yield supervisor
    finally:
        await supervisor.stop()


async def test_jobs_are_done_in_folders_of_their_own(sqlite: Store, root: Path) -> None:
    async with running(sqlite, root) as supervisor:
        queue = supervisor.queue
        train = await put(queue, fake_train("steps=3"))
        data = await put(queue, fake_data("steps=2"))
        failing = await put(queue, fake_data("steps=1,fail"))
        ended = await reach(queue, train, "done")
        assert (await reach(queue, data, "done")).code is None
        assert (await reach(queue, failing, "failed")).code == "MADE_UP"
    assert done_by(root, train) == ["start", "step 1", "step 2", "step 3", "end"]
    assert ended.progress == 3
    assert ended.slots == ()
    assert json.loads((root / "jobs" / train.id / "job.json").read_text())["run"] == "run-1"


async def test_a_job_that_makes_no_sense_fails_with_what_is_wrong(
    sqlite: Store, root: Path
) -> None:
    async with running(sqlite, root) as supervisor:
        job = await put(supervisor.queue, Work(kind="train", run="../x", args={"recipe": {}}))
        ended = await reach(supervisor.queue, job, "failed")
    assert ended.code == "JOB_INVALID"
    assert "run" in (ended.message or "")
    assert not (root / "jobs" / job.id).exists()


async def test_a_device_is_used_by_one_child_at_a_time(sqlite: Store, root: Path) -> None:
    jobs, most = [], 0
    async with running(sqlite, root) as supervisor:
        for number in range(4):
            work = fake_train("steps=4,pause=0.02", f"run-{number}")
            jobs.append(await put(supervisor.queue, work))
        while not all("end" in done_by(root, job) for job in jobs):
            seen = [done_by(root, job) for job in jobs]
            most = max(most, sum(bool(done) and "end" not in done for done in seen))
            await asyncio.sleep(0.01)
    assert most == 1


async def test_a_killed_child_is_started_again_and_goes_on(sqlite: Store, root: Path) -> None:
    async with running(sqlite, root) as supervisor:
        job = await put(supervisor.queue, fake_train("steps=30,pause=0.02"))
        await until(lambda: "step 3" in done_by(root, job))
        os.kill(int(ledger(root, job)[0].split()[1]), signal.SIGKILL)
        ended = await reach(supervisor.queue, job, "done")
    steps = [what for what in done_by(root, job) if what.startswith("step")]
    assert sorted(set(steps), key=lambda what: int(what[5:])) == [f"step {n}" for n in range(1, 31)]
    assert len(steps) <= 31  # at most the step that was being recorded twice
    assert done_by(root, job).count("end") == 1
    assert ended.fence == 2
    assert ended.deaths <= 1


async def test_a_child_that_always_dies_ends_in_quarantine(sqlite: Store, root: Path) -> None:
    """Case 44."""
    async with running(sqlite, root) as supervisor:
        job = await put(supervisor.queue, fake_train("die=1"))
        ended = await reach(supervisor.queue, job, "quarantined")
    assert done_by(root, job) == ["start"] * 3
    assert ended.code == "DIED"
    assert "signal 9" in (ended.message or "")


async def test_a_result_of_before_is_not_taken_for_this_ones(sqlite: Store, root: Path) -> None:
    queue = Queue(sqlite)
    job = await put(queue, fake_train("die=1"))
    folder = root / "jobs" / job.id
    folder.mkdir(parents=True)
    (folder / "result.json").write_text('{"status": "done"}')
    async with running(sqlite, root) as supervisor:
        await reach(supervisor.queue, job, "quarantined")


@pytest.mark.parametrize(("left", "is_done_again"), [
    ('{"status": "done"}', False), ('{"status": "stopped"}', True), ('{"status"', True),
])  # fmt: skip
async def test_a_job_that_ended_after_it_was_given_up_for_dead_is_not_done_twice(
    sqlite: Store, root: Path, left: str, is_done_again: bool
) -> None:
    """As when a worker is killed between a fork and the fork's taking of its lock."""
    queue = Queue(sqlite)
    job = await put(queue, fake_data("steps=2"))
    claimed = await queue.claim(ONE_OF_EACH)
    assert claimed is not None and claimed.id == job.id
    folder = root / "jobs" / job.id
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(left)
    await queue.died(claimed)
    async with running(sqlite, root) as supervisor:
        await reach(supervisor.queue, job, "done")
    assert bool(done_by(root, job)) == is_done_again


async def test_cancelling_asks_then_terminates_then_kills(sqlite: Store, root: Path) -> None:
    async with running(sqlite, root) as supervisor:
        queue = supervisor.queue
        for words, expected in (
            ("steps=1000", ["control"]),
            ("steps=1000,ignore-control", ["term"]),
            ("steps=1000,ignore-control,ignore-term", ["term", "killed"]),
        ):
            job = await put(queue, fake_train(words, f"run-{len(words)}"))
            await until(partial(has_begun, root, job))
            await queue.ask(job.id, "cancel")
            await reach(queue, job, "cancelled")
            said = done_by(root, job)
            result = root / "jobs" / job.id / "result.json"
            assert ("term" in said) == ("term" in expected)
            assert result.exists() == ("killed" not in expected)
            assert not Identity(int(ledger(root, job)[0].split()[1]), 0).is_alive()


async def test_pausing_frees_the_device_and_resuming_goes_on(sqlite: Store, root: Path) -> None:
    async with running(sqlite, root) as supervisor:
        queue = supervisor.queue
        job = await put(queue, fake_train("steps=40,pause=0.02"))
        await until(lambda: "step 2" in done_by(root, job))
        await queue.ask(job.id, "pause")
        paused = await reach(queue, job, "paused")
        assert paused.slots == () and paused.pid is None
        other = await put(queue, fake_train("steps=1", "run-2"))
        await reach(queue, other, "done")
        assert (await queue.get(job.id)).state == "paused"
        await queue.resume(job.id)
        ended = await reach(queue, job, "done")
    steps = [what for what in done_by(root, job) if what.startswith("step")]
    assert steps == [f"step {n}" for n in range(1, 41)]
    assert ended.deaths == 0


async def test_a_stop_by_control_rests_and_a_stop_by_signal_goes_on(
    sqlite: Store, root: Path
) -> None:
    """Case 39: nobody asked for a preemption, so the job goes on by itself."""
    from gemma_keras_tune.control_file import send

    async with running(sqlite, root) as supervisor:
        queue = supervisor.queue
        job = await put(queue, fake_train("steps=40,pause=0.02"))
        await until(lambda: "step 2" in done_by(root, job))
        os.kill(int(ledger(root, job)[0].split()[1]), signal.SIGTERM)
        await until(lambda: done_by(root, job).count("start") == 2)
        send(root / "runs" / "run-1" / "control.jsonl", "stop")
        await reach(queue, job, "paused")


async def test_children_outlive_the_supervisor_and_are_found_again(
    sqlite: Store, root: Path
) -> None:
    """Case 50."""
    async with running(sqlite, root) as first:
        job = await put(first.queue, fake_train("steps=60,pause=0.02"))
        await until(lambda: "step 2" in done_by(root, job))
    async with running(sqlite, root) as second:
        assert second.queue.owner != first.queue.owner
        adopted = await reach(second.queue, job, "running")
        assert adopted.pid == int(ledger(root, job)[0].split()[1])
        ended = await reach(second.queue, job, "done")
    assert done_by(root, job).count("start") == 1
    assert ended.fence == 2  # adopting is a claim, too: the first server is fenced out


async def test_what_ended_while_no_server_ran_is_recorded_as_it_ended(
    sqlite: Store, root: Path
) -> None:
    async with running(sqlite, root) as first:
        well = await put(first.queue, fake_train("steps=8,pause=0.02"))
        badly = await put(first.queue, fake_data("steps=8,pause=0.02"))
        await until(lambda: bool(done_by(root, well)) and bool(done_by(root, badly)))
    os.kill(int(ledger(root, badly)[0].split()[1]), signal.SIGKILL)
    await until(lambda: "end" in done_by(root, well))
    async with running(sqlite, root) as second:
        await reach(second.queue, well, "done")
        again = await reach(second.queue, badly, "done")
    assert done_by(root, well).count("start") == 1
    assert done_by(root, badly).count("start") == 2
    assert again.fence == 3  # claimed, looked for, claimed


async def test_after_a_reboot_no_old_process_number_is_believed(sqlite: Store, root: Path) -> None:
    """Case 46: the number of the lost child is that of a living stranger now."""
    stranger = identify(os.getpid())
    old = Queue(sqlite, owner="old", clock=lambda: Moment("boot-before", 5.0))
    job = await put(old, fake_train("steps=2"))
    held = await old.claim({"device": ("cpu:0",)})
    assert held is not None
    await old.started(held, pid=stranger.pid, process_start=stranger.start)
    async with running(sqlite, root) as supervisor:
        ended = await reach(supervisor.queue, job, "done")
    assert stranger.is_alive()
    assert ended.fence == 3  # claimed, looked for, claimed


async def test_a_job_that_was_claimed_but_never_begun_is_no_death(
    sqlite: Store, root: Path
) -> None:
    old = Queue(sqlite, owner="old")
    job = await put(old, fake_train("steps=2"))
    assert await old.claim({"device": ("cpu:0",)}) is not None
    async with running(sqlite, root) as supervisor:
        assert (await reach(supervisor.queue, job, "done")).deaths == 0


async def test_a_child_that_hangs_is_ended_and_tried_once_more(sqlite: Store, root: Path) -> None:
    """Case 43."""
    patience = Patience(look_s=0.05, beat_s=0.2, term_s=0.2, hang_s=1.0, retry_s=0.1)
    async with running(sqlite, root, patience=patience) as supervisor:
        job = await put(supervisor.queue, fake_train("steps=3,hang=2"))
        ended = await reach(supervisor.queue, job, "failed")
    assert ended.code == "HUNG"
    assert done_by(root, job) == ["start", "step 1", "usr1", "start", "usr1"]


async def test_warm_work_goes_on_when_the_server_goes(sqlite: Store, root: Path) -> None:
    async with running(sqlite, root, warm={"data": ()}) as first:
        quick = await put(first.queue, fake_data("steps=1"))
        await reach(first.queue, quick, "done")
        slow = await put(first.queue, fake_data("steps=30,pause=0.02"))
        await until(lambda: "step 1" in done_by(root, slow))
        workers = {line.split()[1] for job in (quick, slow) for line in ledger(root, job)}
        assert len(workers) == 2  # a fork each
    async with running(sqlite, root, warm={"data": ()}) as second:
        ended = await reach(second.queue, slow, "done")
    assert ended.fence == 2  # adopted
    assert done_by(root, slow).count("start") == 1


async def test_a_warm_worker_that_is_killed_costs_no_other_job(sqlite: Store, root: Path) -> None:
    async with running(sqlite, root, warm={"data": ()}) as supervisor:
        queue = supervisor.queue
        job = await put(queue, fake_data("steps=20,pause=0.02"))
        await until(lambda: "step 1" in done_by(root, job))
        worker = (await reach(queue, job, "running")).pid
        assert worker is not None
        os.kill(worker, signal.SIGKILL)
        await reach(queue, job, "done")
        assert done_by(root, job).count("start") == 1  # its fork did the job to the end
        following = await put(queue, fake_data("steps=1"))
        await reach(queue, following, "done")


async def test_a_locked_database_makes_it_wait_and_loses_no_end(
    sqlite: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(sqlite, root) as supervisor:
        job = await put(supervisor.queue, fake_train("steps=10,pause=0.02"))
        await until(lambda: "step 1" in done_by(root, job))
        real = sqlite.begin

        def locked() -> Any:
            raise OperationalError("BEGIN IMMEDIATE", {}, Exception("database is locked"))

        monkeypatch.setattr(sqlite, "begin", locked)
        await until(lambda: "end" in done_by(root, job))
        await asyncio.sleep(0.5)
        assert supervisor.is_working
        assert any("locked" in problem for problem in supervisor.problems)
        monkeypatch.setattr(sqlite, "begin", real)
        await reach(supervisor.queue, job, "done")
        await until(lambda: supervisor.problems == ())


async def test_a_full_disk_starts_nothing_and_says_so(
    sqlite: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 52."""
    from tests.support.faulty_disk import FaultyDisk

    with monkeypatch.context() as patch:
        FaultyDisk(fail_at=2).install(patch)
        async with running(sqlite, root) as supervisor:
            job = await put(supervisor.queue, fake_train("steps=1"))
            await until(lambda: bool(supervisor.problems))
            back = await reach(supervisor.queue, job, "queued")
            assert (back.code, back.deaths) == ("NEEDS_SPACE", 0)
            ended = await reach(supervisor.queue, job, "done")  # there is room again
    assert ended.code is None
    async with running(sqlite, root, reserve_bytes=1 << 60) as supervisor:
        job = await put(supervisor.queue, fake_train("steps=1", "run-2"))
        await until(lambda: any("full" in problem for problem in supervisor.problems))
        assert (await reach(supervisor.queue, job, "queued")).fence == 0


async def test_a_child_that_nobody_recorded_never_begins(sqlite: Store, root: Path) -> None:
    async with running(sqlite, root) as supervisor:
        real = supervisor.queue.started

        async def refuse(*args: Any, **kwargs: Any) -> bool:
            supervisor.queue.started = real
            return False

        supervisor.queue.started = refuse
        job = await put(supervisor.queue, fake_train("steps=1"))
        await until(lambda: supervisor.running == 0 and supervisor.queue.started is real)
        await asyncio.sleep(0.3)
        assert ledger(root, job) == []
        await reach(supervisor.queue, job, "done")  # its lease ran out
    assert HASTY.look_s < 1


@pytest.mark.slow
@pytest.mark.parametrize("warm", [{}, {"data": ()}])
async def test_the_real_work_command_does_a_data_job(
    sqlite: Store, root: Path, tmp_path: Path, warm: dict[str, tuple[str, ...]]
) -> None:
    table = tmp_path / "rows.csv"
    table.write_text("text,label\n" + "hello there,ham\nbuy now,spam\n" * 10)
    args = {"action": "columns", "path": str(table)}
    queue = Queue(sqlite, lease_s=5)
    supervisor = Supervisor(queue, root, slots=ONE_OF_EACH, warm=warm)
    await supervisor.start()
    try:
        job = await put(queue, Work(kind="data", run=None, args=args))
        ended = await reach(queue, job, "done", "failed", "quarantined", within_s=90)
    finally:
        await supervisor.stop()
    assert (ended.state, ended.code, ended.message) == ("done", None, None)
    result = json.loads((root / "jobs" / job.id / "result.json").read_text())
    assert [column["name"] for column in result["value"]["columns"]] == ["text", "label"]


async def test_a_child_gets_the_credentials_of_its_job_and_none_of_the_server(
    sqlite: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "of-the-server")
    monkeypatch.setenv("KAGGLE_KEY", "of-the-server")

    async def credentials_of(job: Job) -> dict[str, str]:
        return {"HF_TOKEN": f"of-{job.workspace_id}"}

    async with running(sqlite, root, credentials_of=credentials_of) as supervisor:
        job = await put(supervisor.queue, fake_train("steps=1,environment"))
        await reach(supervisor.queue, job, "done")
    folder = root / "jobs" / job.id
    given = dict(
        line.partition("=")[::2] for line in (folder / "environment.txt").read_text().splitlines()
    )
    assert given["HF_TOKEN"] == "of-w1"
    assert "KAGGLE_KEY" not in given
    others = [path for path in folder.iterdir() if path.name != "environment.txt"]
    assert not [path for path in others if b"of-w1" in path.read_bytes()]

"""The queue's rules, one by one, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import insert

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.jobs.clock import Moment
from gemma_keras_tune_ui.jobs.job import Job, Work
from gemma_keras_tune_ui.jobs.queue import Queue
from gemma_keras_tune_ui.jobs.quotas import Limits
from gemma_keras_tune_ui.store.engine import Store
from gemma_keras_tune_ui.store.tables import quotas, runs
from tests.support.databases import NOW

ONE_DEVICE = {"light": ("light:0", "light:1"), "device": ("gpu:0",)}
MANY = {"device": ("gpu:0", "gpu:1", "gpu:2", "gpu:3"), "light": ("light:0",)}


class TestClock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.boot, self.seconds = "boot-1", 1000.0

    def __call__(self) -> Moment:
        return Moment(self.boot, self.seconds)


TestClock.__test__ = False  # type: ignore[attr-defined]


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
def queue(store: Store, clock: TestClock) -> Queue:
    return Queue(store, owner="a", clock=clock, lease_s=30, defaults=Limits(running_jobs=3))


def train(number: int = 0, run: str | None = None) -> Work:
    return Work(kind="train", run=run or f"run-{number}", args={"recipe": {"n": number}})


async def put(queue: Queue, work: Work | None = None, user: str = "ann", **more: Any) -> Job:
    return await queue.submit(work or train(), workspace_id="w1", user_id=user, **more)


async def claimed(queue: Queue, slots: Any = ONE_DEVICE) -> Job:
    job = await queue.claim(slots)
    assert job is not None
    return job


async def state_of(queue: Queue, job: Job) -> str:
    now = await queue.get(job.id)
    assert now is not None
    return now.state


async def test_a_key_sent_twice_for_the_same_work_gives_one_job(queue: Queue) -> None:
    first = await put(queue, key="k")
    assert await put(queue, key="k") == first
    with pytest.raises(TuneError) as caught:
        await put(queue, train(1), key="k")
    assert caught.value.code == "JOB_KEY_REUSED"
    await claimed(queue)
    assert await queue.claim(MANY) is None  # there never was a second one


async def test_a_key_sent_ten_times_at_once_gives_one_job(queue: Queue) -> None:
    jobs = await asyncio.gather(*(put(queue, key="k") for _ in range(10)))
    assert len({job.id for job in jobs}) == 1


async def test_work_that_the_queue_does_not_know_is_refused(queue: Queue) -> None:
    for work, priority, code in (
        (Work(kind="dance", run=None, args={}), 0, "JOB_KIND"),
        (train(), 11, "JOB_PRIORITY"),
    ):
        with pytest.raises(TuneError) as caught:
            await put(queue, work, priority=priority)
        assert caught.value.code == code


async def test_eight_claimers_of_one_job_get_it_once(store: Store, clock: TestClock) -> None:
    queues = [Queue(store, owner=f"s{n}", clock=clock) for n in range(8)]
    await put(queues[0])
    got = await asyncio.gather(*(queue.claim(MANY) for queue in queues))
    assert sum(job is not None for job in got) == 1


async def test_a_device_is_given_to_one_job_at_a_time(queue: Queue) -> None:
    for number in range(3):
        await put(queue, train(number))
    first = await claimed(queue)
    assert first.slots == ("gpu:0",)
    assert await queue.claim(ONE_DEVICE) is None
    assert await queue.finish(first, "done")
    assert (await claimed(queue)).slots == ("gpu:0",)


async def test_a_suspect_keeps_its_device_until_its_child_is_known_to_be_gone(
    queue: Queue, clock: TestClock
) -> None:
    await put(queue)
    await put(queue, train(1))
    await claimed(queue)
    clock.seconds += 31
    (suspect,) = await queue.expire()
    assert await queue.claim(ONE_DEVICE) is None
    again = await queue.died(suspect)
    assert again is not None and again.state == "queued" and again.slots == ()
    assert await queue.claim(ONE_DEVICE) is not None


async def test_light_work_does_not_wait_for_a_device(queue: Queue) -> None:
    await put(queue)
    await put(queue, Work(kind="plan", run=None, args={"recipe": {}, "compile": True}))
    await put(queue, Work(kind="plan", run=None, args={"recipe": {}}))
    await put(queue, Work(kind="data", run=None, args={"action": "check"}))
    kinds = [(await claimed(queue)).kind for _ in range(3)]
    assert sorted(kinds) == ["data", "plan", "train"]
    assert await queue.claim(ONE_DEVICE) is None


async def test_turns_go_round_between_people(queue: Queue) -> None:
    for number in range(4):
        await put(queue, train(number), user="ann")
    for number in range(4, 6):
        await put(queue, train(number), user="bob")
    turns = []
    while job := await queue.claim(ONE_DEVICE):
        turns.append(job.user_id)
        await queue.finish(job, "done")
    assert turns == ["ann", "bob", "ann", "bob", "ann", "ann"]


async def test_whoever_has_fewer_jobs_running_is_next(queue: Queue) -> None:
    for number in range(4):
        await put(queue, train(number), user="ann")
    await put(queue, train(9), user="bob")
    turns = [(await claimed(queue, MANY)).user_id for _ in range(4)]
    assert turns == ["ann", "bob", "ann", "ann"]


async def test_priority_orders_ones_own_jobs_and_passes_nobody_else(queue: Queue) -> None:
    low = await put(queue, train(0), user="bob", priority=-10)
    for number in range(1, 3):
        await put(queue, train(number), user="ann")
    high = await put(queue, train(3), user="ann", priority=10)
    turns = []
    while job := await queue.claim(ONE_DEVICE):
        turns.append(job.id)
        await queue.finish(job, "done")
    assert turns.index(high.id) < 2
    assert turns.index(low.id) < 2


async def test_a_quota_of_running_jobs_holds_and_can_be_changed(store: Store, queue: Queue) -> None:
    for number in range(4):
        await put(queue, train(number))
    first = await claimed(queue, MANY)
    for _ in range(2):
        await claimed(queue, MANY)
    assert await queue.claim(MANY) is None  # the default is 3
    async with store.begin() as connection:
        rows = [
            {"id": "q1", "workspace_id": "w1", "user_id": None, "running_jobs": 1},
            {"id": "q2", "workspace_id": "w1", "user_id": "ann", "running_jobs": 4},
        ]
        await connection.execute(insert(quotas), rows)
    await claimed(queue, MANY)  # their own row counts more than the workspace's
    assert await queue.finish(first, "done")


async def test_quotas_of_waiting_jobs_and_of_the_disk_refuse_to_take_more(
    store: Store, queue: Queue
) -> None:
    async with store.begin() as connection:
        row = {"id": "q", "workspace_id": "w1", "queued_jobs": 2, "disk_bytes": 1000}
        await connection.execute(insert(quotas), [row])
    await put(queue)
    await put(queue, train(1))
    with pytest.raises(TuneError) as caught:
        await put(queue, train(2))
    assert caught.value.code == "QUOTA_QUEUED_JOBS"
    await put(queue, train(2), user="bob")
    async with store.begin() as connection:
        row = {"id": "r", "workspace_id": "w1", "user_id": "bob", "name": "r", "size": 1000}
        row |= {"tags": [], "state": "done", "created_at": NOW, "changed_at": NOW}
        await connection.execute(insert(runs), [row])
    with pytest.raises(TuneError) as caught:
        await put(queue, train(3), user="bob")
    assert caught.value.code == "QUOTA_DISK"


async def test_jobs_that_write_in_one_run_go_one_after_the_other(queue: Queue) -> None:
    first = await put(queue, train(run="r"))
    await put(queue, Work(kind="export", run="r", args={"format": "hf"}), user="bob", priority=10)
    await put(queue, Work(kind="generate", run="r", args={"prompt": "x"}), user="bob")
    held = await claimed(queue, MANY)
    assert held.id == first.id
    assert (await claimed(queue, MANY)).kind == "generate"  # reads only
    assert await queue.claim(MANY) is None
    assert await queue.finish(held, "done")
    assert (await claimed(queue, MANY)).kind == "export"


async def test_a_fence_never_goes_back_and_an_old_one_changes_nothing(
    store: Store, queue: Queue, clock: TestClock
) -> None:
    """Case 41: stopped for longer than its lease, then woken."""
    other = Queue(store, owner="b", clock=clock)
    await put(queue)
    old = await claimed(queue)
    assert old.fence == 1
    clock.seconds += 31
    (suspect,) = await other.expire()
    await other.died(suspect)
    new = await claimed(other)
    assert new.fence == 2
    assert await queue.beat(old) is None
    assert not await queue.finish(old, "done")
    assert not await queue.started(old, pid=1, process_start=1)
    assert await queue.died(old) is None
    assert await state_of(queue, old) == "running"
    assert await other.finish(new, "done")
    assert not await other.finish(new, "failed")  # an end is an end
    assert await state_of(queue, old) == "done"


async def test_adopting_fences_out_the_old_holder(store: Store, queue: Queue) -> None:
    other = Queue(store, owner="b", clock=queue.clock)
    await put(queue)
    old = await claimed(queue)
    await queue.started(old, pid=7, process_start=9)
    assert await other.expire() == []  # the lease still holds
    (suspect,) = await other.expire(not_mine=True)
    adopted = await other.adopt(suspect)
    assert adopted is not None
    assert (adopted.fence, adopted.pid, adopted.owner) == (2, 7, "b")
    assert await other.adopt(suspect) is None
    assert await queue.beat(old) is None


async def test_a_beat_in_time_saves_a_suspect(queue: Queue, clock: TestClock) -> None:
    await put(queue)
    job = await claimed(queue)
    clock.seconds += 31
    (suspect,) = await queue.expire()
    assert await queue.beat(job) is not None
    assert await state_of(queue, job) == "running"
    assert await queue.adopt(suspect) is None


async def test_another_boot_voids_all_leases(queue: Queue, clock: TestClock) -> None:
    """Case 46: monotonic seconds start again at nought, so they can't be compared."""
    await put(queue)
    await claimed(queue)
    clock.boot, clock.seconds = "boot-2", 1.0
    assert [job.state for job in await queue.expire()] == ["suspect"]


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
async def test_setting_the_wall_clock_moves_no_lease(
    queue: Queue, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """Case 45."""
    import time

    await put(queue)
    await put(queue, train(1), user="bob")
    job = await claimed(queue)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    assert await queue.expire() == []
    assert await queue.beat(job) is not None
    await queue.finish(job, "done")
    await put(queue, train(2), user="ann")
    assert (await claimed(queue)).user_id == "bob"  # turns are counted, not timed


async def test_three_deaths_without_progress_end_in_quarantine(queue: Queue) -> None:
    job = await put(queue)
    for _ in range(2):
        await queue.died(await claimed(queue), code="DIED", message="gone")
        assert await state_of(queue, job) == "queued"
    await queue.died(await claimed(queue), code="DIED", message="gone")
    ended = await queue.get(job.id)
    assert ended is not None
    assert (ended.state, ended.code, ended.deaths) == ("quarantined", "DIED", 3)
    assert ended.ended_at is not None
    assert await queue.claim(ONE_DEVICE) is None
    again = await queue.resume(job.id)
    assert again is not None and (again.state, again.deaths) == ("queued", 0)
    assert (await claimed(queue)).fence == 4  # never back, whatever was forgiven


async def test_progress_forgives_deaths(queue: Queue) -> None:
    await put(queue)
    for step in range(1, 6):
        job = await claimed(queue)
        await queue.beat(job, progress=step)
        again = await queue.died(job)
        assert again is not None and (again.state, again.deaths) == ("queued", 1)
    for _ in range(2):
        job = await claimed(queue)
        await queue.beat(job, progress=3)  # not further than before
        again = await queue.died(job)
    assert again is not None and again.state == "quarantined"


async def test_what_waits_is_cancelled_or_paused_at_once(queue: Queue) -> None:
    job = await put(queue)
    await queue.ask(job.id, "pause")
    assert await state_of(queue, job) == "paused"
    assert await queue.claim(ONE_DEVICE) is None
    await queue.resume(job.id)
    await queue.ask(job.id, "cancel")
    assert await state_of(queue, job) == "cancelled"
    await queue.ask(job.id, "pause")  # an end is an end
    assert await state_of(queue, job) == "cancelled"
    with pytest.raises(TuneError) as caught:
        await queue.resume(job.id)
    assert caught.value.code == "JOB_NOT_PAUSED"


@pytest.mark.parametrize(
    ("wish", "end", "expected"),
    [
        ("pause", "stopped", "paused"),
        ("cancel", "stopped", "cancelled"),
        ("cancel", "failed", "cancelled"),
        ("cancel", "done", "done"),
        ("pause", "failed", "failed"),
        (None, "stopped", "paused"),
    ],
)
async def test_a_wish_decides_what_a_stop_means(
    queue: Queue, wish: str | None, end: str, expected: str
) -> None:
    job = await put(queue)
    held = await claimed(queue)
    if wish:
        await queue.ask(job.id, wish)
        seen = await queue.beat(held)
        assert seen is not None and seen.wish == wish
    assert await queue.finish(held, end)
    after = await queue.get(job.id)
    assert after is not None
    assert (after.state, after.wish, after.slots) == (expected, None, ())
    assert (after.ended_at is None) == (expected == "paused")


@pytest.mark.parametrize(("wish", "expected"), [("pause", "paused"), ("cancel", "cancelled")])
async def test_a_wish_holds_when_the_child_dies(queue: Queue, wish: str, expected: str) -> None:
    job = await put(queue)
    held = await claimed(queue)
    await queue.ask(job.id, wish)
    await queue.died(held)
    assert await state_of(queue, job) == expected


async def test_cancelling_outweighs_pausing(queue: Queue) -> None:
    job = await put(queue)
    held = await claimed(queue)
    for wish in ("pause", "cancel", "pause"):
        await queue.ask(job.id, wish)
    seen = await queue.beat(held)
    assert seen is not None and seen.wish == "cancel"


async def test_only_training_can_be_paused_while_it_runs(queue: Queue) -> None:
    job = await put(queue, Work(kind="export", run="r", args={"format": "hf"}))
    await claimed(queue)
    with pytest.raises(TuneError) as caught:
        await queue.ask(job.id, "pause")
    assert caught.value.code == "JOB_CANT_PAUSE"


async def test_a_job_of_another_workspace_is_not_there(queue: Queue) -> None:
    job = await put(queue)
    assert await queue.get(job.id, workspace_id="w2") is None
    assert await queue.ask(job.id, "cancel", workspace_id="w2") is None
    assert await queue.resume(job.id, workspace_id="w2") is None
    assert await state_of(queue, job) == "queued"


async def test_giving_a_job_back_is_no_death(queue: Queue) -> None:
    await put(queue)
    for _ in range(4):
        again = await queue.release(await claimed(queue))
        assert again is not None and (again.state, again.deaths) == ("queued", 0)

"""The real queue against a model of it: any order of events, any number of servers.

The model is dictionaries, so that it can't have the faults of SQL. After each step the invariants
are asked of the table itself.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import insert, select

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.jobs.clock import Moment
from gemma_keras_tune_ui.jobs.job import HELD, WRITERS, Job, Work, job_of
from gemma_keras_tune_ui.jobs.queue import Queue
from gemma_keras_tune_ui.jobs.quotas import Limits
from gemma_keras_tune_ui.store.engine import Store
from gemma_keras_tune_ui.store.tables import jobs, quotas
from tests.support.databases import add_people, quick_sqlite

PEOPLE = ("ann", "bob", "cy")
SLOTS = {"light": ("light:0", "light:1"), "device": ("gpu:0", "gpu:1")}
LEASE_S = 10.0
QUEUED, RUNNING = 12, 2
ALLOWED = {"ann": 1}  # a row of her own; the others have the default
KINDS = ("data", "train", "export", "generate")


class Model:
    """What the queue must do, in plain Python; used by hypothesis and by the long walk."""

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Moment("boot-1", 100.0)
        self.store: Store = self.runner.run(self._open())
        self.queues = [
            Queue(
                self.store,
                owner=f"server-{number}",
                clock=lambda: self.clock,
                lease_s=LEASE_S,
                defaults=Limits(running_jobs=RUNNING, queued_jobs=QUEUED),
            )
            for number in range(2)
        ]
        self.state: dict[str, str] = {}
        self.fences: dict[str, int] = {}
        self.holder: dict[str, tuple[int, int]] = {}  # job -> (queue, fence)
        self.kind: dict[str, str] = {}
        self.user: dict[str, str] = {}
        self.wish: dict[str, str | None] = {}
        self.deaths: Counter[str] = Counter()
        self.progress: Counter[str] = Counter()
        self.keys: dict[str, str] = {}
        self.leases: list[tuple[int, Job]] = []  # every lease ever given, also stale ones
        self.waited: Counter[str] = Counter()  # claims that passed a person who could have started

    async def _open(self) -> Store:
        store = await quick_sqlite(Path(self.folder.name))
        await add_people(store, PEOPLE)
        async with store.begin() as connection:
            rows = [
                {"id": name, "workspace_id": "w1", "user_id": name, "running_jobs": allowed}
                for name, allowed in ALLOWED.items()
            ]
            await connection.execute(insert(quotas), rows)
        return store

    def close(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
        self.folder.cleanup()

    def submit(self, user: str, kind: str, run: int, key: int, priority: int) -> None:
        name = f"{user}-{key}" if key < 6 else None
        work = Work(kind=kind, run=f"run-{run}", args={"key": key})
        queue = self.queues[key % 2]
        waiting = sum(
            self.user[id] == user and state in ("queued", "paused")
            for id, state in self.state.items()
        )
        try:
            job = self.runner.run(
                queue.submit(work, workspace_id="w1", user_id=user, key=name, priority=priority)
            )
        except TuneError as error:
            if error.code == "JOB_KEY_REUSED":
                assert name in self.keys
            else:
                assert error.code == "QUOTA_QUEUED_JOBS" and waiting >= QUEUED
                assert name not in self.keys
            return
        if name in self.keys:
            assert job.id == self.keys[name]
            return
        assert job.id not in self.state
        assert waiting < QUEUED
        if name:
            self.keys[name] = job.id
        self.state[job.id], self.kind[job.id], self.user[job.id] = "queued", kind, user
        self.wish[job.id], self.fences[job.id] = None, 0

    def claim(self, server: int) -> None:
        could = self.could_start()
        job = self.runner.run(self.queues[server].claim(SLOTS))
        if job is None:
            assert not could
            return
        assert job.id in could
        counts = self.running()
        fewest = min(counts[self.user[id]] for id in could)
        assert counts[self.user[job.id]] == fewest
        people = {self.user[id] for id in could if counts[self.user[id]] == fewest}
        for person in people - {self.user[job.id]}:
            self.waited[person] += 1
            assert self.waited[person] < len(PEOPLE)  # nobody is passed by the same one twice
        self.waited[self.user[job.id]] = 0
        for person in set(PEOPLE) - people:
            self.waited[person] = 0
        assert job.fence == self.fences[job.id] + 1
        self.fences[job.id] = job.fence
        self.state[job.id], self.holder[job.id] = "running", (server, job.fence)
        self.leases.append((server, job))

    def could_start(self) -> set[str]:
        rows = self.rows()
        taken = {name for row in rows if row.state in HELD for name in row.slots}
        counts = self.running()
        could = set()
        for row in rows:
            free = [name for name in SLOTS[row.pool] if name not in taken]
            allowed = ALLOWED.get(row.user_id, RUNNING)
            in_the_way = row.kind in WRITERS and any(
                other.run_id == row.run_id
                and other.kind in WRITERS
                and (other.state in HELD or (other.state == "queued" and other.number < row.number))
                for other in rows
            )
            if row.state == "queued" and free and counts[row.user_id] < allowed and not in_the_way:
                could.add(row.id)
        return could

    def running(self) -> Counter[str]:
        return Counter(self.user[id] for id, state in self.state.items() if state in HELD)

    def is_effective(self, lease: tuple[int, Job]) -> bool:
        _, job = lease
        held = self.state[job.id] in HELD
        return held and self.fences[job.id] == job.fence

    def beat(self, lease: tuple[int, Job], progress: int) -> None:
        server, job = lease
        after = self.runner.run(self.queues[server].beat(job, progress=progress))
        assert (after is not None) == self.is_effective(lease)
        if after is not None:
            self.state[job.id] = "running"
            if progress > self.progress[job.id]:
                self.progress[job.id], self.deaths[job.id] = progress, 0
            assert after.wish == self.wish[job.id]
            assert after.deaths == self.deaths[job.id]

    def finish(self, lease: tuple[int, Job], end: str) -> None:
        server, job = lease
        effective = self.is_effective(lease)
        assert self.runner.run(self.queues[server].finish(job, end)) == effective
        if effective:
            wish = self.wish[job.id]
            rests = "paused" if end == "stopped" else end
            self.state[job.id] = "cancelled" if wish == "cancel" and end != "done" else rests
            self.wish[job.id] = None

    def died(self, lease: tuple[int, Job]) -> None:
        server, job = lease
        effective = self.is_effective(lease)
        after = self.runner.run(self.queues[server].died(job))
        assert (after is not None) == effective
        if effective:
            self.deaths[job.id] += 1
            put_back = "quarantined" if self.deaths[job.id] >= 3 else "queued"
            states = {"cancel": "cancelled", "pause": "paused"}
            self.state[job.id] = states.get(self.wish[job.id] or "", put_back)
            self.wish[job.id] = None

    def pass_time(self, seconds: float) -> None:
        self.clock = Moment(self.clock.boot, self.clock.seconds + seconds)

    def reboot(self) -> None:
        self.clock = Moment(f"{self.clock.boot}+", 1.0)

    def expire(self, server: int, adopts: bool) -> None:
        before = {row.id: row for row in self.rows()}
        suspects = self.runner.run(self.queues[server].expire())
        for row in before.values():
            void = row.lease_boot != self.clock.boot or (row.lease_until or 0) < self.clock.seconds
            if row.state == "running" and void:
                self.state[row.id] = "suspect"
        assert {job.id for job in suspects} == {
            id for id, state in self.state.items() if state == "suspect"
        }
        for job in suspects:
            if not adopts:
                self.died((server, job))
                continue
            adopted = self.runner.run(self.queues[server].adopt(job))
            assert adopted is not None and adopted.fence == job.fence + 1
            self.fences[job.id], self.state[job.id] = adopted.fence, "running"
            self.leases.append((server, adopted))

    def ask(self, job_id: str, wish: str) -> None:
        state = self.state[job_id]
        try:
            after = self.runner.run(self.queues[0].ask(job_id, wish))
        except TuneError as error:
            assert error.code == "JOB_CANT_PAUSE"
            assert self.kind[job_id] != "train" and state in HELD and wish == "pause"
            return
        assert after is not None
        if state in HELD:
            if not (wish == "pause" and self.wish[job_id] == "cancel"):
                self.wish[job_id] = wish
        elif state == "queued" or (state == "paused" and wish == "cancel"):
            self.state[job_id] = {"cancel": "cancelled", "pause": "paused"}[wish]
        assert (after.state, after.wish) == (self.state[job_id], self.wish[job_id])

    def resume(self, job_id: str) -> None:
        try:
            self.runner.run(self.queues[0].resume(job_id))
        except TuneError as error:
            assert error.code == "JOB_NOT_PAUSED"
            assert self.state[job_id] not in ("paused", "quarantined", "queued")
            return
        if self.state[job_id] != "queued":
            assert self.state[job_id] in ("paused", "quarantined")
            self.state[job_id], self.deaths[job_id] = "queued", 0

    def rows(self) -> list[Job]:
        async def read() -> list[Job]:
            async with self.store.begin() as connection:
                found = await connection.execute(select(jobs).order_by(jobs.c.number))
                return [job_of(row) for row in found.mappings()]

        return self.runner.run(read())

    def check(self) -> None:
        rows = self.rows()
        assert {row.id: row.state for row in rows} == self.state  # nothing lost, nothing doubled
        assert {row.id: row.fence for row in rows} == self.fences  # and never back
        held = [row for row in rows if row.state in HELD]
        slots = [name for row in held for name in row.slots]
        assert len(slots) == len(set(slots)) == len(held)
        assert all(set(row.slots) <= set(SLOTS[row.pool]) for row in held)
        assert all(row.slots == () and row.owner is None for row in rows if row.state not in HELD)
        per_person = Counter(row.user_id for row in held)
        assert all(count <= ALLOWED.get(user, RUNNING) for user, count in per_person.items())
        writers = Counter(row.run_id for row in held if row.kind in WRITERS)
        assert max(writers.values(), default=0) <= 1
        effective = [lease for lease in self.leases if self.is_effective(lease)]
        assert len(effective) == len(held)  # each has one holder, whatever zombies there are
        self.leases = [*self.leases[-40:]] if len(self.leases) > 200 else self.leases
        self.leases += [lease for lease in effective if lease not in self.leases]


class QueueMachine(RuleBasedStateMachine):
    leases = Bundle("leases")

    @initialize()
    def begin(self) -> None:
        self.model = Model()

    def teardown(self) -> None:
        if hasattr(self, "model"):
            self.model.close()

    @rule(
        user=st.sampled_from(PEOPLE),
        kind=st.sampled_from(KINDS),
        run=st.integers(0, 3),
        key=st.integers(0, 9),
        priority=st.integers(-10, 10),
    )
    def submit(self, user: str, kind: str, run: int, key: int, priority: int) -> None:
        self.model.submit(user, kind, run, key, priority)

    @rule(server=st.integers(0, 1))
    def claim(self, server: int) -> None:
        self.model.claim(server)

    @rule(data=st.data(), act=st.sampled_from(("beat", "done", "failed", "stopped", "died")))
    def use_a_lease(self, data: Any, act: str) -> None:
        if self.model.leases:
            lease = data.draw(st.sampled_from(self.model.leases))
            if act == "beat":
                self.model.beat(lease, data.draw(st.integers(0, 5)))
            elif act == "died":
                self.model.died(lease)
            else:
                self.model.finish(lease, act)

    @rule(data=st.data(), act=st.sampled_from(("cancel", "pause", "resume")))
    def ask(self, data: Any, act: str) -> None:
        if self.model.state:
            job_id = data.draw(st.sampled_from(sorted(self.model.state)))
            self.model.resume(job_id) if act == "resume" else self.model.ask(job_id, act)

    @rule(seconds=st.sampled_from((1.0, 6.0, 11.0)))
    def pass_time(self, seconds: float) -> None:
        self.model.pass_time(seconds)

    @rule()
    def reboot(self) -> None:
        self.model.reboot()

    @rule(server=st.integers(0, 1), adopts=st.booleans())
    def expire(self, server: int, adopts: bool) -> None:
        self.model.expire(server, adopts)

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "model"):
            self.model.check()


QueueMachine.TestCase.settings = settings(
    max_examples=6,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
TestQueueMachine = QueueMachine.TestCase


WEIGHTS = {
    "submit": 20.0, "claim": 25.0, "beat": 12.0, "finish": 14.0, "died": 6.0,
    "ask": 6.0, "resume": 4.0, "time": 6.0, "boot": 0.3, "expire": 5.0,
}  # fmt: skip


def walk(model: Model, chance: random.Random, operations: int, *, check_each: int = 1) -> None:
    """Random operations, weighted so that jobs get far; the invariants after each, or some."""
    acts, weights = tuple(WEIGHTS), tuple(WEIGHTS.values())
    for number in range(operations):
        act = chance.choices(acts, weights)[0]
        if act == "submit":
            model.submit(
                chance.choice(PEOPLE), chance.choice(KINDS), chance.randrange(4),
                chance.randrange(40), chance.randint(-10, 10),
            )  # fmt: skip
        elif act == "claim":
            model.claim(chance.randrange(2))
        elif act in ("beat", "finish", "died") and model.leases:
            lease = chance.choice(model.leases[-12:])
            if act == "beat":
                model.beat(lease, chance.randrange(6))
            elif act == "finish":
                model.finish(lease, chance.choice(("done", "done", "failed", "stopped")))
            else:
                model.died(lease)
        elif act in ("ask", "resume") and model.state:
            held = [id for id, state in model.state.items() if state in HELD]
            job_id = chance.choice((held if chance.random() < 0.6 else []) or [*model.state][-20:])
            if act == "resume":
                model.resume(job_id)
            else:
                model.ask(job_id, chance.choice(("cancel", "pause")))
        elif act == "time":
            model.pass_time(chance.choice((1.0, 6.0, 11.0)))
        elif act == "boot":
            model.reboot()
        elif act == "expire":
            model.expire(chance.randrange(2), chance.random() < 0.5)
        if number % check_each == 0:
            model.check()
    model.check()


@pytest.mark.parametrize("seed", range(2))
def test_a_walk_of_300_operations(seed: int) -> None:
    model = Model()
    try:
        walk(model, random.Random(seed), 300)
    finally:
        model.close()


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_walks_of_50_000_operations() -> None:
    for seed in range(100, 225):
        model = Model()
        try:
            walk(model, random.Random(seed), 400, check_each=10)
        finally:
            model.close()

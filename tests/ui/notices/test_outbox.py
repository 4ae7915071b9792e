"""Which work is told of, where, and that it is told once; on each kind of database."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, func, insert, select, update

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.identity import passwords
from gemma_keras_tune_ui.identity.access import NotFound, Principal, Role
from gemma_keras_tune_ui.identity.service import Identity, open_identity
from gemma_keras_tune_ui.jobs.job import Job, job_of
from gemma_keras_tune_ui.notices.addresses import Address
from gemma_keras_tune_ui.notices.outbound import Undelivered
from gemma_keras_tune_ui.notices.outbox import Outbox
from gemma_keras_tune_ui.notices.senders import Message
from gemma_keras_tune_ui.notices.targets import MOST, Targets
from gemma_keras_tune_ui.store.engine import Store, open_store
from gemma_keras_tune_ui.store.tables import (
    jobs,
    memberships,
    notice_targets,
    notices,
    runs,
    users,
)
from tests.support.databases import new_postgres_database, quick_sqlite
from tests.ui.identity.people import Times, first_admin, member


@dataclass
class Postman:
    """Takes what is sent, or fails as it is told to."""

    sent: list[tuple[str, str, Message]] = field(default_factory=list)
    fails: list[str] = field(default_factory=list)
    at_once: int = 0

    async def __call__(self, address: Address, message: Message, *, user_id: str) -> None:
        await asyncio.sleep(0.01)
        if self.fails:
            raise Undelivered("the road is closed", outcome=self.fails.pop(0))
        self.sent.append((user_id, address.value, message))


@dataclass
class House:
    """A server's notices with everything that they need."""

    store: Store
    identity: Identity
    times: Times
    ann: Principal
    postman: Postman
    targets: Targets
    silent: list[str] = field(default_factory=list)
    jobs_by_id: dict[str, Job] = field(default_factory=dict)
    number: int = 0

    def outbox(self) -> Outbox:
        return Outbox(
            self.store,
            self.targets,
            dict.fromkeys(("browser", "email", "slack", "webhook"), self.postman),
            silent=lambda seconds: [self.jobs_by_id[id] for id in self.silent],
            address="https://tune.test",
            clean=lambda text: text.replace("/secret/root", "ROOT"),
            clock=self.times.wall,
        )

    async def job(
        self, state: str, who: Principal | None = None, *, kind: str = "train", message: str = ""
    ) -> str:
        """A job of a run that is called Spam, as it stands in the database."""
        who = who or self.ann
        self.number += 1
        id, run, now = secrets.token_hex(16), f"run-{self.number}", self.times.wall()
        row = {
            "id": id, "workspace_id": who.workspace_id, "user_id": who.user_id,
            "number": self.number, "kind": kind, "run_id": run, "args": {}, "args_hash": "x",
            "pool": "device", "state": state, "created_at": now, "served": self.number,
            "started_at": now - timedelta(minutes=3), "message": message,
            "ended_at": now if state not in ("queued", "running", "paused") else None,
        }  # fmt: skip
        listed = {
            "id": run, "workspace_id": who.workspace_id, "user_id": who.user_id, "name": "Spam",
            "tags": [], "state": "done", "created_at": now, "changed_at": now,
        }  # fmt: skip
        async with self.store.begin() as connection:
            await connection.execute(insert(runs).values(listed))
            await connection.execute(insert(jobs).values(row))
            found = await connection.execute(select(jobs).where(jobs.c.id == id))
            self.jobs_by_id[id] = job_of(found.mappings().one())
        return id

    async def count(self, state: str) -> int:
        query = select(func.count()).select_from(notices).where(notices.c.state == state)
        async with self.store.begin() as connection:
            return int(await connection.scalar(query) or 0)

    async def turn(self) -> list[tuple[str, str]]:
        """One look and one sending; the events and addresses that came through by it."""
        before, outbox = len(self.postman.sent), self.outbox()
        await outbox.look()
        await outbox.send_due()
        return [(message.event, where) for _, where, message in self.postman.sent[before:]]


@pytest.fixture(params=["sqlite", "postgresql"])
async def house(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[House]:
    monkeypatch.setattr(passwords, "_MEMORY_KIB", 64)
    times = Times()
    if request.param == "sqlite":
        store = await quick_sqlite(tmp_path)
    else:
        store = await open_store(await new_postgres_database(request.getfixturevalue("postgres")))
    identity = await open_identity(
        store, tmp_path, environ={}, clock=times.wall, monotonic=times.seconds
    )
    ann = await first_admin(identity)
    targets = Targets(store, identity.audit, identity.vault, clock=times.wall)
    yield House(store, identity, times, ann, Postman(), targets)
    await store.close()


async def test_each_end_is_told_once_and_only_to_whoever_started_it(house: House) -> None:
    bob = await member(house.identity, house.ann, "bob")
    await house.job("done")  # before anybody wanted to know
    house.times.pass_(seconds=1)
    await house.targets.add(house.ann, "email", "ann@example.org")
    await house.targets.add(house.ann, "webhook", "https://example.org/a", ["failed"])
    await house.targets.add(bob, "email", "bob@example.org")
    assert await house.turn() == []
    await house.job("done")
    failed = await house.job("failed", message="No such file: /secret/root/x")
    for state in ("queued", "running", "paused", "cancelled"):
        await house.job(state)
    await house.job("done", kind="data")
    told = await house.turn()
    assert sorted(told) == [
        ("ended", "ann@example.org"),
        ("failed", "ann@example.org"),
        ("failed", "https://example.org/a"),
    ]
    last = next(one for _, _, one in house.postman.sent if one.job_id == failed)
    assert last.title == "Spam: the training failed"
    assert last.text == "No such file: ROOT/x"
    assert last.link == f"https://tune.test/runs/{last.run_id}"
    assert {user for user, _, _ in house.postman.sent} == {house.ann.user_id}
    for _ in range(3):
        assert await house.turn() == []


async def test_two_at_once_and_a_server_that_begins_again_send_no_more(house: House) -> None:
    await house.targets.add(house.ann, "email", "ann@example.org")
    for _ in range(10):
        await house.job("done")
    outboxes = [house.outbox() for _ in range(4)]
    await asyncio.gather(*(one.look() for one in outboxes))
    await asyncio.gather(*(one.send_due() for one in outboxes))
    assert len(house.postman.sent) == 10
    assert len({one.job_id for _, _, one in house.postman.sent}) == 10
    assert await house.count("sent") == 10


async def test_a_server_that_dies_while_it_sends_leaves_it_unsent_and_says_so(
    house: House,
) -> None:
    await house.targets.add(house.ann, "email", "ann@example.org")
    await house.job("done")
    outbox = house.outbox()
    await outbox.look()
    async with house.store.begin() as connection:  # as it is when it dies in the middle
        await connection.execute(update(notices).values(state="sending"))
    again = house.outbox()
    await again.give_up_lost()
    await again.look()
    assert await again.send_due() == 0
    (target,) = await house.targets.mine(house.ann)
    assert "may have come through" in target.problem and target.sent_at is None


async def test_what_failed_is_tried_again_later_and_given_up_in_the_end(house: House) -> None:
    await house.targets.add(house.ann, "email", "ann@example.org")
    await house.job("done")
    house.postman.fails = ["again", "again"]
    assert await house.turn() == []
    assert await house.turn() == [], "not before its time"
    house.times.pass_(seconds=11)
    assert await house.turn() == []
    house.times.pass_(seconds=61)
    assert await house.turn() == [("ended", "ann@example.org")]
    (target,) = await house.targets.mine(house.ann)
    assert target.problem == "" and target.sent_at == house.times.wall()

    await house.job("failed")
    house.postman.fails = ["again"] * 9
    for _ in range(9):
        await house.turn()
        house.times.pass_(hours=1)
    assert await house.count("failed") == 1
    assert len(house.postman.fails) == 4, "five tries"
    (target,) = await house.targets.mine(house.ann)
    assert target.problem == "the road is closed"


@pytest.mark.parametrize("how", ["never", "unknown"])
async def test_what_must_not_be_repeated_is_not(house: House, how: str) -> None:
    await house.targets.add(house.ann, "webhook", "https://example.org/a")
    await house.job("done")
    house.postman.fails = [how]
    await house.turn()
    house.times.pass_(hours=5)
    assert await house.turn() == []


async def test_the_browser_is_waited_for_and_not_for_ever(house: House) -> None:
    await house.targets.add(house.ann, "browser", "")
    await house.job("done")
    house.postman.fails = ["wait"] * 4
    for _ in range(4):
        assert await house.turn() == []
        house.times.pass_(seconds=6)
    assert await house.turn() == [("ended", "")]
    await house.job("done")
    house.postman.fails = ["wait"] * 2
    await house.turn()
    house.times.pass_(days=1, minutes=1)
    await house.turn()
    assert await house.count("failed") == 1


async def test_work_that_stands_still_is_told_once_a_turn(house: House) -> None:
    await house.targets.add(house.ann, "email", "ann@example.org")
    id = await house.job("running")
    house.silent = [id]
    assert await house.turn() == [("stalled", "ann@example.org")]
    assert "10 min" in house.postman.sent[-1][2].text
    assert await house.turn() == []
    async with house.store.begin() as connection:  # claimed again, after a death
        await connection.execute(update(jobs).values(served=99))
    assert await house.turn() == [("stalled", "ann@example.org")]


async def test_nobody_is_told_who_has_no_business_there_any_more(house: House) -> None:
    bob = await member(house.identity, house.ann, "bob")
    eve = await member(house.identity, house.ann, "eve")
    for who in (bob, eve):
        await house.targets.add(who, "email", f"{who.name}@example.org")
        await house.job("done", who)
    async with house.store.begin() as connection:
        await connection.execute(delete(memberships).where(memberships.c.user_id == bob.user_id))
        gone = update(users).where(users.c.id == eve.user_id)
        await connection.execute(gone.values(is_disabled=True))
    assert await house.turn() == []


async def test_a_place_is_its_owners_and_its_address_is_encrypted(house: House) -> None:
    bob = await member(house.identity, house.ann, "bob", Role.OWNER)
    secret = "https://example.org/hooks/topsecret"
    target = await house.targets.add(house.ann, "webhook", secret)
    assert await house.targets.mine(bob) == []
    for do in (house.targets.delete, house.targets.address):
        with pytest.raises(NotFound):
            await do(bob, target.id)
    async with house.store.begin() as connection:
        (row,) = (await connection.execute(select(notice_targets))).mappings()
    assert b"topsecret" not in row["ciphertext"] and "topsecret" not in str(dict(row))
    assert (await house.targets.address(house.ann, target.id)).value == secret
    assert await house.identity.vault.rotate() == 1
    assert (await house.targets.address(house.ann, target.id)).value == secret
    await house.job("done")
    await house.turn()
    await house.targets.delete(house.ann, target.id)
    assert await house.targets.mine(house.ann) == []


async def test_a_row_put_in_the_place_of_another_is_refused(house: House) -> None:
    first = await house.targets.add(house.ann, "webhook", "https://example.org/a")
    second = await house.targets.add(house.ann, "webhook", "https://example.org/b")
    async with house.store.begin() as connection:
        other = select(notice_targets.c.ciphertext).where(notice_targets.c.id == first.id)
        stolen = await connection.scalar(other)
        swapped = update(notice_targets).where(notice_targets.c.id == second.id)
        await connection.execute(swapped.values(ciphertext=stolen))
    with pytest.raises(TuneError) as caught:
        await house.targets.address(house.ann, second.id)
    assert caught.value.code == "VAULT_KEY_LOST"


async def test_what_can_not_be_a_place_is_refused(house: House) -> None:
    targets = Targets(house.store, house.identity.audit, house.identity.vault, kinds=("browser",))
    for kind, address, events, code in (
        ("email", "ann@example.org", ["ended"], "NOTICE_KIND"),
        ("browser", "", [], "NOTICE_EVENTS"),
        ("browser", "", ["begun"], "NOTICE_EVENTS"),
    ):
        with pytest.raises(TuneError) as caught:
            await targets.add(house.ann, kind, address, events)
        assert caught.value.code == code
    for _ in range(MOST):
        await targets.add(house.ann, "browser", "")
    with pytest.raises(TuneError, match="the most"):
        await targets.add(house.ann, "browser", "")

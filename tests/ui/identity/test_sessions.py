"""Sessions end when they should, and ids are worth nothing to whoever reads the database."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select, update

from gemma_keras_tune_ui.identity.access import Role
from gemma_keras_tune_ui.identity.refusals import Forbidden, NotFound
from gemma_keras_tune_ui.identity.service import Identity
from gemma_keras_tune_ui.store.engine import Store
from gemma_keras_tune_ui.store.tables import memberships, sessions, users
from tests.ui.identity.people import Times, cookie, first_admin, member, signed_in, stranger


async def test_a_cookie_is_looked_up_as_who_it_is(any_identity: Identity) -> None:
    ann = await first_admin(any_identity)
    assert (ann.name, ann.role, ann.is_server_admin) == ("ann", Role.OWNER, True)
    assert ann.via == "session" and ann.scopes is None


async def test_the_database_holds_no_cookie(any_identity: Identity, any_store: Store) -> None:
    ann = await first_admin(any_identity)
    value = await cookie(any_identity, ann.user_id, ann.workspace_id)
    raw = value.partition(".")[0]
    async with any_store.begin() as connection:
        rows = (await connection.execute(select(sessions))).all()
    assert len(raw) == 43, "256 bits in base64"
    assert raw not in str(rows) and value not in str(rows)


@pytest.mark.parametrize("change", ["one letter", "no signature", "another's", "empty", "é.x"])
async def test_made_up_cookies_never_reach_the_database(
    identity: Identity, empty_store: Store, change: str
) -> None:
    ann = await first_admin(identity)
    value = await cookie(identity, ann.user_id, ann.workspace_id)
    other = await cookie(identity, ann.user_id, ann.workspace_id)
    raw, _, signature = value.partition(".")
    made_up = {
        "one letter": f"{'A' if raw[0] != 'A' else 'B'}{raw[1:]}.{signature}",
        "no signature": raw,
        "another's": f"{raw}.{other.partition('.')[2]}",
        "empty": "",
        "é.x": "é.x",
    }[change]
    await empty_store.close()
    identity.sessions._store = None
    assert await identity.sessions.principal_of(made_up) is None


async def test_a_session_ends_when_it_is_idle(any_identity: Identity, times: Times) -> None:
    ann = await first_admin(any_identity)
    value = await cookie(any_identity, ann.user_id, ann.workspace_id)
    times.pass_(hours=7, minutes=59)
    assert await any_identity.sessions.principal_of(value) is not None
    times.pass_(hours=7, minutes=59)
    assert await any_identity.sessions.principal_of(value) is not None, "it was used meanwhile"
    times.pass_(hours=8)
    assert await any_identity.sessions.principal_of(value) is None


async def test_looking_without_touching_keeps_no_session_alive(
    identity: Identity, times: Times
) -> None:
    ann = await first_admin(identity)
    value = await cookie(identity, ann.user_id, ann.workspace_id)
    times.pass_(hours=5)
    assert await identity.sessions.principal_of(value, touch=False) is not None
    times.pass_(hours=3)
    assert await identity.sessions.principal_of(value) is None


async def test_a_session_ends_after_a_day_however_busy(identity: Identity, times: Times) -> None:
    ann = await first_admin(identity)
    value = await cookie(identity, ann.user_id, ann.workspace_id)
    for _ in range(23):
        times.pass_(hours=1)
        assert await identity.sessions.principal_of(value) is not None
    times.pass_(hours=1)
    assert await identity.sessions.principal_of(value) is None


async def test_seen_is_written_at_most_once_a_minute(
    identity: Identity, empty_store: Store, times: Times
) -> None:
    ann = await first_admin(identity)
    value = await cookie(identity, ann.user_id, ann.workspace_id)
    opened = times.now
    newest = select(sessions.c.seen_at).where(sessions.c.id_hash != ann.session_hash)
    seen = []
    for _ in range(3):
        times.pass_(seconds=30)
        await identity.sessions.principal_of(value)
        async with empty_store.begin() as connection:
            seen.append((await connection.scalar(newest) - opened).total_seconds())
    assert seen == [0, 60, 60]


async def test_disabling_an_account_ends_its_sessions_at_once(any_identity: Identity) -> None:
    ann = await first_admin(any_identity)
    bob = await member(any_identity, ann, "bob")
    value = await cookie(any_identity, bob.user_id, bob.workspace_id)
    told: list[str] = []
    any_identity.sessions.on_revoked(told.append)
    await any_identity.accounts.set_disabled(ann, bob.user_id, True)
    assert await any_identity.sessions.principal_of(value) is None
    assert len(told) == 2 and bob.session_hash in told


async def test_access_follows_the_database_and_not_the_session(
    identity: Identity, empty_store: Store
) -> None:
    """Even if nobody revoked the session: the row of the account and of the role decide."""
    ann = await first_admin(identity)
    bob = await member(identity, ann, "bob", Role.ADMIN)
    value = await cookie(identity, bob.user_id, bob.workspace_id)
    async with empty_store.begin() as connection:
        await connection.execute(
            update(memberships).where(memberships.c.user_id == bob.user_id).values(role="viewer")
        )
    now = await identity.sessions.principal_of(value)
    assert now is not None and now.role == Role.VIEWER
    async with empty_store.begin() as connection:
        await connection.execute(
            update(users).where(users.c.id == bob.user_id).values(is_disabled=True)
        )
    assert await identity.sessions.principal_of(value) is None


async def test_removing_a_membership_ends_its_sessions_and_tells(identity: Identity) -> None:
    ann = await first_admin(identity)
    bob = await member(identity, ann, "bob")
    told: list[str] = []
    identity.sessions.on_revoked(told.append)
    await identity.members.remove(ann, bob.user_id)
    assert told == [bob.session_hash]


async def test_signing_in_gives_a_new_id_and_ends_the_old_one(identity: Identity) -> None:
    ann = await first_admin(identity)
    old = await cookie(identity, ann.user_id, ann.workspace_id)
    new = await identity.sessions.open(
        ann.user_id, ann.workspace_id, address="", agent="", replaces=old
    )
    assert new != old
    assert await identity.sessions.principal_of(old) is None
    assert await identity.sessions.principal_of(new) is not None


async def test_sessions_are_listed_and_ended_one_by_one(any_identity: Identity) -> None:
    ann = await first_admin(any_identity)
    other = await signed_in(any_identity, ann.user_id, ann.workspace_id)
    listed = await any_identity.sessions.list_of(ann)
    assert [info.is_current for info in listed].count(True) == 1
    assert {info.agent for info in listed} == {"test"}
    victim = next(info for info in listed if not info.is_current)
    told: list[str] = []
    any_identity.sessions.on_revoked(told.append)
    await any_identity.sessions.revoke(ann, victim.public_id)
    assert told == [other.session_hash]
    assert [info.is_current for info in await any_identity.sessions.list_of(ann)] == [True]
    with pytest.raises(NotFound):
        await any_identity.sessions.revoke(ann, victim.public_id)


async def test_nobody_ends_or_sees_another_persons_sessions(identity: Identity) -> None:
    ann = await first_admin(identity)
    bob = await member(identity, ann, "bob", Role.OWNER)
    mine = (await identity.sessions.list_of(ann))[0]
    with pytest.raises(NotFound):
        await identity.sessions.revoke(bob, mine.public_id)
    assert mine.public_id not in {info.public_id for info in await identity.sessions.list_of(bob)}
    with pytest.raises(Forbidden):
        await identity.sessions.list_of(replace(ann, scopes=frozenset({"admin"})))


async def test_ending_the_others_keeps_the_one_that_asks(identity: Identity) -> None:
    ann = await first_admin(identity)
    for _ in range(3):
        await cookie(identity, ann.user_id, ann.workspace_id)
    assert await identity.sessions.revoke_others(ann) == 3
    assert len(await identity.sessions.list_of(ann)) == 1
    await identity.sessions.sign_out(ann)
    assert await identity.sessions.list_of(ann) == []


async def test_only_members_switch_to_a_workspace(identity: Identity) -> None:
    ann = await first_admin(identity)
    eve = await stranger(identity, ann)
    with pytest.raises(NotFound):
        await identity.sessions.switch_workspace(eve, ann.workspace_id)
    value = await cookie(identity, ann.user_id, ann.workspace_id)
    here = await identity.sessions.principal_of(value)
    assert here is not None
    await identity.sessions.switch_workspace(here, eve.workspace_id)
    there = await identity.sessions.principal_of(value)
    assert there is not None and there.workspace_id == eve.workspace_id


async def test_a_clock_that_goes_back_neither_ends_nor_revives_a_session(
    identity: Identity, times: Times
) -> None:
    ann = await first_admin(identity)
    value = await cookie(identity, ann.user_id, ann.workspace_id)
    times.pass_(hours=-3)
    assert await identity.sessions.principal_of(value) is not None
    times.pass_(hours=12)
    assert await identity.sessions.principal_of(value) is None


async def test_sessions_of_a_month_ago_are_swept(
    identity: Identity, empty_store: Store, times: Times
) -> None:
    await first_admin(identity)
    times.pass_(days=30)
    assert await identity.sessions.sweep() == 0
    times.pass_(days=2)
    assert await identity.sessions.sweep() == 1
    async with empty_store.begin() as connection:
        assert (await connection.execute(select(sessions))).first() is None

"""Links that make somebody a member: who may make one, and that it works once."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select, update

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.identity.access import Forbidden, NotFound, Role
from gemma_keras_tune_ui.identity.people import User
from gemma_keras_tune_ui.identity.refusals import SignInFailed, TooManyRequests
from gemma_keras_tune_ui.identity.service import Identity
from gemma_keras_tune_ui.store.engine import Store
from gemma_keras_tune_ui.store.tables import audit, invitations, memberships, users
from tests.ui.identity.people import PASSWORD, Times, first_admin, member, signed_in, stranger


async def accept(
    identity: Identity, code: str, name: str = "gus", password: str = PASSWORD
) -> User:
    return await identity.invitations.accept(
        code, name=name, display_name=name.title(), password=password, address="10.0.0.9"
    )


async def test_whoever_has_the_link_gets_an_account_of_their_own(
    any_identity: Identity, any_store: Store
) -> None:
    ann = await first_admin(any_identity)
    info, code = await any_identity.invitations.create(ann, Role.EDITOR, meant_for="Gus")
    assert len(code) >= 43, "256 bits"
    offer = await any_identity.invitations.offer(code)
    assert (offer.workspace, offer.role) == ("Home", Role.EDITOR)
    gus = await accept(any_identity, code)
    assert not gus.must_change_password, "they chose it themselves"
    user = await any_identity.accounts.sign_in("gus", PASSWORD, address="10.0.0.9")
    assert (await signed_in(any_identity, user.id, user.workspace_id)).role is Role.EDITOR
    async with any_store.begin() as connection:
        (row,) = (await connection.execute(select(invitations))).mappings()
        actions = (await connection.scalars(select(audit.c.action))).all()
    assert row["used_by"] == gus.id and code not in str(dict(row))
    assert {"invitation.made", "user.created", "invitation.used"} <= set(actions)
    assert await any_identity.invitations.waiting(ann) == []
    assert info.meant_for == "Gus"


async def test_a_link_works_once_even_for_two_at_the_same_time(
    any_identity: Identity, any_store: Store
) -> None:
    ann = await first_admin(any_identity)
    _, code = await any_identity.invitations.create(ann, Role.VIEWER)
    names = [f"gus{number}" for number in range(5)]
    done = await asyncio.gather(
        *(accept(any_identity, code, name) for name in names), return_exceptions=True
    )
    assert sum(isinstance(one, User) for one in done) == 1
    assert sum(isinstance(one, SignInFailed) for one in done) == 4
    async with any_store.begin() as connection:
        there = (await connection.scalars(select(users.c.name))).all()
        members = (await connection.execute(select(memberships))).all()
    assert len(there) == len(members) == 2


async def test_somebody_with_an_account_joins_with_it(identity: Identity) -> None:
    ann = await first_admin(identity)
    eve = await stranger(identity, ann)
    _, code = await identity.invitations.create(ann, Role.VIEWER)
    assert await identity.invitations.join(eve, code) == ann.workspace_id
    assert (await signed_in(identity, eve.user_id, ann.workspace_id)).role is Role.VIEWER
    _, second = await identity.invitations.create(ann, Role.OWNER)
    with pytest.raises(TuneError) as caught:
        await identity.invitations.join(eve, second)
    assert caught.value.code == "MEMBER_ALREADY"
    await accept(identity, second, "gus")


async def test_a_link_is_worthless_when_it_is_old_revoked_or_its_maker_has_lost_the_right(
    identity: Identity, empty_store: Store, times: Times
) -> None:
    ann = await first_admin(identity)
    old = (await identity.invitations.create(ann, Role.VIEWER))[1]
    times.pass_(days=7, seconds=1)
    revoked, revoked_code = await identity.invitations.create(ann, Role.VIEWER)
    await identity.invitations.revoke(ann, revoked.id)
    with pytest.raises(NotFound):
        await identity.invitations.revoke(ann, revoked.id)
    orphan = (await identity.invitations.create(ann, Role.VIEWER))[1]
    async with empty_store.begin() as connection:
        await connection.execute(update(users).values(is_server_admin=False))
    for code in (old, revoked_code, orphan, "", "x" * 43, "\ud800"):
        with pytest.raises(SignInFailed) as caught:
            await accept(identity, code)
        assert caught.value.code == "INVITATION_WRONG"
        times.pass_(minutes=1)


async def test_only_an_administrator_of_the_server_invites(identity: Identity) -> None:
    ann = await first_admin(identity)
    bob = await member(identity, ann, "bob", Role.ADMIN)
    info, _ = await identity.invitations.create(ann, Role.VIEWER)
    for ask in (
        identity.invitations.create(bob, Role.VIEWER),
        identity.invitations.waiting(bob),
        identity.invitations.revoke(bob, info.id),
    ):
        with pytest.raises(Forbidden):
            await ask


async def test_no_role_above_ones_own_and_no_odd_remark(identity: Identity) -> None:
    ann = await first_admin(identity)
    await identity.members.set_role(ann, (await member(identity, ann, "bob")).user_id, Role.OWNER)
    await identity.members.set_role(ann, ann.user_id, Role.EDITOR)
    lower = await signed_in(identity, ann.user_id, ann.workspace_id)
    with pytest.raises(Forbidden, match="you can't give"):
        await identity.invitations.create(lower, Role.ADMIN)
    for odd in ("x" * 81, "a\nb"):
        with pytest.raises(TuneError) as caught:
            await identity.invitations.create(lower, Role.VIEWER, meant_for=odd)
        assert caught.value.code == "INVITATION_INVALID"


async def test_what_is_wrong_with_the_account_leaves_the_link_as_it_was(identity: Identity) -> None:
    ann = await first_admin(identity)
    _, code = await identity.invitations.create(ann, Role.VIEWER)
    for name, password, expected in (
        ("ann", PASSWORD, "ACCOUNT_EXISTS"),
        ("no spaces", PASSWORD, "ACCOUNT_INVALID"),
        ("gus", "short", "PASSWORD"),
    ):
        with pytest.raises(TuneError) as caught:
            await accept(identity, code, name, password)
        assert (caught.value.code or "").startswith(expected)
    await accept(identity, code)


async def test_nobody_tries_links_without_end(identity: Identity, times: Times) -> None:
    await first_admin(identity)
    with pytest.raises(TooManyRequests):
        for number in range(100):
            try:
                await identity.invitations.offer(f"x{number}", address="10.0.0.66")
            except SignInFailed:
                continue
    with pytest.raises(SignInFailed):
        await identity.invitations.offer("y", address="10.0.0.67")
    times.pass_(minutes=1, seconds=1)
    with pytest.raises(SignInFailed):
        await identity.invitations.offer("z", address="10.0.0.66")

"""Signing in, first start, passwords, and what administrators may do with accounts and members."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import select

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.identity.access import Forbidden, NotFound, Role
from gemma_keras_tune_ui.identity.first_start import first_workspace
from gemma_keras_tune_ui.identity.refusals import SignInFailed, TooManyRequests
from gemma_keras_tune_ui.identity.service import Identity, open_identity
from gemma_keras_tune_ui.store.engine import Store
from gemma_keras_tune_ui.store.tables import audit, memberships, users
from tests.ui.identity.people import (
    PASSWORD,
    Times,
    first_admin,
    member,
    signed_in,
    stranger,
)


async def make_admin(identity: Identity, code: str, name: str = "ann") -> None:
    await identity.setup.create_first_admin(code, name=name, display_name="Ann", password=PASSWORD)


async def test_row_45_no_default_user(any_identity: Identity, any_store: Store) -> None:
    """CVE-2026-2635: a fresh installation has no account that anybody could know."""
    async with any_store.begin() as connection:
        assert (await connection.execute(select(users))).all() == []
    assert await any_identity.setup.is_needed()
    for name, password in (("admin", "admin"), ("admin", "password"), ("operator", "")):
        with pytest.raises(SignInFailed):
            await any_identity.accounts.sign_in(name, password, address="10.0.0.1")
    await first_admin(any_identity)
    assert not await any_identity.setup.is_needed()


async def test_only_the_code_on_the_terminal_makes_the_first_account(
    identity: Identity, times: Times
) -> None:
    with pytest.raises(SignInFailed, match="setup code"):
        await make_admin(identity, "")
    code = identity.setup.renew()
    assert len(code) == 32, "192 bits in base64"
    with pytest.raises(SignInFailed):
        await make_admin(identity, code[:-1] + ("A" if code[-1] != "A" else "B"))
    times.pass_(minutes=15)
    with pytest.raises(SignInFailed):
        await make_admin(identity, code)
    newer = identity.setup.renew()
    with pytest.raises(SignInFailed):
        await make_admin(identity, code)
    await make_admin(identity, newer)
    with pytest.raises(SignInFailed):
        await make_admin(identity, newer, "bob")
    with pytest.raises(SignInFailed):
        await make_admin(identity, identity.setup.renew(), "bob")


async def test_a_weak_password_does_not_use_the_setup_code_up(identity: Identity) -> None:
    code = identity.setup.renew()
    with pytest.raises(TuneError, match="at least 12"):
        await identity.setup.create_first_admin(
            code, name="ann", display_name="Ann", password="short"
        )
    await make_admin(identity, code)


async def test_of_two_who_send_the_code_at_once_one_becomes_administrator(
    any_identity: Identity, any_store: Store
) -> None:
    code = any_identity.setup.renew()
    tries = (make_admin(any_identity, code, name) for name in ("ann", "bob", "cem"))
    done = await asyncio.gather(*tries, return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == [
        "NoneType",
        "SignInFailed",
        "SignInFailed",
    ]
    async with any_store.begin() as connection:
        assert len((await connection.execute(select(users))).all()) == 1


async def test_setup_codes_are_tried_ten_times_a_minute(identity: Identity) -> None:
    identity.setup.renew()
    for _ in range(10):
        with pytest.raises(SignInFailed):
            await make_admin(identity, "guess")
    with pytest.raises(TooManyRequests):
        await make_admin(identity, "guess")


async def test_the_first_workspace_is_made_once_and_knows_its_root(
    any_store: Store, tmp_path: Path
) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    first = await first_workspace(any_store, root)
    assert await first_workspace(any_store, root) == first
    with pytest.raises(TuneError) as refused:
        await first_workspace(any_store, other)
    assert refused.value.code == "ROOT_MISMATCH"


async def test_a_name_is_read_without_case_and_spaces(identity: Identity) -> None:
    ann = await first_admin(identity)
    user = await identity.accounts.sign_in("  ANN ", PASSWORD, address="10.0.0.1")
    assert (user.id, user.workspace_id) == (ann.user_id, ann.workspace_id)


async def test_a_wrong_name_a_wrong_password_and_a_disabled_account_look_alike(
    identity: Identity,
) -> None:
    ann = await first_admin(identity)
    bob = await member(identity, ann, "bob")
    await identity.accounts.set_disabled(ann, bob.user_id, True)
    answers = set()
    for name, password in (("nobody", PASSWORD), ("ann", "wrong"), ("bob", PASSWORD)):
        with pytest.raises(SignInFailed) as refused:
            await identity.accounts.sign_in(name, password, address="10.0.0.1")
        answers.add((str(refused.value), refused.value.code, refused.value.status))
    assert answers == {("The name or the password is wrong.", "SIGN_IN_FAILED", 401)}


async def test_an_unknown_name_costs_a_hash_too(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: the same work is done for both."""
    await first_admin(identity)
    passwords = identity.accounts._passwords
    await passwords.verify(None, "warm up")
    verified: list[str] = []
    right = passwords._matches

    def counted(known: str, given: str) -> bool:
        verified.append(known)
        return right(known, given)

    monkeypatch.setattr(passwords, "_matches", counted)
    for name in ("ann", "nobody"):
        with pytest.raises(SignInFailed):
            await identity.accounts.sign_in(name, "wrong password", address="10.0.0.1")
    assert len(verified) == 2
    assert all(known.startswith("$argon2id$v=19$m=64,t=2,p=1$") for known in verified)


async def test_the_sixth_try_in_a_minute_is_refused_even_with_the_right_password(
    identity: Identity, times: Times
) -> None:
    await first_admin(identity)
    for wait in (0, 0, 0, 2, 4):
        times.pass_(seconds=wait)
        with pytest.raises(SignInFailed):
            await identity.accounts.sign_in("ann", "wrong", address="10.0.0.1")
    with pytest.raises(TooManyRequests) as refused:
        await identity.accounts.sign_in("ann", PASSWORD, address="10.0.0.2")
    assert 1 <= refused.value.retry_after_s <= 60
    times.pass_(seconds=refused.value.retry_after_s)
    assert await identity.accounts.sign_in("ann", PASSWORD, address="10.0.0.1")


async def test_changing_the_password_ends_the_other_sessions(identity: Identity) -> None:
    ann = await first_admin(identity)
    other = await signed_in(identity, ann.user_id, ann.workspace_id)
    told: list[str] = []
    identity.sessions.on_revoked(told.append)
    new = "violet tram seven geese"
    with pytest.raises(SignInFailed):
        await identity.accounts.change_password(ann, "wrong", new)
    await identity.accounts.change_password(ann, PASSWORD, new)
    assert told == [other.session_hash]
    with pytest.raises(SignInFailed):
        await identity.accounts.sign_in("ann", PASSWORD, address="10.0.0.1")
    assert await identity.accounts.sign_in("ann", new, address="10.0.0.1")


async def test_a_new_password_must_be_good_enough(identity: Identity) -> None:
    ann = await first_admin(identity)
    with pytest.raises(TuneError) as refused:
        await identity.accounts.change_password(ann, PASSWORD, "annannannann")
    assert refused.value.code == "PASSWORD_EASY"


async def test_a_reset_password_must_be_changed_and_ends_all_sessions(identity: Identity) -> None:
    ann = await first_admin(identity)
    bob = await member(identity, ann, "bob")
    told: list[str] = []
    identity.sessions.on_revoked(told.append)
    password = await identity.accounts.reset_password(ann, bob.user_id)
    assert told == [bob.session_hash]
    user = await identity.accounts.sign_in("bob", password, address="10.0.0.1")
    assert user.must_change_password
    again = await signed_in(identity, bob.user_id, bob.workspace_id)
    await identity.accounts.change_password(again, password, "violet tram seven geese")
    known = {user.name: user for user in await identity.accounts.users(ann)}
    assert not known["bob"].must_change_password


async def test_only_server_administrators_touch_accounts(identity: Identity) -> None:
    ann = await first_admin(identity)
    bob = await member(identity, ann, "bob", Role.OWNER)
    calls = (
        identity.accounts.users(bob),
        identity.accounts.reset_password(bob, ann.user_id),
        identity.accounts.set_disabled(bob, ann.user_id, True),
        identity.accounts.set_server_admin(bob, bob.user_id, True),
        identity.accounts.create(bob, name="cem", display_name="Cem", role=Role.VIEWER),
        identity.members.create(bob, "Mine"),
    )
    for call in calls:
        with pytest.raises(Forbidden):
            await call


async def test_the_last_administrator_stays(any_identity: Identity) -> None:
    ann = await first_admin(any_identity)
    bob = await member(any_identity, ann, "bob")
    for call in (
        any_identity.accounts.set_disabled(ann, ann.user_id, True),
        any_identity.accounts.set_server_admin(ann, ann.user_id, False),
    ):
        with pytest.raises(Forbidden) as refused:
            await call
        assert refused.value.code == "LAST_ADMIN"
    await any_identity.accounts.set_server_admin(ann, bob.user_id, True)
    both = await asyncio.gather(
        any_identity.accounts.set_server_admin(ann, bob.user_id, False),
        any_identity.accounts.set_server_admin(ann, ann.user_id, False),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in both) == ["Forbidden", "NoneType"]


async def test_the_last_owner_stays(any_identity: Identity) -> None:
    ann = await first_admin(any_identity)
    bob = await member(any_identity, ann, "bob", Role.OWNER)
    both = await asyncio.gather(
        any_identity.members.set_role(ann, bob.user_id, Role.EDITOR),
        any_identity.members.remove(bob, ann.user_id),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in both) == ["Forbidden", "NoneType"]
    refused = next(one for one in both if isinstance(one, Forbidden))
    assert refused.code == "LAST_OWNER"


async def test_nobody_lifts_or_topples_anyone_above_themself(identity: Identity) -> None:
    ann = await first_admin(identity)
    bob = await member(identity, ann, "bob", Role.ADMIN)
    cem = await member(identity, ann, "cem", Role.VIEWER)
    for call in (
        identity.members.set_role(bob, cem.user_id, Role.OWNER),
        identity.members.set_role(bob, bob.user_id, Role.OWNER),
        identity.members.set_role(bob, ann.user_id, Role.VIEWER),
        identity.members.remove(bob, ann.user_id),
        identity.members.add(bob, "cem", Role.OWNER),
    ):
        with pytest.raises(Forbidden) as refused:
            await call
        assert refused.value.code == "ROLE_ABOVE"
    await identity.members.set_role(bob, cem.user_id, Role.ADMIN)
    roles = {one.name: one.role for one in await identity.members.members(ann)}
    assert roles == {"ann": Role.OWNER, "bob": Role.ADMIN, "cem": Role.ADMIN}


async def test_members_of_another_workspace_are_not_there(identity: Identity) -> None:
    ann = await first_admin(identity)
    eve = await stranger(identity, ann)
    bob = await member(identity, ann, "bob")
    with pytest.raises(NotFound):
        await identity.members.set_role(eve, bob.user_id, Role.VIEWER)
    with pytest.raises(NotFound):
        await identity.members.remove(eve, bob.user_id)
    assert "bob" not in {one.name for one in await identity.members.members(eve)}


async def test_a_member_may_leave_but_an_editor_removes_nobody(identity: Identity) -> None:
    ann = await first_admin(identity)
    bob, cem = await member(identity, ann, "bob"), await member(identity, ann, "cem")
    with pytest.raises(Forbidden):
        await identity.members.remove(bob, cem.user_id)
    await identity.members.remove(bob, bob.user_id)
    with pytest.raises(SignInFailed) as refused:
        await identity.accounts.sign_in("bob", PASSWORD, address="10.0.0.1")
    assert refused.value.code == "NO_WORKSPACE"


async def test_who_left_their_first_workspace_opens_another(identity: Identity) -> None:
    ann = await first_admin(identity)
    eve = await stranger(identity, ann)
    bob = await member(identity, ann, "bob")
    await identity.members.add(eve, "bob", Role.VIEWER)
    await identity.members.remove(ann, bob.user_id)
    user = await identity.accounts.sign_in("bob", PASSWORD, address="10.0.0.1")
    assert user.workspace_id == eve.workspace_id
    with pytest.raises(TuneError, match="already"):
        await identity.members.add(eve, "bob", Role.VIEWER)
    with pytest.raises(TuneError, match="no account called 'zoe'"):
        await identity.members.add(eve, "zoe", Role.VIEWER)


async def test_accounts_are_checked_when_they_are_made(identity: Identity) -> None:
    ann = await first_admin(identity)
    await member(identity, ann, "bob")
    made = identity.accounts.create
    with pytest.raises(TuneError, match="called bob already"):
        await made(ann, name="Bob", display_name="Bob", role=Role.VIEWER)
    with pytest.raises(TuneError) as refused:
        await made(ann, name="<b>", display_name="", role=Role.VIEWER, email="nowhere")
    assert refused.value.code == "ACCOUNT_INVALID"
    assert all(part in str(refused.value) for part in ("to sign in", "to show", "e-mail"))


async def test_a_workspace_is_renamed_by_its_admins(identity: Identity) -> None:
    ann = await first_admin(identity)
    bob = await member(identity, ann, "bob")
    with pytest.raises(Forbidden):
        await identity.members.rename(bob, "Bobs")
    await identity.members.rename(ann, "  Lab ")
    assert await identity.members.mine(ann) == [(ann.workspace_id, "Lab", Role.OWNER)]
    with pytest.raises(TuneError, match="1 to 80"):
        await identity.members.rename(ann, "\n")


async def test_what_was_typed_as_a_name_is_not_in_the_log(
    identity: Identity, empty_store: Store
) -> None:
    await first_admin(identity)
    with pytest.raises(SignInFailed):
        await identity.accounts.sign_in(PASSWORD, "", address="10.0.0.9")
    async with empty_store.begin() as connection:
        rows = (await connection.execute(select(audit))).all()
    assert rows[-1].action == "sign_in.failed" and rows[-1].address == "10.0.0.9"
    assert "heron" not in str(rows)


async def test_a_failed_change_leaves_neither_change_nor_entry(
    identity: Identity, empty_store: Store
) -> None:
    ann = await first_admin(identity)

    async def counts() -> list[int]:
        async with empty_store.begin() as connection:
            return [
                len((await connection.execute(select(table))).all())
                for table in (users, memberships, audit)
            ]

    before = await counts()
    with pytest.raises(TuneError):
        await identity.accounts.create(ann, name="ann", display_name="x", role=Role.VIEWER)
    with pytest.raises(Forbidden):
        await identity.accounts.set_disabled(ann, ann.user_id, True)
    assert await counts() == before


async def test_a_cheaper_hash_is_made_anew_at_the_next_sign_in(
    empty_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = await open_identity(empty_store, tmp_path, environ={})
    await first_admin(old)
    monkeypatch.setattr("gemma_keras_tune_ui.identity.passwords._MEMORY_KIB", 128)
    new = await open_identity(empty_store, tmp_path, environ={})
    for _ in range(2):
        await new.accounts.sign_in("ann", PASSWORD, address="10.0.0.1")
    async with empty_store.begin() as connection:
        known = await connection.scalar(select(users.c.password_hash))
    assert "m=128,t=2,p=1" in known


@pytest.mark.parametrize("odd", ["a\x00b", "\ud800", "a\nb", "x" * 100_000, "", "é", "' OR 1=1 --"])
async def test_odd_texts_are_refused_by_us_and_not_by_the_database(
    any_identity: Identity, odd: str
) -> None:
    ann = await first_admin(any_identity)
    with pytest.raises(SignInFailed):
        await any_identity.accounts.sign_in(odd, odd, address="10.0.0.1")
    with pytest.raises(SignInFailed):
        await any_identity.accounts.sign_in("ann", odd, address="10.0.0.1")
    with pytest.raises(TuneError):
        await any_identity.members.add(ann, odd, Role.VIEWER)
    for call in (
        any_identity.members.remove(ann, odd),
        any_identity.members.set_role(ann, odd, Role.VIEWER),
        any_identity.accounts.set_disabled(ann, odd, True),
        any_identity.sessions.revoke(ann, odd),
        any_identity.sessions.switch_workspace(ann, odd),
        any_identity.tokens.revoke(ann, odd),
        any_identity.vault.delete(ann, odd),
        any_identity.vault.get(ann.workspace_id, odd),
    ):
        with pytest.raises(NotFound):
            await call
    value = await any_identity.sessions.open(ann.user_id, ann.workspace_id, address=odd, agent=odd)
    assert await any_identity.sessions.principal_of(value)
    assert (await any_identity.audit.verify()).is_sound

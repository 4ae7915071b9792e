"""Personal tokens: shown once, limited, and gone with the rights of their owner."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.identity.access import Action, Forbidden, NotFound, Principal, Role, may
from gemma_keras_tune_ui.identity.service import Identity
from gemma_keras_tune_ui.store.engine import Store
from gemma_keras_tune_ui.store.tables import tokens
from tests.ui.identity.people import Times, first_admin, member


async def new(identity: Identity, owner: Principal, times: Times, *scopes: str) -> str:
    _, raw = await identity.tokens.create(
        owner, name="ci", scopes=scopes or ("read",), expires_at=times.now + timedelta(days=30)
    )
    return raw


async def test_a_token_is_its_owner_limited_by_scopes(any_identity: Identity, times: Times) -> None:
    ann = await first_admin(any_identity)
    raw = await new(any_identity, ann, times, "read", "run")
    assert raw.startswith("gkt_") and len(raw) == 47
    who = await any_identity.tokens.principal_of(raw)
    assert who is not None
    assert (who.user_id, who.via, who.scopes) == (ann.user_id, "token", {"read", "run"})
    assert may(who, Action.SUBMIT_TRAIN, ann.workspace_id)
    assert not may(who, Action.DELETE_RUN, ann.workspace_id)
    assert not may(who, Action.MANAGE_USERS)


async def test_the_database_and_the_list_hold_no_token(
    any_identity: Identity, any_store: Store, times: Times
) -> None:
    ann = await first_admin(any_identity)
    raw = await new(any_identity, ann, times)
    async with any_store.begin() as connection:
        rows = (await connection.execute(select(tokens))).all()
    listed = await any_identity.tokens.list_of(ann)
    assert raw[4:] not in str(rows) + str(listed)
    assert rows[0].token_hash not in str(listed)
    assert [(one.name, one.scopes, one.used_at) for one in listed] == [("ci", ("read",), None)]


async def test_a_token_ends(any_identity: Identity, times: Times) -> None:
    ann = await first_admin(any_identity)
    raw = await new(any_identity, ann, times)
    times.pass_(days=29)
    assert await any_identity.tokens.principal_of(raw) is not None
    times.pass_(days=1)
    assert await any_identity.tokens.principal_of(raw) is None


async def test_a_revoked_token_is_nobody(any_identity: Identity, times: Times) -> None:
    ann = await first_admin(any_identity)
    raw = await new(any_identity, ann, times)
    (info,) = await any_identity.tokens.list_of(ann)
    await any_identity.tokens.revoke(ann, info.id)
    assert await any_identity.tokens.principal_of(raw) is None
    with pytest.raises(NotFound):
        await any_identity.tokens.revoke(ann, info.id)


async def test_a_token_of_somebody_who_is_shut_out_or_left_is_nobody(
    identity: Identity, times: Times
) -> None:
    ann = await first_admin(identity)
    bob, cem = await member(identity, ann, "bob"), await member(identity, ann, "cem")
    of_bob, of_cem = await new(identity, bob, times), await new(identity, cem, times)
    await identity.accounts.set_disabled(ann, bob.user_id, True)
    await identity.members.remove(ann, cem.user_id)
    assert await identity.tokens.principal_of(of_bob) is None
    assert await identity.tokens.principal_of(of_cem) is None
    await identity.members.add(ann, "cem", Role.OWNER)
    assert await identity.tokens.principal_of(of_cem) is None, "it doesn't come back to life"


async def test_a_token_follows_its_owners_role(identity: Identity, times: Times) -> None:
    ann = await first_admin(identity)
    bob = await member(identity, ann, "bob", Role.ADMIN)
    raw = await new(identity, bob, times, "admin")
    await identity.members.set_role(ann, bob.user_id, Role.VIEWER)
    who = await identity.tokens.principal_of(raw)
    assert who is not None and not may(who, Action.PUT_SECRET, bob.workspace_id)


@pytest.mark.parametrize("raw", ["", "gkt_", "gkt_" + "a" * 43, "gkt_" + "é" * 43, "x" * 10_000])
async def test_what_is_no_token_is_nobody(identity: Identity, raw: str) -> None:
    assert await identity.tokens.principal_of(raw) is None


async def test_use_is_noted_at_most_once_a_minute(identity: Identity, times: Times) -> None:
    ann = await first_admin(identity)
    raw = await new(identity, ann, times)
    start, seen = times.now, []
    for _ in range(3):
        await identity.tokens.principal_of(raw)
        (info,) = await identity.tokens.list_of(ann)
        assert info.used_at is not None
        seen.append((info.used_at - start).total_seconds())
        times.pass_(seconds=40)
    assert seen == [0, 0, 80]


async def test_wrong_tokens_are_not_made(identity: Identity, times: Times) -> None:
    ann = await first_admin(identity)
    soon = times.now + timedelta(days=1)
    wrong = (
        {"name": "", "scopes": ["read"], "expires_at": soon},
        {"name": "x", "scopes": [], "expires_at": soon},
        {"name": "x", "scopes": ["root"], "expires_at": soon},
        {"name": "x", "scopes": ["read"], "expires_at": times.now},
        {"name": "x", "scopes": ["read"], "expires_at": times.now + timedelta(days=367)},
    )
    for values in wrong:
        with pytest.raises(TuneError) as refused:
            await identity.tokens.create(ann, **values)
        assert refused.value.code == "TOKEN_INVALID", values


async def test_a_token_makes_no_token_and_sees_none(identity: Identity, times: Times) -> None:
    ann = await first_admin(identity)
    token = await identity.tokens.principal_of(
        await new(identity, ann, times, "read", "write", "run", "admin")
    )
    assert token is not None
    with pytest.raises(Forbidden):
        await new(identity, token, times)
    with pytest.raises(Forbidden):
        await identity.tokens.list_of(token)


async def test_nobody_sees_or_ends_anothers_token(identity: Identity, times: Times) -> None:
    ann = await first_admin(identity)
    bob = await member(identity, ann, "bob", Role.OWNER)
    await new(identity, ann, times)
    (info,) = await identity.tokens.list_of(ann)
    assert await identity.tokens.list_of(bob) == []
    with pytest.raises(NotFound):
        await identity.tokens.revoke(bob, info.id)
    elsewhere = replace(ann, workspace_id=await identity.members.create(ann, "Elsewhere"))
    assert await identity.tokens.list_of(elsewhere) == []

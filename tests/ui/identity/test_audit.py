"""The audit log: nothing is changed, removed, swapped or cut off unseen, and it holds no secret."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select, text, update
from sqlalchemy.exc import DBAPIError

from gemma_keras_tune_ui.identity import audit as audit_module
from gemma_keras_tune_ui.identity.access import Role
from gemma_keras_tune_ui.identity.audit import Audit, Verdict, _clean_detail
from gemma_keras_tune_ui.identity.refusals import SignInFailed
from gemma_keras_tune_ui.identity.service import Identity, open_identity
from gemma_keras_tune_ui.store.engine import Store
from gemma_keras_tune_ui.store.tables import audit
from tests.ui.identity.people import PASSWORD, Times, cookie, first_admin, member


async def write(identity: Identity, count: int) -> None:
    for number in range(count):
        await identity.audit.write(
            identity.workspace_id, "system", "test", f"object{number}", {"number": number}
        )


async def forge(store: Store, *statements: object) -> None:
    """Changes the log as somebody who owns the database could, triggers or not."""
    async with store.begin() as connection:
        if store.is_sqlite:
            for event in ("update", "delete"):
                await connection.execute(text(f"DROP TRIGGER IF EXISTS audit_no_{event}"))
        else:
            await connection.execute(text("ALTER TABLE audit DISABLE TRIGGER USER"))
        for statement in statements:
            await connection.execute(statement)


async def test_an_untouched_log_is_sound(any_identity: Identity) -> None:
    assert await any_identity.audit.verify() == Verdict(True, 0)
    await write(any_identity, 5)
    verdict = await any_identity.audit.verify()
    assert verdict == Verdict(True, 5) and str(verdict) == "The audit log is sound: 5 entries."


@pytest.mark.parametrize("statement", [update(audit).values(actor="x"), delete(audit)])
async def test_the_database_itself_refuses_changes(
    any_identity: Identity, any_store: Store, statement: object
) -> None:
    await write(any_identity, 2)
    with pytest.raises(DBAPIError, match="append-only"):
        async with any_store.begin() as connection:
            await connection.execute(statement)
    assert (await any_identity.audit.verify()).is_sound


@pytest.mark.parametrize(
    "column", ["actor", "address", "action", "object", "detail", "time", "hash"]
)
async def test_a_changed_entry_is_found(
    identity: Identity, empty_store: Store, times: Times, column: str
) -> None:
    await write(identity, 5)
    forged = {"time": times.now + timedelta(microseconds=1), "detail": {"number": 9}}
    value = forged.get(column, "f" * 64)
    await forge(empty_store, update(audit).where(audit.c.seq == 3).values({column: value}))
    assert await identity.audit.verify() == Verdict(False, 3, 3, "changed")


async def test_a_removed_entry_is_found_even_if_the_gap_is_closed(
    any_identity: Identity, any_store: Store
) -> None:
    await write(any_identity, 6)
    await forge(any_store, delete(audit).where(audit.c.seq == 4))
    assert await any_identity.audit.verify() == Verdict(False, 3, 4, "missing")
    await forge(
        any_store, *(update(audit).where(audit.c.seq == n).values(seq=n - 1) for n in (5, 6))
    )
    assert await any_identity.audit.verify() == Verdict(False, 4, 4, "changed"), "no gap is left"


async def test_swapped_entries_are_told_from_changed_ones(
    any_identity: Identity, any_store: Store
) -> None:
    await write(any_identity, 6)
    steps = ((3, 100), (4, 3), (100, 4))
    await forge(any_store, *(update(audit).where(audit.c.seq == a).values(seq=b) for a, b in steps))
    verdict = await any_identity.audit.verify()
    assert verdict == Verdict(False, 3, 3, "reordered")
    assert "entry 3 stands in another's place" in str(verdict)


async def test_a_cut_off_end_is_found_by_the_head_file(
    any_identity: Identity, any_store: Store, tmp_path: Path
) -> None:
    await write(any_identity, 6)
    await forge(any_store, delete(audit).where(audit.c.seq > 4))
    assert await any_identity.audit.verify() == Verdict(False, 4, 5, "truncated")
    await write(any_identity, 1)
    assert (await any_identity.audit.verify()).reason == "truncated", "new entries hide nothing"
    await write(any_identity, 3)
    assert await any_identity.audit.verify() == Verdict(False, 6, 6, "anchor")


async def test_a_forged_or_missing_head_file_is_found(
    identity: Identity, empty_store: Store, tmp_path: Path
) -> None:
    await write(identity, 3)
    path = tmp_path / "audit_head.json"
    good = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**good, "seq": 2}), encoding="utf-8")
    assert await identity.audit.verify() == Verdict(False, 3, 3, "anchor")
    path.unlink()
    assert (await identity.audit.verify()).reason == "anchor"
    await write(identity, 1)
    await open_identity(empty_store, tmp_path, environ={})
    assert (await identity.audit.verify()).reason == "anchor", "nothing makes it anew unasked"


async def test_a_head_that_lags_after_a_kill_catches_up(identity: Identity, tmp_path: Path) -> None:
    await write(identity, 2)
    path = tmp_path / "audit_head.json"
    old = path.read_bytes()
    await write(identity, 2)
    path.write_bytes(old)
    assert (await identity.audit.verify()).is_sound
    await write(identity, 1)
    assert json.loads(path.read_bytes())["seq"] == 5


async def test_another_key_finds_nothing_sound(
    identity: Identity, empty_store: Store, tmp_path: Path
) -> None:
    await write(identity, 2)
    other = Audit(empty_store, bytes(32), head_file=tmp_path / "audit_head.json")
    assert await other.verify() == Verdict(False, 1, 1, "changed")


async def test_a_restored_backup_is_accepted_in_the_open(
    any_identity: Identity, any_store: Store
) -> None:
    await write(any_identity, 6)
    await forge(any_store, delete(audit).where(audit.c.seq > 4))
    assert (await any_identity.audit.accept_head("operator")).reason == "truncated"
    assert await any_identity.audit.verify() == Verdict(True, 5)
    lines = [json.loads(line) async for line in any_identity.audit.export()]
    assert lines[-1]["action"] == "audit.head_accepted"
    assert lines[-1]["detail"] == {"reason": "truncated", "seq": 5}
    await forge(any_store, update(audit).where(audit.c.seq == 2).values(actor="x"))
    await any_identity.audit.accept_head("operator")
    assert (await any_identity.audit.verify()).reason == "changed", "a change is never accepted"


async def test_a_log_that_was_emptied_is_found(any_identity: Identity, any_store: Store) -> None:
    await write(any_identity, 3)
    await forge(any_store, delete(audit))
    assert await any_identity.audit.verify() == Verdict(False, 0, 1, "truncated")
    await any_identity.audit.accept_head("operator")
    assert await any_identity.audit.verify() == Verdict(True, 1)


async def test_many_writers_make_one_chain(
    any_identity: Identity, any_store: Store, tmp_path: Path, times: Times
) -> None:
    """On PostgreSQL over several connections, and with a second process's log beside ours."""
    if any_store.is_sqlite:
        other = any_identity
    else:
        other = await open_identity(any_store, tmp_path, environ={}, clock=times.wall)
    await asyncio.gather(*(write(one, 10) for one in (any_identity, other) for _ in range(4)))
    assert await any_identity.audit.verify() == Verdict(True, 80)


async def test_a_transaction_that_fails_leaves_no_entry_and_no_head(
    any_identity: Identity, any_store: Store
) -> None:
    await write(any_identity, 1)
    with pytest.raises(RuntimeError):
        async with any_identity.audit.begin() as entries:
            await entries.write(any_identity.workspace_id, "a", "b", "c")
            raise RuntimeError
    assert await any_identity.audit.verify() == Verdict(True, 1)


async def test_a_long_log_is_read_page_by_page(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "_PAGE", 4)
    await write(identity, 11)
    assert await identity.audit.verify() == Verdict(True, 11)
    lines = [json.loads(line) async for line in identity.audit.export()]
    assert [line["seq"] for line in lines] == list(range(1, 12))
    assert [line async for line in identity.audit.export("elsewhere")] == []


async def test_a_full_disk_keeps_the_entry_and_says_so(
    identity: Identity, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, value: object) -> None:
        raise OSError(28, "No space left on device")

    await write(identity, 1)
    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(audit_module, "atomic_write_json", full)
        await write(identity, 1)
    assert "No space left" in caplog.text
    assert await identity.audit.verify() == Verdict(True, 2)


async def test_what_is_named_like_a_secret_is_refused(identity: Identity) -> None:
    for name in ("password", "Token", "secret", "value"):
        with pytest.raises(ValueError, match="must not hold"):
            await identity.audit.write(identity.workspace_id, "a", "b", "c", {name: "x"})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(words=st.lists(st.text(max_size=300), min_size=4, max_size=4))
async def test_any_text_is_stored_on_one_line_and_chained(
    any_identity: Identity, words: list[str]
) -> None:
    actor, action, thing, detail = words
    await any_identity.audit.write(
        any_identity.workspace_id, actor, action, thing, {"said": detail, "deep": [{"er": thing}]}
    )
    assert (await any_identity.audit.verify()).is_sound


def test_details_are_cut_and_cleaned_all_the_way_down() -> None:
    cleaned = _clean_detail({"a\n": ["x\x00y", {"b": "z" * 600}], "n": 1})
    assert cleaned["a\ufffd"][0] == "x\ufffdy" and len(cleaned["a\ufffd"][1]["b"]) == 500
    assert cleaned["n"] == 1


async def test_row_49_no_secret_reaches_log_or_audit(
    identity: Identity, empty_store: Store, times: Times, caplog: pytest.LogCaptureFixture
) -> None:
    """CVE-2022-24757: every secret that identity handles is used, and looked for afterwards."""
    with caplog.at_level(logging.DEBUG):
        ann = await first_admin(identity)
        bob = await member(identity, ann, "bob", Role.ADMIN)
        canaries = {"password": PASSWORD, "code": identity.setup.renew()}
        canaries["cookie"] = await cookie(identity, ann.user_id, ann.workspace_id)
        _, canaries["token"] = await identity.tokens.create(
            ann, name="ci", scopes=["read"], expires_at=times.now + timedelta(days=1)
        )
        canaries["secret"] = "hf_canary_value_7f3a"
        await identity.vault.put(ann, "HF_TOKEN", canaries["secret"])
        await identity.vault.rotate()
        canaries["new password"] = await identity.accounts.reset_password(ann, bob.user_id)
        canaries["chosen password"] = "violet tram seven geese"
        await identity.accounts.change_password(ann, PASSWORD, canaries["chosen password"])
        canaries["wrong password"] = "amber fox nine clouds"
        for name in ("ann", "nobody", canaries["wrong password"]):
            with pytest.raises(SignInFailed):
                await identity.accounts.sign_in(name, canaries["wrong password"], address="x")
        assert await identity.tokens.principal_of(canaries["token"])
    lines = [line async for line in identity.audit.export()]
    actions = {json.loads(line)["action"] for line in lines}
    assert {"setup.done", "token.created", "secret.put", "password.reset", "password.changed",
            "sign_in.failed", "session.opened", "user.created"} <= actions  # fmt: skip
    async with empty_store.begin() as connection:
        assert await connection.scalar(select(func.count()).select_from(audit)) == len(lines)
    # aiosqlite's debug lines show statements with the values that they bind, as hashes
    logged = "\n".join(
        record.getMessage() for record in caplog.records if record.name != "aiosqlite"
    )
    for what, value in canaries.items():
        parts = [value, value.partition(".")[0]]
        assert not any(part in line for part in parts for line in lines), what
        assert not any(part in logged for part in parts), what

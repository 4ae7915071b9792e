"""What an operator does on the server's terminal."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from pathlib import Path

import pytest

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.identity import operations
from gemma_keras_tune_ui.identity.access import Role
from gemma_keras_tune_ui.identity.refusals import SignInFailed
from gemma_keras_tune_ui.store.sqlite import wal_is_safe
from tests.support.databases import sqlite_url
from tests.ui.identity.people import PASSWORD, first_admin


async def test_accounts_secrets_and_log_from_the_terminal(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path)
    async with operations.at_terminal(url, tmp_path, environ={}) as identity:
        ann = await first_admin(identity)
        await identity.vault.put(ann, "HF_TOKEN", "hf_x")
        bob = await operations.user_create(
            identity, "Bob", display_name="Bob", password=PASSWORD, role=Role.VIEWER
        )
        assert not bob.is_server_admin
        await identity.sessions.open(bob.id, bob.workspace_id, address="", agent="")
        assert await operations.sessions_end(identity, "bob") == 1
        new = await operations.user_reset_password(identity, "bob")
        assert (await identity.accounts.sign_in("bob", new, address="")).must_change_password
        await operations.user_set_disabled(identity, "bob", True)
        with pytest.raises(SignInFailed):
            await identity.accounts.sign_in("bob", new, address="")
        await operations.user_set_disabled(identity, "bob", False)
        await operations.user_set_server_admin(identity, "bob", True)
        await operations.user_set_disabled(identity, "ann", True)
        assert await operations.secrets_rotate(identity) == 1
        with pytest.raises(TuneError, match="Accounts: ann, bob"):
            await operations.user_reset_password(identity, "zoe")
    async with operations.at_terminal(url, tmp_path, environ={}) as identity:
        assert await identity.vault.get(ann.workspace_id, "HF_TOKEN") == "hf_x"
        verdict = await operations.audit_verify(identity)
        assert verdict.is_sound
        lines = [json.loads(line) async for line in operations.audit_export(identity)]
        assert len(lines) == verdict.checked
        by_operator = {line["action"] for line in lines if line["actor"] == "operator"}
        assert by_operator == {
            "user.created", "session.all_ended", "password.reset", "user.disabled", "user.enabled",
            "user.made_admin", "secret.rotated",
        }  # fmt: skip
        assert (await operations.audit_accept_head(identity)).is_sound


async def test_a_token_from_the_terminal_acts_as_its_account_and_the_log_says_who_made_it(
    tmp_path: Path,
) -> None:
    async with operations.at_terminal(sqlite_url(tmp_path), tmp_path, environ={}) as identity:
        await first_admin(identity)
        bob = await operations.user_create(
            identity, "bob", display_name="Bob", password=PASSWORD, role=Role.VIEWER
        )
        raw = await operations.token_create(
            identity, "bob", token_name="cron", scopes=["read", "run"], days=7
        )
        acting = await identity.tokens.principal_of(raw)
        assert acting is not None and acting.user_id == bob.id
        assert (acting.role, acting.scopes, acting.via) == (Role.VIEWER, {"read", "run"}, "token")
        lines = [json.loads(line) async for line in operations.audit_export(identity)]
        (made,) = [line for line in lines if line["action"] == "token.created"]
        assert made["actor"] == "operator" and made["detail"]["for"] == bob.id
        assert raw not in json.dumps(lines)
        with pytest.raises(TuneError, match="scopes are one or more of"):
            await operations.token_create(
                identity, "bob", token_name="cron", scopes=["everything"], days=7
            )


@pytest.mark.skipif(
    wal_is_safe(sqlite3.sqlite_version_info), reason="this SQLite lets a second process in"
)
async def test_a_database_that_a_server_holds_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemma_keras_tune_ui.store.sqlite._BUSY_MS", 100)
    url = sqlite_url(tmp_path)
    hold = (
        "import asyncio, sys\n"
        "from gemma_keras_tune_ui.store.engine import open_store\n"
        "async def main():\n"
        "    store = await open_store(sys.argv[1])\n"
        "    print('held', flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-c", hold, url, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        assert await server.stdout.readline() == b"held\n"
        with pytest.raises(TuneError, match="Stop it and call this again") as refused:
            async with operations.at_terminal(url, tmp_path, environ={}):
                pass
        assert refused.value.code == "DB_LOCKED"
    finally:
        server.kill()
        await server.wait()


async def test_another_failure_keeps_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "app.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(TuneError) as refused:
        async with operations.at_terminal(sqlite_url(tmp_path), tmp_path, environ={}):
            pass
    assert refused.value.code == "DB_DAMAGED"

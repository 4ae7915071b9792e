"""The web app's commands, on a data root whose server doesn't run."""

from __future__ import annotations

import asyncio
import builtins
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from gemma_keras_tune import locks
from gemma_keras_tune.cli import app
from gemma_keras_tune_ui.identity.refusals import SignInFailed
from gemma_keras_tune_ui.identity.service import open_identity
from gemma_keras_tune_ui.store.engine import open_store
from tests.support.app_root import make_root
from tests.support.app_server import PASSWORD


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with one administrator, ann."""
    return make_root(tmp_path)


def operate(root: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["server", *words, "--root", str(root)])


def signs_in(root: Path, name: str, password: str) -> bool:
    async def ask() -> bool:
        store = await open_store(f"sqlite+aiosqlite:///{root}/server.sqlite3")
        identity = await open_identity(store, root)
        try:
            await identity.accounts.sign_in(name, password, address="")
        except SignInFailed as error:
            assert error.code == "SIGN_IN_FAILED"
            return False
        finally:
            await store.close()
        return True

    return asyncio.run(ask())


def test_an_account_is_made_with_a_password_that_works_and_is_shown_once(root):
    done = operate(root, "users", "add", "bob", "--role", "viewer")
    assert done.exit_code == 0, done.output
    password = done.stdout.strip().rpartition(" ")[2]
    assert signs_in(root, "bob", password)
    assert "ACCOUNT_EXISTS" in operate(root, "users", "add", "bob").stderr
    wrong = operate(root, "users", "add", "carl", "--role", "king")
    assert wrong.exit_code == 2 and "viewer, editor, admin, owner" in wrong.stderr


def test_a_password_that_was_reset_is_the_only_one_that_works(root):
    password = operate(root, "users", "reset-password", "ann").stdout.strip().rpartition(" ")[2]
    assert not signs_in(root, "ann", PASSWORD)
    assert signs_in(root, "ann", password)


def test_an_account_is_shut_out_and_let_in_again_but_not_the_last_administrator(root):
    password = operate(root, "users", "add", "bob").stdout.strip().rpartition(" ")[2]
    assert operate(root, "users", "disable", "bob").exit_code == 0
    assert not signs_in(root, "bob", password)
    assert operate(root, "users", "enable", "bob").exit_code == 0
    assert signs_in(root, "bob", password)
    refused = operate(root, "users", "disable", "ann")
    assert refused.exit_code == 2 and "LAST_ADMIN" in refused.stderr
    unknown = operate(root, "users", "disable", "nobody")
    assert unknown.exit_code == 2 and "ann" in unknown.stderr


def test_the_audit_log_is_sound_until_somebody_shortens_it(root):
    done = operate(root, "audit", "verify")
    assert done.exit_code == 0 and "is sound" in done.stdout
    (root / "audit_head.json").unlink()
    refused = operate(root, "audit", "verify")
    assert refused.exit_code == 2 and "NOT sound" in refused.stderr
    assert operate(root, "audit", "accept-head").exit_code == 0
    assert operate(root, "audit", "verify").exit_code == 0


def test_secrets_get_a_new_key(root):
    before = (root / "secrets" / "vault.keys").read_text()
    done = operate(root, "secrets", "rotate")
    assert done.exit_code == 0 and "0 secrets" in done.stdout
    assert (root / "secrets" / "vault.keys").read_text() != before


def test_a_backup_is_a_database_of_its_own_and_old_ones_go(root):
    (root / "server.toml").write_text("[backup]\nkeep = 1\n")
    old = root / "backups" / "server-20200101-000000.sqlite3"
    old.parent.mkdir()
    old.write_text("")
    done = operate(root, "backup")
    made = Path(done.stdout.strip())
    assert done.exit_code == 0 and made.parent == old.parent
    assert list(old.parent.iterdir()) == [made]
    assert made.read_bytes()[:15] == b"SQLite format 3"


def test_beside_a_server_that_needs_the_database_alone_it_is_refused_at_once(root, monkeypatch):
    monkeypatch.setattr("gemma_keras_tune_ui.terminal.wal_is_safe", lambda version: False)
    handle = locks.take(root / "server.lock")
    locks.describe(handle)
    try:
        refused = operate(root, "backup")
    finally:
        locks.release(handle)
    assert refused.exit_code == 2 and "DB_LOCKED" in refused.stderr


def test_settings_that_are_wrong_are_told_without_starting_anything(tmp_path):
    (tmp_path / "server.toml").write_text("prt = 1\n")
    done = CliRunner().invoke(app, ["ui", "--root", str(tmp_path)])
    assert done.exit_code == 2 and "no such setting. Did you mean 'port'?" in done.stderr


@pytest.mark.parametrize("words", [["ui"], ["server", "backup"]])
def test_without_the_extra_the_command_that_installs_it_is_told(words, monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "nicegui":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    import importlib

    def import_module(name, package=None):
        return without(name, fromlist=["x"])

    monkeypatch.setattr(importlib, "import_module", import_module)
    done = CliRunner().invoke(app, [*words, "--root", str(tmp_path)])
    assert done.exit_code == 2
    assert 'pip install "gemma-keras-tune[ui]"' in done.stderr

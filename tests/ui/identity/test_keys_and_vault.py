"""Keys that only the server's user can read, and secrets that only the server can."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import os
import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import select, update

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune_ui.identity.access import Forbidden, NotFound, Role
from gemma_keras_tune_ui.identity.audit import Audit
from gemma_keras_tune_ui.identity.keys import VaultKeys, load_keys
from gemma_keras_tune_ui.identity.service import Identity, open_identity
from gemma_keras_tune_ui.identity.vault import Vault
from gemma_keras_tune_ui.jobs.credentials import credentials_in
from gemma_keras_tune_ui.jobs.job import Job
from gemma_keras_tune_ui.store.engine import Store
from gemma_keras_tune_ui.store.tables import secrets
from tests.ui.identity.people import first_admin, member, stranger

VALUE = "hf_canary_value_7f3a"


def refused_code(folder: Path, environ: dict[str, str] | None = None) -> str:
    with pytest.raises(TuneError) as refused:
        load_keys(folder, environ or {})
    return refused.value.code


def test_row_45_keys_are_made_at_the_first_start_for_one_user_only(tmp_path: Path) -> None:
    """CVE-2023-25823 and others: no key is shipped, and none is the same twice."""
    one, two = load_keys(tmp_path / "a", {}), load_keys(tmp_path / "b", {})
    assert one == load_keys(tmp_path / "a", {}), "they stay"
    assert len({one.audit, one.cookie, two.audit, two.cookie}) == 4
    assert one.vault.current() != two.vault.current()
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a").iterdir()}
    assert modes == {"vault.keys": 0o600, "audit.key": 0o600, "cookie.key": 0o600}


@pytest.mark.parametrize("name", ["", "vault.keys", "audit.key", "cookie.key"])
@pytest.mark.parametrize("mode", [0o040, 0o004, 0o020])
def test_keys_that_others_can_read_are_refused(tmp_path: Path, name: str, mode: int) -> None:
    folder = tmp_path / "secrets"
    load_keys(folder, {})
    path = folder / name
    path.chmod(stat.S_IMODE(path.stat().st_mode) | mode)
    assert refused_code(folder) == "KEY_READABLE"


def typed(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).decode()


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("change-me", "KEY_UNUSABLE"),
        ("", "KEY_UNUSABLE"),
        (typed(b"short"), "KEY_UNUSABLE"),
        (typed(bytes(32)), "KEY_WEAK"),
        (typed(b"\xff\x00" * 16), "KEY_WEAK"),
        (typed(b"an-example-key-from-the-docs-123"), "KEY_WEAK"),
    ],
)
def test_row_45_weak_and_sample_keys_are_refused(tmp_path: Path, key: str, code: str) -> None:
    folder = tmp_path / "secrets"
    load_keys(folder, {})
    for name, variable in (
        ("vault.keys", "GEMMA_KERAS_TUNE_VAULT_KEYS"),
        ("audit.key", "GEMMA_KERAS_TUNE_AUDIT_KEY"),
        ("cookie.key", "GEMMA_KERAS_TUNE_COOKIE_KEY"),
    ):
        if key:
            assert refused_code(folder, {variable: key}) == code
        good = (folder / name).read_text(encoding="ascii")
        (folder / name).write_text(key, encoding="ascii")
        assert refused_code(folder) == code
        (folder / name).write_text(good, encoding="ascii")


def test_row_62_a_link_in_the_place_of_a_key_is_not_followed(tmp_path: Path) -> None:
    """CVE-2022-0736: whatever was put there beforehand is neither read nor written."""
    folder, target, good = tmp_path / "secrets", tmp_path / "target", tmp_path / "good"
    folder.mkdir(mode=0o700)
    (folder / "audit.key").symlink_to(target)
    assert refused_code(folder) == "KEY_UNUSABLE"
    assert not target.exists()
    load_keys(good, {})
    (good / "audit.key").rename(target)
    assert refused_code(folder) == "KEY_UNUSABLE", "even if it leads to a good key"
    linked = tmp_path / "linked"
    linked.symlink_to(folder)
    assert refused_code(linked) == "KEY_UNUSABLE"


def test_a_key_in_the_environment_wins_and_no_key_is_shown(tmp_path: Path) -> None:
    key = Fernet.generate_key().decode()
    keys = load_keys(tmp_path / "secrets", {"GEMMA_KERAS_TUNE_VAULT_KEYS": key})
    assert keys.vault.current() == (key.encode(),)
    assert not (tmp_path / "secrets" / "vault.keys").exists()
    assert key not in repr(keys) and repr(keys.audit) not in repr(keys)
    with pytest.raises(TuneError) as refused:
        keys.vault.replace([b"x"])
    assert refused.value.code == "KEY_IN_ENVIRONMENT"


async def test_a_secret_comes_back_on_the_server_only(
    any_identity: Identity, any_store: Store
) -> None:
    ann = await first_admin(any_identity)
    vault = any_identity.vault
    await vault.put(ann, "HF_TOKEN", VALUE)
    assert await vault.get(ann.workspace_id, "HF_TOKEN") == VALUE
    await vault.put(ann, "HF_TOKEN", VALUE + "2")
    assert await vault.get(ann.workspace_id, "HF_TOKEN") == VALUE + "2"
    listed = await vault.names(ann)
    assert [one.name for one in listed] == ["HF_TOKEN"] and VALUE not in str(listed)
    async with any_store.begin() as connection:
        rows = (await connection.execute(select(secrets))).all()
    assert VALUE not in str(rows) and VALUE.encode() not in rows[0].ciphertext


async def test_row_46_secrets_are_never_listed_and_stay_in_their_workspace(
    identity: Identity, empty_store: Store
) -> None:
    """CVE-2026-3198 and others: neither another tenant nor a moved row gets a value out."""
    ann = await first_admin(identity)
    eve = await stranger(identity, ann)
    await identity.vault.put(ann, "HF_TOKEN", VALUE)
    assert await identity.vault.names(eve) == []
    with pytest.raises(NotFound):
        await identity.vault.delete(eve, "HF_TOKEN")
    with pytest.raises(NotFound):
        await identity.vault.get(eve.workspace_id, "HF_TOKEN")
    async with empty_store.begin() as connection:
        await connection.execute(update(secrets).values(workspace_id=eve.workspace_id))
    with pytest.raises(TuneError) as refused:
        await identity.vault.get(eve.workspace_id, "HF_TOKEN")
    assert refused.value.code == "VAULT_KEY_LOST"


async def test_roles_decide_who_sets_and_names_secrets(identity: Identity) -> None:
    ann = await first_admin(identity)
    bob, cem = await member(identity, ann, "bob"), await member(identity, ann, "cem", Role.VIEWER)
    await identity.vault.put(ann, "HF_TOKEN", VALUE)
    for call in (
        identity.vault.put(bob, "X", "y"),
        identity.vault.delete(bob, "HF_TOKEN"),
        identity.vault.names(cem),
    ):
        with pytest.raises(Forbidden):
            await call
    assert [one.name for one in await identity.vault.names(bob)] == ["HF_TOKEN"]
    await identity.vault.delete(ann, "HF_TOKEN")
    assert await identity.vault.names(ann) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("", "x"), ("1X", "x"), ("A B", "x"), ("A" * 81, "x"), ("A/../B", "x"), ("X", ""),
     ("X", "x" * 16_385), ("X", "é" * 8193)],
)  # fmt: skip
async def test_names_and_sizes_have_bounds(identity: Identity, name: str, value: str) -> None:
    ann = await first_admin(identity)
    with pytest.raises(TuneError) as refused:
        await identity.vault.put(ann, name, value)
    assert refused.value.code == "SECRET_INVALID"
    assert value * 2 not in str(refused.value) or not value


async def test_a_workspace_has_so_many_secrets(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gemma_keras_tune_ui.identity.vault.MOST", 2)
    ann = await first_admin(identity)
    for name in ("A", "B", "A"):
        await identity.vault.put(ann, name, "x")
    with pytest.raises(TuneError, match="the most"):
        await identity.vault.put(ann, "C", "x")


async def test_rotation_makes_a_new_key_and_forgets_the_old_one(
    any_identity: Identity, any_store: Store, tmp_path: Path
) -> None:
    ann = await first_admin(any_identity)
    for name in ("A", "B", "C"):
        await any_identity.vault.put(ann, name, VALUE + name)
    path = tmp_path / "secrets" / "vault.keys"
    old = path.read_bytes()
    assert await any_identity.vault.rotate() == 3
    assert path.read_bytes() != old and len(path.read_bytes().split()) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert await any_identity.vault.get(ann.workspace_id, "B") == VALUE + "B"
    with_old = VaultKeys(path, old.decode().strip())
    audit = Audit(any_store, bytes(32), head_file=tmp_path / "x")
    with pytest.raises(TuneError) as refused:
        await Vault(any_store, with_old, audit).get(ann.workspace_id, "B")
    assert refused.value.code == "VAULT_KEY_LOST"


@pytest.mark.parametrize("writes_before_the_kill", [0, 1])
async def test_a_rotation_that_is_killed_loses_nothing(
    identity: Identity, monkeypatch: pytest.MonkeyPatch, writes_before_the_kill: int
) -> None:
    ann = await first_admin(identity)
    await identity.vault.put(ann, "A", VALUE)
    write, left = VaultKeys.replace, [writes_before_the_kill]

    def killed(self: VaultKeys, keys: list[bytes]) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        write(self, keys)

    with monkeypatch.context() as patch:
        patch.setattr(VaultKeys, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            await identity.vault.rotate()
    assert await identity.vault.get(ann.workspace_id, "A") == VALUE
    assert await identity.vault.rotate() == 1
    assert await identity.vault.get(ann.workspace_id, "A") == VALUE


async def test_rotations_and_writes_at_once_lose_nothing(any_identity: Identity) -> None:
    ann = await first_admin(any_identity)
    vault = any_identity.vault
    puts = (vault.put(ann, f"S{number}", f"{VALUE}{number}") for number in range(12))
    await asyncio.gather(*puts, vault.rotate(), vault.rotate(), vault.rotate())
    values = [await vault.get(ann.workspace_id, f"S{number}") for number in range(12)]
    assert values == [f"{VALUE}{number}" for number in range(12)]


async def test_with_keys_from_the_environment_the_first_one_takes_over(
    empty_store: Store, tmp_path: Path
) -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    name = "GEMMA_KERAS_TUNE_VAULT_KEYS"
    before = await open_identity(empty_store, tmp_path, environ={name: old})
    ann = await first_admin(before)
    await before.vault.put(ann, "A", VALUE)
    both = await open_identity(empty_store, tmp_path, environ={name: f"{new},{old}"})
    assert await both.vault.rotate() == 1
    after = await open_identity(empty_store, tmp_path, environ={name: new})
    assert await after.vault.get(ann.workspace_id, "A") == VALUE
    with pytest.raises(TuneError) as refused:
        await open_identity(empty_store, tmp_path, environ={name: old})
    assert refused.value.code == "VAULT_KEY_LOST"


async def test_a_lost_key_is_known_at_the_start(
    identity: Identity, empty_store: Store, tmp_path: Path
) -> None:
    ann = await first_admin(identity)
    await identity.vault.put(ann, "A", VALUE)
    os.unlink(tmp_path / "secrets" / "vault.keys")
    with pytest.raises(TuneError, match="its key is gone") as refused:
        await open_identity(empty_store, tmp_path, environ={})
    assert refused.value.code == "VAULT_KEY_LOST"


async def test_a_job_gets_the_hub_tokens_of_its_own_workspace_only(identity: Identity) -> None:
    ann = await first_admin(identity)
    eve = await stranger(identity, ann)
    await identity.vault.put(ann, "HF_TOKEN", "hf_of_ann")
    await identity.vault.put(ann, "mail-password", "not for a hub")
    await identity.vault.put(eve, "KAGGLE_KEY", "of eve")
    credentials_of = credentials_in(identity.vault)
    assert await credentials_of(job_in(ann.workspace_id)) == {"HF_TOKEN": "hf_of_ann"}
    assert await credentials_of(job_in(eve.workspace_id)) == {"KAGGLE_KEY": "of eve"}


def job_in(workspace_id: str) -> Job:
    given = dict.fromkeys((field.name for field in dataclasses.fields(Job)), None)
    return Job(**given | {"workspace_id": workspace_id})

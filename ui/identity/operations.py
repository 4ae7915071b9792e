"""What an operator does on the server's own terminal; the command line calls these.

An SQLite database belongs to the server while it runs: stop it first. Who has this terminal can
read the keys and write the database, so nothing is authorized here; all of it is in the audit log.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from gemma_keras_tune.errors import TuneError

from ..store.engine import open_store
from .access import Principal, Role, operator
from .audit import Verdict
from .clock import utc_now
from .people import User
from .service import Identity, open_identity


@asynccontextmanager
async def at_terminal(
    url: str, root: Path, *, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[Identity]:
    """Identity for one command.

    Args:
        url: The database.
        root: The data root.
        environ: Where keys may stand instead of in files.

    Raises:
        TuneError: `DB_LOCKED` if a server has the database, or another code of `open_store` and
            `open_identity`.
    """
    try:
        store = await open_store(url)
    except TuneError as error:
        if error.code != "DB_LOCKED":
            raise
        raise TuneError(
            f"A server is running on {root} and has its database. Stop it and call this again, or "
            "do it as an administrator in the app or by its API.",
            code="DB_LOCKED",
        ) from error
    try:
        yield await open_identity(store, root, environ=environ)
    finally:
        await store.close()


async def audit_verify(identity: Identity) -> Verdict:
    """Whether the audit log's chain is whole; see `Verdict`."""
    return await identity.audit.verify()


async def audit_export(identity: Identity) -> AsyncIterator[str]:
    """The whole audit log, a line of JSON for each entry, the oldest first."""
    async for line in identity.audit.export():
        yield line


async def audit_accept_head(identity: Identity) -> Verdict:
    """Goes on after a backup was put back, which lacks the newest entries; says what was found."""
    return await identity.audit.accept_head("operator")


async def secrets_rotate(identity: Identity) -> int:
    """Encrypts all secrets with a new key, and forgets the old one; says how many they were."""
    count = await identity.vault.rotate()
    detail = {"count": count}
    await identity.audit.write(identity.workspace_id, "operator", "secret.rotated", "vault", detail)
    return count


async def user_create(
    identity: Identity, name: str, *, display_name: str, password: str, role: Role
) -> User:
    """A new account in the first workspace.

    Raises:
        TuneError: As `Accounts.create`.
    """
    return await identity.accounts.create(
        _operator(identity), name=name, display_name=display_name, role=role, password=password
    )


async def user_reset_password(identity: Identity, name: str) -> str:
    """A fresh password for an account, to be shown once; all its sessions end.

    Raises:
        TuneError: `NO_SUCH_USER`.
    """
    user = await _find(identity, name)
    return await identity.accounts.reset_password(_operator(identity), user.id)


async def user_set_disabled(identity: Identity, name: str, is_disabled: bool) -> None:
    """Shuts an account out, or lets it in again.

    Raises:
        TuneError: `NO_SUCH_USER`, or `LAST_ADMIN`.
    """
    user = await _find(identity, name)
    await identity.accounts.set_disabled(_operator(identity), user.id, is_disabled)


async def user_set_server_admin(identity: Identity, name: str, is_admin: bool) -> None:
    """Makes an account administrator of the server, or ordinary again.

    Raises:
        TuneError: `NO_SUCH_USER`, or `LAST_ADMIN`.
    """
    user = await _find(identity, name)
    await identity.accounts.set_server_admin(_operator(identity), user.id, is_admin)


async def token_create(
    identity: Identity, name: str, *, token_name: str, scopes: Iterable[str], days: float
) -> str:
    """A token of an account, for the workspace that opens after signing in; to be shown once.

    Raises:
        TuneError: `NO_SUCH_USER`, or `TOKEN_INVALID` with all that is wrong.
    """
    user = await _find(identity, name)
    owner = Principal(
        user_id=user.id,
        name=user.name,
        workspace_id=user.workspace_id,
        role=Role.VIEWER,  # what a token may is looked up by its owner's role at each request
        via="operator",
    )
    until = utc_now() + timedelta(days=days)
    _, raw = await identity.tokens.create(owner, name=token_name, scopes=scopes, expires_at=until)
    return raw


async def sessions_end(identity: Identity, name: str) -> int:
    """Ends all sessions of an account; says how many they were.

    Raises:
        TuneError: `NO_SUCH_USER`.
    """
    user = await _find(identity, name)
    return await identity.sessions.revoke_all_of(user.id, actor="operator")


def _operator(identity: Identity) -> Principal:
    return operator(identity.workspace_id)


async def _find(identity: Identity, name: str) -> User:
    users = await identity.accounts.users(_operator(identity))
    for user in users:
        if user.name == name.strip().lower():
            return user
    known = ", ".join(user.name for user in users[:20]) or "none yet"
    raise TuneError(f"There is no account called {name!r}. Accounts: {known}.", code="NO_SUCH_USER")

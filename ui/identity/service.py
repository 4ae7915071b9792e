"""Identity put together: everything that the gate, the pages and the API ask, in one value."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ..store.engine import Store
from .accounts import Accounts
from .audit import Audit
from .clock import Clock, Monotonic, utc_now
from .csrf import Csrf
from .external import ExternalAccounts
from .first_start import Setup, first_workspace
from .invitations import Invitations
from .keys import load_keys
from .members import Members
from .oidc import Oidc, OidcConfig
from .passwords import Passwords
from .rate_limits import ApiLimits, SignInLimits
from .sessions import IDLE, LONGEST, Sessions
from .tokens import Tokens
from .vault import Vault

SECRETS_FOLDER = "secrets"
HEAD_FILE = "audit_head.json"


@dataclass(frozen=True)
class Identity:
    """The parts of identity, over one database.

    Attributes:
        workspace_id: The first workspace, to which runs from a terminal belong.
        audit: The audit log.
        sessions: Who is signed in.
        tokens: Personal tokens for the API.
        accounts: Signing in, and what administrators do with accounts.
        members: Workspaces and their members.
        invitations: Links that make somebody a member.
        setup: Makes the first administrator.
        csrf: Tokens for forms.
        vault: Secrets of workspaces.
        api_limits: How many requests one principal may send.
        oidc: Single sign-on; None if it isn't configured.
    """

    workspace_id: str
    audit: Audit
    sessions: Sessions
    tokens: Tokens
    accounts: Accounts
    members: Members
    invitations: Invitations
    setup: Setup
    csrf: Csrf
    vault: Vault
    api_limits: ApiLimits
    oidc: Oidc | None


async def open_identity(
    store: Store,
    root: Path,
    *,
    environ: Mapping[str, str] = os.environ,
    idle: timedelta = IDLE,
    longest: timedelta = LONGEST,
    oidc: OidcConfig | None = None,
    clock: Clock = utc_now,
    monotonic: Monotonic = time.monotonic,
) -> Identity:
    """Identity over an open database; its keys and its first workspace are made if missing.

    Args:
        store: The open database.
        root: The data root.
        environ: Where keys may stand instead of in files.
        idle: A session ends when it wasn't used for so long.
        longest: A session ends so long after signing in.
        oidc: Single sign-on.
        clock: The wall clock.
        monotonic: Seconds that never jump.

    Raises:
        TuneError: A code of `load_keys`, `ROOT_MISMATCH`, or `VAULT_KEY_LOST`.
    """
    keys = load_keys(root / SECRETS_FOLDER, environ)
    workspace_id = await first_workspace(store, root, clock=clock)
    audit = Audit(store, keys.audit, head_file=root / HEAD_FILE, clock=clock)
    await audit.prepare()
    sessions = Sessions(store, audit, keys.cookie, idle=idle, longest=longest, clock=clock)
    passwords = Passwords()
    limits = SignInLimits(clock=monotonic)
    accounts = Accounts(store, audit, sessions, passwords, limits, clock=clock)
    vault = Vault(store, keys.vault, audit, clock=clock)
    await vault.check()
    external = ExternalAccounts(audit, accounts, clock=clock)
    return Identity(
        workspace_id=workspace_id,
        audit=audit,
        sessions=sessions,
        tokens=Tokens(store, audit, clock=clock),
        accounts=accounts,
        members=Members(store, audit, sessions, clock=clock),
        invitations=Invitations(store, audit, passwords, clock=clock, monotonic=monotonic),
        setup=Setup(store, audit, passwords, clock=monotonic, wall_clock=clock),
        csrf=Csrf(keys.cookie),
        vault=vault,
        api_limits=ApiLimits(clock=monotonic),
        oidc=Oidc(oidc, keys.cookie, external, clock=clock) if oidc else None,
    )

"""Clocks, and people who are signed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from gemma_keras_tune_ui.identity.access import Principal, Role
from gemma_keras_tune_ui.identity.service import Identity

PASSWORD = "heron lamp cobalt river"


class Times:
    """A wall clock and monotonic seconds that move when a test says so."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 22, 12, tzinfo=UTC)
        self.monotonic = 1000.0

    def wall(self) -> datetime:
        return self.now

    def seconds(self) -> float:
        return self.monotonic

    def pass_(self, **how: float) -> None:
        """Time goes on, for both."""
        step = timedelta(**how)
        self.now += step
        self.monotonic += step.total_seconds()


async def first_admin(identity: Identity, name: str = "ann") -> Principal:
    """The administrator, signed in; owner of the first workspace."""
    code = identity.setup.renew()
    user = await identity.setup.create_first_admin(
        code, name=name, display_name=name.title(), password=PASSWORD
    )
    return await signed_in(identity, user.id, user.workspace_id)


async def signed_in(identity: Identity, user_id: str, workspace_id: str) -> Principal:
    principal = await identity.sessions.principal_of(await cookie(identity, user_id, workspace_id))
    assert principal is not None
    return principal


async def cookie(identity: Identity, user_id: str, workspace_id: str) -> str:
    return await identity.sessions.open(user_id, workspace_id, address="10.0.0.1", agent="test")


async def member(
    identity: Identity, admin: Principal, name: str, role: Role = Role.EDITOR
) -> Principal:
    """Another account in the admin's workspace, signed in."""
    user = await identity.accounts.create(
        admin, name=name, display_name=name.title(), role=role, password=PASSWORD
    )
    return await signed_in(identity, user.id, admin.workspace_id)


async def stranger(identity: Identity, admin: Principal, name: str = "eve") -> Principal:
    """The owner of another workspace, and of nothing in the admin's."""
    workspace_id = await identity.members.create(admin, "Elsewhere")
    there = await signed_in(identity, admin.user_id, workspace_id)
    return await member(identity, there, name, Role.OWNER)

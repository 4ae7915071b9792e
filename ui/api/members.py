"""Workspaces, their members and quotas, and the accounts of the server."""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import select

from ..identity.access import Action
from ..identity.people import Member, User
from ..identity.refusals import not_found
from ..store.tables import memberships, quotas
from .asking import Asking, to
from .problems import PREFIX, REFUSALS
from .session import ROLES, RoleName, WorkspaceLine, role_name

router = APIRouter(prefix=PREFIX, tags=["members"], responses={**REFUSALS})

UserId = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
MayView = Annotated[Asking, Depends(to(Action.VIEW_MEMBERS))]
MayManage = Annotated[Asking, Depends(to(Action.MANAGE_MEMBERS))]
MayManageUsers = Annotated[Asking, Depends(to(Action.MANAGE_USERS))]
Amount = Annotated[int | None, Field(ge=0, le=10_000)]


class MemberView(BaseModel):
    """One member of the workspace."""

    user_id: str
    """The account."""
    name: str
    """What it signs in with."""
    display_name: str
    """What others see."""
    role: RoleName
    """What it may do here."""
    is_disabled: bool
    """Whether it is shut out of the server."""
    created_at: datetime
    """Since when it is a member."""


class NewMember(BaseModel):
    """Who is to become a member."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=80)
    """What the account signs in with."""
    role: RoleName
    """Not above your own."""


class NewRole(BaseModel):
    """Another role."""

    model_config = ConfigDict(extra="forbid")

    role: RoleName
    """Not above your own."""


class WorkspaceName(BaseModel):
    """What a workspace is called."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=80)
    """One line."""


class QuotaView(BaseModel):
    """What somebody may use; null: no row says, so the server's default holds."""

    user_id: str | None
    """Whose; null: everybody's in this workspace."""
    running_jobs: int | None
    """Jobs at once."""
    queued_jobs: int | None
    """Jobs that wait."""
    disk_bytes: int | None
    """Bytes of uploads, data sets and runs."""


class NewQuota(BaseModel):
    """What somebody may use; null: the server's default."""

    model_config = ConfigDict(extra="forbid")

    user_id: str | None = Field(default=None, pattern="^[0-9a-f]{32}$")
    """Whose; null: everybody's in this workspace."""
    running_jobs: Amount = None
    """Jobs at once."""
    queued_jobs: Amount = None
    """Jobs that wait."""
    disk_bytes: int | None = Field(default=None, ge=0, le=2**50)
    """Bytes of uploads, data sets and runs."""


class NewUser(BaseModel):
    """A new account, member of the open workspace."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=80)
    """To sign in with."""
    display_name: str = Field(min_length=1, max_length=80)
    """To show."""
    role: RoleName = "viewer"
    """In the open workspace."""
    email: str | None = Field(default=None, max_length=254)
    """Its address; single sign-on lets in who has proved to own it."""
    password: str | None = Field(default=None, min_length=1, max_length=1000)
    """Its first one; null: only by single sign-on."""


class UserChanges(BaseModel):
    """What to change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    is_disabled: bool | None = None
    """Whether it is shut out."""
    is_server_admin: bool | None = None
    """Whether it may do what is about the whole server."""


class PasswordMade(BaseModel):
    """A fresh password, shown this once."""

    password: str
    """To be told to its owner, who should change it."""


@router.get("/workspaces")
async def list_workspaces(asked: MayView) -> list[WorkspaceLine]:
    """Lists your workspaces; a token sees its own only."""
    mine = await asked.identity.members.mine(asked.principal)
    return [WorkspaceLine(id=id, name=name, role=role_name(role)) for id, name, role in mine]


@router.post("/workspaces", status_code=201)
async def create_workspace(
    asked: Annotated[Asking, Depends(to(Action.CREATE_WORKSPACE))], new: WorkspaceName
) -> WorkspaceLine:
    """Makes a workspace, which you own."""
    id = await asked.identity.members.create(asked.principal, new.name)
    return WorkspaceLine(id=id, name=new.name.strip(), role="owner")


@router.patch("/workspace", status_code=204)
async def rename_workspace(
    asked: Annotated[Asking, Depends(to(Action.RENAME_WORKSPACE))], new: WorkspaceName
) -> None:
    """Renames the open workspace."""
    await asked.identity.members.rename(asked.principal, new.name)


@router.get("/members")
async def list_members(asked: MayView) -> list[MemberView]:
    """Lists the open workspace's members, by name."""
    return [_view(member) for member in await asked.identity.members.members(asked.principal)]


@router.post("/members", status_code=204)
async def add_member(asked: MayManage, new: NewMember) -> None:
    """Makes an account of the server a member."""
    await asked.identity.members.add(asked.principal, new.name, ROLES[new.role])


@router.patch("/members/{user_id}", status_code=204)
async def set_role(asked: MayManage, user_id: UserId, new: NewRole) -> None:
    """Gives a member another role."""
    await asked.identity.members.set_role(asked.principal, user_id, ROLES[new.role])


@router.delete("/members/{user_id}", status_code=204)
async def remove_member(asked: MayManage, user_id: UserId) -> None:
    """Takes a member out; their sessions and tokens here end."""
    await asked.identity.members.remove(asked.principal, user_id)


@router.get("/quotas")
async def list_quotas(
    asked: Annotated[Asking, Depends(to(Action.VIEW_QUOTAS))],
) -> list[QuotaView]:
    """Lists the workspace's quotas."""
    rows = await asked.rows.select(quotas, order_by=[quotas.c.user_id])
    return [QuotaView(**{name: row[name] for name in QuotaView.model_fields}) for row in rows]


@router.put("/quotas", status_code=204)
async def put_quota(
    asked: Annotated[Asking, Depends(to(Action.MANAGE_QUOTAS))], new: NewQuota
) -> None:
    """Sets what a member, or everybody in the workspace, may use."""
    values = new.model_dump(exclude={"user_id"})
    whose = quotas.c.user_id.is_(None) if new.user_id is None else quotas.c.user_id == new.user_id
    async with asked.rows.begin() as rows:
        if new.user_id is not None:
            known = select(memberships.c.role).where(
                memberships.c.user_id == new.user_id,
                memberships.c.workspace_id == asked.principal.workspace_id,
            )
            if await rows.connection.scalar(known) is None:
                raise not_found("The member")
        if not await rows.update(quotas, whose, **values):
            await rows.insert(quotas, id=secrets.token_hex(16), user_id=new.user_id, **values)
    await asked.note("quota.set", new.user_id or asked.principal.workspace_id, **values)
    asked.parts.queue.on_change()


@router.get("/users")
async def list_users(asked: MayManageUsers) -> list[User]:
    """Lists every account of the server, by name."""
    return await asked.identity.accounts.users(asked.principal)


@router.post("/users", status_code=201)
async def create_user(asked: MayManageUsers, new: NewUser) -> User:
    """Makes an account."""
    return await asked.identity.accounts.create(
        asked.principal,
        name=new.name,
        display_name=new.display_name,
        role=ROLES[new.role],
        email=new.email,
        password=new.password,
    )


@router.patch("/users/{user_id}", status_code=204)
async def change_user(asked: MayManageUsers, user_id: UserId, changes: UserChanges) -> None:
    """Shuts an account out or lets it in again; makes it administrator or takes that away."""
    accounts = asked.identity.accounts
    if changes.is_disabled is not None:
        await accounts.set_disabled(asked.principal, user_id, changes.is_disabled)
    if changes.is_server_admin is not None:
        await accounts.set_server_admin(asked.principal, user_id, changes.is_server_admin)


@router.post("/users/{user_id}/password")
async def reset_password(asked: MayManageUsers, user_id: UserId) -> PasswordMade:
    """Gives an account a fresh password; all its sessions end."""
    password = await asked.identity.accounts.reset_password(asked.principal, user_id)
    return PasswordMade(password=password)


def _view(member: Member) -> MemberView:
    return MemberView(
        user_id=member.user_id,
        name=member.name,
        display_name=member.display_name,
        role=role_name(member.role),
        is_disabled=member.is_disabled,
        created_at=member.created_at,
    )

"""Who you are here: your role, your workspaces, your sessions and tokens."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from ..identity.access import SCOPES, Action, Role, may
from ..identity.sessions import SessionInfo
from ..identity.tokens import TokenInfo
from .asking import Ask, Asking, to
from .problems import PREFIX, REFUSALS

router = APIRouter(prefix=f"{PREFIX}", tags=["session"], responses={**REFUSALS})

May = Annotated[Asking, Depends(to(Action.OWN_ACCOUNT))]
Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
RoleName = Literal["viewer", "editor", "admin", "owner"]


ROLES: Mapping[RoleName, Role] = MappingProxyType(
    {"viewer": Role.VIEWER, "editor": Role.EDITOR, "admin": Role.ADMIN, "owner": Role.OWNER}
)
"""Roles by the names that the API has for them."""


class WorkspaceLine(BaseModel):
    """One workspace of yours."""

    id: str
    """What to ask for it by."""
    name: str
    """What people call it."""
    role: RoleName
    """What you are in it."""


class Whoami(BaseModel):
    """Who asks."""

    user_id: str
    """Your account."""
    name: str
    """What you sign in with."""
    via: Literal["session", "token", "operator"]
    """How you are known."""
    workspace_id: str
    """The open workspace."""
    role: RoleName
    """What you are in it."""
    is_server_admin: bool
    """Whether you may do what is about the whole server."""
    scopes: list[str] | None
    """What the token is limited to; null for a session."""
    workspaces: list[WorkspaceLine]
    """All that you may open."""
    may: list[str]
    """The actions that you may do now."""


class OpenWorkspace(BaseModel):
    """Which workspace to open."""

    model_config = ConfigDict(extra="forbid")

    workspace_id: str = Field(pattern="^[0-9a-f]{32}$")
    """One of yours."""


class NewPassword(BaseModel):
    """A new password."""

    model_config = ConfigDict(extra="forbid")

    current: str = Field(min_length=1, max_length=1000)
    """The one until now."""
    new: str = Field(min_length=1, max_length=1000)
    """The one from now on."""


class NewToken(BaseModel):
    """A personal token for programs."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"name": "laptop", "scopes": ["read", "run"], "days": 30}]},
    )

    name: str = Field(min_length=1, max_length=80)
    """What to call it."""
    scopes: list[Literal["read", "write", "run", "admin"]] = Field(
        min_length=1, max_length=len(SCOPES)
    )
    """What it may be used for; your role limits it too."""
    days: int = Field(default=90, ge=1, le=366)
    """How long it works."""


class TokenMade(BaseModel):
    """A new token, shown this once."""

    token: str
    """Send it as `Authorization: Bearer gkt_…`."""
    info: TokenInfo
    """What is known of it."""


@router.get("/session")
async def get_session(asked: Ask) -> Whoami:
    """Tells who you are here and what you may do."""
    who = asked.principal
    mine = await asked.identity.members.mine(who)
    return Whoami(
        user_id=who.user_id,
        name=who.name,
        via=who.via,
        workspace_id=who.workspace_id,
        role=role_name(who.role),
        is_server_admin=who.is_server_admin,
        scopes=None if who.scopes is None else sorted(who.scopes),
        workspaces=[
            WorkspaceLine(id=id, name=name, role=role_name(role)) for id, name, role in mine
        ],
        may=[action.value for action in Action if may(who, action, who.workspace_id)],
    )


@router.post("/session/workspace", status_code=204)
async def open_workspace(asked: May, wanted: OpenWorkspace) -> None:
    """Opens another workspace of yours in this session."""
    await asked.identity.sessions.switch_workspace(asked.principal, wanted.workspace_id)
    await asked.note("session.switched", wanted.workspace_id)


@router.post("/session/password", status_code=204)
async def change_password(asked: May, new: NewPassword) -> None:
    """Changes your password; your other sessions end."""
    await asked.identity.accounts.change_password(
        asked.principal, new.current, new.new, address=asked.address
    )


@router.get("/sessions")
async def list_sessions(asked: May) -> list[SessionInfo]:
    """Lists your sessions, the last used first."""
    return await asked.identity.sessions.list_of(asked.principal)


@router.delete("/sessions/{session_id}", status_code=204)
async def end_session(asked: May, session_id: Id) -> None:
    """Ends one of your sessions; pages that are open in it are told to sign in."""
    await asked.identity.sessions.revoke(asked.principal, session_id)


@router.get("/tokens")
async def list_tokens(asked: May) -> list[TokenInfo]:
    """Lists your tokens in this workspace, the newest first."""
    return await asked.identity.tokens.list_of(asked.principal)


@router.post("/tokens", status_code=201)
async def create_token(asked: May, new: NewToken) -> TokenMade:
    """Makes a token for this workspace. Its text is shown only here."""
    expires_at = datetime.now(UTC) + timedelta(days=new.days)
    info, raw = await asked.identity.tokens.create(
        asked.principal, name=new.name, scopes=new.scopes, expires_at=expires_at
    )
    return TokenMade(token=raw, info=info)


@router.delete("/tokens/{token_id}", status_code=204)
async def revoke_token(asked: May, token_id: Id) -> None:
    """Revokes one of your tokens."""
    await asked.identity.tokens.revoke(asked.principal, token_id)


def role_name(role: Role) -> RoleName:
    """The API's name of a role."""
    return next(name for name, known in ROLES.items() if known is role)

"""Links that let somebody make an account of their own in the open workspace."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from ..identity.access import Action
from ..identity.invitations import Invitation
from .asking import Asking, to
from .problems import PREFIX, REFUSALS
from .session import ROLES, RoleName, role_name

router = APIRouter(prefix=PREFIX, tags=["members"], responses={**REFUSALS})

Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
May = Annotated[Asking, Depends(to(Action.MANAGE_USERS))]


class NewInvitation(BaseModel):
    """A link for somebody who has no account yet."""

    model_config = ConfigDict(extra="forbid")

    role: RoleName = "viewer"
    """What they become in the open workspace; not above your own."""
    meant_for: str = Field(default="", max_length=80)
    """Whom it is for, as a remark; anybody with the link may use it."""


class InvitationView(BaseModel):
    """A link that waits for somebody."""

    id: str
    """Names it."""
    role: RoleName
    """What they become."""
    meant_for: str
    """Whom it is for."""
    created_at: datetime
    """Since when."""
    expires_at: datetime
    """Until when it works."""


class InvitationMade(BaseModel):
    """A new link, shown this once."""

    path: str
    """What to put behind the server's address; it holds the code."""
    info: InvitationView
    """What is known of it."""


@router.get("/invitations")
async def list_invitations(asked: May) -> list[InvitationView]:
    """Lists the links into the open workspace that still work."""
    waiting = await asked.identity.invitations.waiting(asked.principal)
    return [_view(one) for one in waiting]


@router.post("/invitations", status_code=201)
async def create_invitation(asked: May, new: NewInvitation) -> InvitationMade:
    """Makes a link that works once, for a week."""
    info, code = await asked.identity.invitations.create(
        asked.principal, ROLES[new.role], meant_for=new.meant_for
    )
    return InvitationMade(path=f"/join?code={code}", info=_view(info))


@router.delete("/invitations/{invitation_id}", status_code=204)
async def revoke_invitation(asked: May, invitation_id: Id) -> None:
    """Makes a link worthless."""
    await asked.identity.invitations.revoke(asked.principal, invitation_id)


def _view(one: Invitation) -> InvitationView:
    return InvitationView(
        id=one.id,
        role=role_name(one.role),
        meant_for=one.meant_for,
        created_at=one.created_at,
        expires_at=one.expires_at,
    )

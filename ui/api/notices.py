"""Where you are told that your work has ended, failed or stands still."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from ..identity.access import Action
from ..notices.targets import Target
from .asking import Asking, to
from .problems import PREFIX, REFUSALS

router = APIRouter(prefix=PREFIX, tags=["session"], responses={**REFUSALS})

May = Annotated[Asking, Depends(to(Action.OWN_ACCOUNT))]
Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$")]
Event = Literal["ended", "failed", "stalled"]


class NewTarget(BaseModel):
    """A place to be told at."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"kind": "email", "address": "ann@example.org", "events": ["failed"]}]
        },
    )

    kind: Literal["browser", "email", "slack", "webhook"]
    """How; e-mail only if the server has a mail server."""
    address: str = Field(default="", max_length=2000)
    """An e-mail address, or the address of a web hook; nothing for the browser."""
    events: list[Event] = Field(default=["ended", "failed", "stalled"], min_length=1, max_length=3)
    """What to tell there."""


@router.get("/notice-targets")
async def list_targets(asked: May) -> list[Target]:
    """Lists where you are told; addresses are shown in part only."""
    return await asked.parts.notices.targets.mine(asked.principal)


@router.post("/notice-targets", status_code=201)
async def add_target(asked: May, new: NewTarget) -> Target:
    """Adds a place to be told at."""
    targets = asked.parts.notices.targets
    return await targets.add(asked.principal, new.kind, new.address, new.events)


@router.post("/notice-targets/{target_id}/try", status_code=204)
async def try_target(asked: May, target_id: Id) -> None:
    """Sends a message there that says that it works."""
    notices = asked.parts.notices
    address = await notices.targets.address(asked.principal, target_id)
    await asked.note("notices.tried", target_id)
    await notices.outbox.try_out(address, user_id=asked.principal.user_id)


@router.delete("/notice-targets/{target_id}", status_code=204)
async def delete_target(asked: May, target_id: Id) -> None:
    """Tells nothing there any more, and forgets the address."""
    await asked.parts.notices.targets.delete(asked.principal, target_id)

"""Names of secrets, and the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from ..identity.access import Action
from ..identity.vault import LONGEST_BYTES, SecretInfo
from ..store.tables import audit
from .asking import Asking, to
from .pages import ONLY_KNOWN, Limit, Listed, Offset, Sort, order
from .problems import PREFIX, REFUSALS

router = APIRouter(prefix=PREFIX, tags=["records"], responses={**REFUSALS})

SecretName = Annotated[str, Path(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,79}$", examples=["HF_TOKEN"])]


class SecretValue(BaseModel):
    """The value of a secret. It is never shown again."""

    model_config = ConfigDict(extra="forbid")

    value: str = Field(min_length=1, max_length=LONGEST_BYTES)
    """Kept encrypted, for jobs only."""


class AuditLine(BaseModel):
    """One entry of the audit log."""

    seq: int
    """Its number; other workspaces' entries stand between."""
    time: datetime
    """When."""
    actor: str
    """Who: an account's id, `system` or `operator`."""
    address: str
    """Where from."""
    action: str
    """What was done."""
    object: str
    """What it was done to."""
    detail: dict[str, JsonValue]
    """More about it."""


class AuditVerdict(BaseModel):
    """Whether the audit log's chain is whole."""

    is_sound: bool
    """Whether every entry is as it was written, and none is missing."""
    checked: int
    """How many were looked at."""
    seq: int
    """The first that isn't right; 0 if all are."""
    reason: str
    """changed, missing, reordered, truncated, anchor, or empty."""


@router.get("/secrets")
async def list_secrets(
    asked: Annotated[Asking, Depends(to(Action.VIEW_SECRET_NAMES))],
) -> list[SecretInfo]:
    """Lists the names of the workspace's secrets; their values are never shown."""
    return await asked.identity.vault.names(asked.principal)


@router.put("/secrets/{secret_name}", status_code=204)
async def put_secret(
    asked: Annotated[Asking, Depends(to(Action.PUT_SECRET))],
    secret_name: SecretName,
    new: SecretValue,
) -> None:
    """Sets a secret, or sets it anew."""
    await asked.identity.vault.put(asked.principal, secret_name, new.value)


@router.delete("/secrets/{secret_name}", status_code=204)
async def delete_secret(
    asked: Annotated[Asking, Depends(to(Action.DELETE_SECRET))], secret_name: SecretName
) -> None:
    """Deletes a secret."""
    await asked.identity.vault.delete(asked.principal, secret_name)


@router.get("/audit", dependencies=ONLY_KNOWN)
async def list_audit(
    asked: Annotated[Asking, Depends(to(Action.VIEW_AUDIT))],
    limit: Limit = 50,
    offset: Offset = 0,
    sort: Sort = "-seq",
    action: Annotated[str | None, Query(max_length=60)] = None,
    actor: Annotated[str | None, Query(max_length=80)] = None,
    object: Annotated[str | None, Query(max_length=160)] = None,
) -> Listed[AuditLine]:
    """Lists the workspace's audit log, the newest first."""
    wanted = {"action": action, "actor": actor, "object": object}
    field, descending = order(sort)
    rows, total = await asked.rows.page(
        audit,
        sort=field,
        descending=descending,
        filters={key: value for key, value in wanted.items() if value is not None},
        limit=limit,
        offset=offset,
    )
    lines = [AuditLine(**{name: row[name] for name in AuditLine.model_fields}) for row in rows]
    return Listed(items=lines, total=total)


@router.get("/audit/verify")
async def verify_audit(
    asked: Annotated[Asking, Depends(to(Action.VERIFY_AUDIT))],
) -> AuditVerdict:
    """Checks the chain of the whole server's audit log."""
    found = await asked.identity.audit.verify()
    return AuditVerdict(
        is_sound=found.is_sound, checked=found.checked, seq=found.seq, reason=found.reason
    )

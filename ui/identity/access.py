"""Who may do what: one table of actions, and one function that every request and event asks.

docs/identity.md and the tests' matrix of roles and actions are made from `RULES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Literal

from .refusals import Forbidden, NotFound, not_found

SCOPES = ("read", "write", "run", "admin")
"""What a personal token may be limited to; its owner's role limits it too."""


class Role(IntEnum):
    """What a member may do in one workspace; each role may all that a lower one may.

    `Role("admin")` reads the name that the database holds.
    """

    VIEWER = 1
    EDITOR = 2
    ADMIN = 3
    OWNER = 4

    @property
    def label(self) -> str:
        """The name in the database and on pages."""
        return self.name.lower()

    @classmethod
    def _missing_(cls, value: object) -> Role | None:
        return next((role for role in cls if role.label == value), None)


class Action(StrEnum):
    """All that can be asked of the app; `RULES` says who may."""

    VIEW_RUNS = "run.view"
    VIEW_DATA = "data.view"
    VIEW_JOBS = "job.view"
    VIEW_EVENTS = "events.view"
    VIEW_ARTIFACTS = "artifact.view"
    VIEW_RECIPES = "recipe.view"
    VIEW_MEMBERS = "member.view"
    VIEW_QUOTAS = "quota.view"
    DOWNLOAD = "artifact.download"
    UPLOAD_DATA = "data.upload"
    UPLOAD_MODEL = "model.upload"
    CREATE_DATASET = "data.create"
    CHANGE_DATA = "data.change"
    SUBMIT_DATA = "job.submit.data"
    SUBMIT_PLAN = "job.submit.plan"
    SUBMIT_TRAIN = "job.submit.train"
    SUBMIT_EVALUATE = "job.submit.evaluate"
    SUBMIT_GENERATE = "job.submit.generate"
    SUBMIT_EXPORT = "job.submit.export"
    CONTROL_RUN = "run.control"
    CANCEL_JOB = "job.cancel"
    PAUSE_JOB = "job.pause"
    RESUME_JOB = "job.resume"
    TAG_RUN = "run.tag"
    DELETE_RUN = "run.delete"
    DELETE_DATA = "data.delete"
    DELETE_ARTIFACT = "artifact.delete"
    VIEW_SECRET_NAMES = "secret.names"  # noqa: S105  # the name of an action
    RANK_JOBS = "job.rank"
    MANAGE_MEMBERS = "member.manage"
    MANAGE_QUOTAS = "quota.manage"
    PUT_SECRET = "secret.put"  # noqa: S105  # the name of an action
    DELETE_SECRET = "secret.delete"  # noqa: S105  # the name of an action
    VIEW_AUDIT = "audit.view"
    RENAME_WORKSPACE = "workspace.rename"
    DELETE_WORKSPACE = "workspace.delete"
    OWN_ACCOUNT = "account.own"
    CREATE_WORKSPACE = "workspace.create"
    MANAGE_USERS = "server.users"
    ADOPT_FOLDER = "server.adopt"
    MAKE_BACKUP = "server.backup"
    MANAGE_STORAGE = "server.storage"
    VERIFY_AUDIT = "server.audit"
    VIEW_SERVER = "server.view"

    @property
    def is_of_server(self) -> bool:
        """Whether it is about the whole server, so that only its administrators may."""
        return RULES[self].role is None


@dataclass(frozen=True)
class Rule:
    """Who may do one action.

    Attributes:
        role: The lowest role in the workspace; None: server administrators only.
        scope: What a token needs beside the role; None: tokens never may.
        what: What it is, for the documentation.
    """

    role: Role | None
    scope: str | None
    what: str


RULES = MappingProxyType(
    {
        Action.VIEW_RUNS: Rule(Role.VIEWER, "read", "see runs, their recipes and reports"),
        Action.VIEW_DATA: Rule(Role.VIEWER, "read", "see data sets and previews of their rows"),
        Action.VIEW_JOBS: Rule(Role.VIEWER, "read", "see the queue and what jobs answered"),
        Action.VIEW_EVENTS: Rule(Role.VIEWER, "read", "follow the events of a run or job"),
        Action.VIEW_ARTIFACTS: Rule(Role.VIEWER, "read", "see what was exported"),
        Action.VIEW_RECIPES: Rule(Role.VIEWER, "read", "see and check recipes"),
        Action.VIEW_MEMBERS: Rule(Role.VIEWER, "read", "see who is a member"),
        Action.VIEW_QUOTAS: Rule(Role.VIEWER, "read", "see quotas and what is used of them"),
        Action.DOWNLOAD: Rule(Role.VIEWER, "read", "download exports, reports and logs"),
        Action.UPLOAD_DATA: Rule(Role.EDITOR, "write", "upload data files"),
        Action.UPLOAD_MODEL: Rule(Role.EDITOR, "write", "upload safetensors and GGUF files"),
        Action.CREATE_DATASET: Rule(Role.EDITOR, "write", "make a data set of an upload"),
        Action.CHANGE_DATA: Rule(
            Role.EDITOR, "write", "rename data sets and say what their columns are"
        ),
        Action.SUBMIT_DATA: Rule(Role.EDITOR, "run", "check and preview data"),
        Action.SUBMIT_PLAN: Rule(Role.EDITOR, "run", "plan memory and time"),
        Action.SUBMIT_TRAIN: Rule(Role.EDITOR, "run", "start or continue a training"),
        Action.SUBMIT_EVALUATE: Rule(Role.EDITOR, "run", "evaluate a run"),
        Action.SUBMIT_GENERATE: Rule(Role.EDITOR, "run", "let a model write"),
        Action.SUBMIT_EXPORT: Rule(Role.EDITOR, "run", "export a run"),
        Action.CONTROL_RUN: Rule(Role.EDITOR, "run", "steer a run while it trains"),
        Action.CANCEL_JOB: Rule(Role.EDITOR, "run", "cancel a job"),
        Action.PAUSE_JOB: Rule(Role.EDITOR, "run", "pause a job"),
        Action.RESUME_JOB: Rule(Role.EDITOR, "run", "resume a job"),
        Action.TAG_RUN: Rule(Role.EDITOR, "write", "rename and tag runs"),
        Action.DELETE_RUN: Rule(Role.EDITOR, "write", "delete runs"),
        Action.DELETE_DATA: Rule(Role.EDITOR, "write", "delete data sets and uploads"),
        Action.DELETE_ARTIFACT: Rule(Role.EDITOR, "write", "delete exports"),
        Action.VIEW_SECRET_NAMES: Rule(Role.EDITOR, "read", "see the names of secrets"),
        Action.RANK_JOBS: Rule(Role.ADMIN, "run", "change the priority of jobs"),
        Action.MANAGE_MEMBERS: Rule(Role.ADMIN, "admin", "add and remove members, set roles"),
        Action.MANAGE_QUOTAS: Rule(Role.ADMIN, "admin", "set quotas"),
        Action.PUT_SECRET: Rule(Role.ADMIN, "admin", "set the value of a secret"),
        Action.DELETE_SECRET: Rule(Role.ADMIN, "admin", "delete a secret"),
        Action.VIEW_AUDIT: Rule(Role.ADMIN, "admin", "read the workspace's audit log"),
        Action.RENAME_WORKSPACE: Rule(Role.ADMIN, "admin", "rename the workspace"),
        Action.DELETE_WORKSPACE: Rule(Role.OWNER, None, "delete the workspace"),
        Action.OWN_ACCOUNT: Rule(Role.VIEWER, None, "own password, sessions and tokens"),
        Action.CREATE_WORKSPACE: Rule(None, "admin", "make a workspace"),
        Action.MANAGE_USERS: Rule(None, "admin", "make, disable and reset accounts"),
        Action.ADOPT_FOLDER: Rule(None, "admin", "adopt a run folder from outside the data root"),
        Action.MAKE_BACKUP: Rule(None, "admin", "back the database up"),
        Action.MANAGE_STORAGE: Rule(None, "admin", "see and clear the data root's storage"),
        Action.VERIFY_AUDIT: Rule(None, "admin", "check the chain of the whole audit log"),
        Action.VIEW_SERVER: Rule(None, "admin", "see the server's health and figures"),
    }
)


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who asks, as looked up for this one request or event. Never keep it for the next one.

    Attributes:
        user_id: The account.
        name: The name that it signs in with.
        workspace_id: The active workspace: all that can be seen.
        role: What the account is in it.
        is_server_admin: Whether it may also do what is about the whole server.
        scopes: What the token is limited to; None for a session, which has no such limit.
        session_hash: SHA-256 of the session's id, to bind sockets to; None for a token.
        via: How it was known. `operator`: a command on the server's own terminal.
    """

    user_id: str
    name: str
    workspace_id: str
    role: Role
    is_server_admin: bool = False
    scopes: frozenset[str] | None = None
    session_hash: str | None = None
    via: Literal["session", "token", "operator"] = "session"


def authorize(principal: Principal, action: Action, workspace_id: str | None = None) -> None:
    """Returns if `principal` may do `action` to an object of that workspace.

    Args:
        principal: Who asks.
        action: What they want to do.
        workspace_id: The object's workspace; None if there is no such object. Not looked at for
            what is about the whole server.

    Raises:
        NotFound: If the object is another workspace's, or isn't there.
        Forbidden: If the role is too low, a token lacks the scope, or only a server's
            administrator may.
    """
    rule = RULES[action]
    if rule.role is not None and workspace_id != principal.workspace_id:
        raise not_found()
    if rule.role is None and not principal.is_server_admin:
        raise Forbidden(
            f"Only an administrator of the server may {rule.what}.", code="FORBIDDEN_SERVER"
        )
    if rule.role is not None and principal.role < rule.role:
        raise Forbidden(
            f"To {rule.what} you need the role {rule.role.label} in this workspace; yours is "
            f"{principal.role.label}. An owner or admin of the workspace can change it.",
            code="FORBIDDEN_ROLE",
        )
    if principal.scopes is not None and rule.scope not in principal.scopes:
        needed = f"the scope {rule.scope}" if rule.scope else "you to sign in: no token may do it"
        raise Forbidden(f"To {rule.what} needs {needed}.", code="FORBIDDEN_SCOPE")


def may(principal: Principal, action: Action, workspace_id: str | None = None) -> bool:
    """Whether `authorize` would let it pass, so that a page can hide what it would refuse."""
    try:
        authorize(principal, action, workspace_id)
    except (Forbidden, NotFound):
        return False
    return True


def operator(workspace_id: str) -> Principal:
    """Whoever has a terminal on the server: may do all, in one workspace at a time."""
    return Principal(
        user_id="operator",
        name="operator",
        workspace_id=workspace_id,
        role=Role.OWNER,
        is_server_admin=True,
        via="operator",
    )


__all__ = [
    "RULES",
    "SCOPES",
    "Action",
    "Forbidden",
    "NotFound",
    "Principal",
    "Role",
    "Rule",
    "authorize",
    "may",
    "operator",
]

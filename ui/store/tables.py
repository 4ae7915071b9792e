"""Every table of the app. A row belongs to one workspace, so each has a `workspace_id`.

A run's truth is its folder, and a job's end stands in its folder too: rows about them are what the
app decided (who may see it, who asked for it, whose turn it is) and a summary to list them by.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

ROLES = ("viewer", "editor", "admin", "owner")
JOB_STATES = (
    "queued",  # waits for its turn
    "running",  # leased to a server, whose child works on it
    "suspect",  # the lease ran out; the child is being looked for
    "paused",  # stopped with a checkpoint because somebody paused it; waits for a resume
    "done",
    "failed",
    "cancelled",
    "quarantined",  # its child died too often without progress
)
NOTICE_KINDS = ("browser", "email", "slack", "webhook")
NOTICE_EVENTS = ("ended", "failed", "stalled")
UNFINISHED = ("queued", "running", "suspect", "paused")


class UtcTime(TypeDecorator[datetime]):
    """An aware time, in UTC on every database (SQLite forgets the zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """UTC on its way in.

        Raises:
            ValueError: If the time has no zone.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time needs a zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        """UTC on its way out."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# Names by rule, so that a migration can name what it changes.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts up only a column that is exactly INTEGER.
_COUNTER = BigInteger().with_variant(Integer, "sqlite")


def _id() -> Column[str]:
    return Column("id", String(32), primary_key=True)


def _workspace(*, primary_key: bool = False) -> Column[str]:
    return Column(
        "workspace_id",
        ForeignKey("workspaces.workspace_id"),
        nullable=False,
        index=not primary_key,
        primary_key=primary_key,
    )


def _user(name: str = "user_id", *, nullable: bool = False) -> Column[str]:
    return Column(name, ForeignKey("users.id"), nullable=nullable, index=True)


def _time(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, UtcTime, nullable=nullable)


def _one_of(name: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{name} IN ({listed})", name=name)


workspaces = Table(
    "workspaces",
    metadata,
    Column("workspace_id", String(32), primary_key=True),
    Column("name", String(80), nullable=False),
    _time("created_at"),
)

users = Table(
    "users",
    metadata,
    _id(),
    _workspace(),  # the one that opens after signing in
    Column("name", String(80), nullable=False, unique=True),  # lower case
    Column("display_name", String(80), nullable=False),
    Column("email", String(254)),
    Column("password_hash", String(255)),  # argon2id; none for single sign-on
    Column("issuer", String(255)),  # with `subject`: who this is at the identity provider
    Column("subject", String(255)),
    Column("is_server_admin", Boolean, nullable=False, default=False),
    Column("is_disabled", Boolean, nullable=False, default=False),
    _time("created_at"),
    _time("password_changed_at", nullable=True),
    UniqueConstraint("issuer", "subject"),
)

memberships = Table(
    "memberships",
    metadata,
    _workspace(primary_key=True),
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("role", String(10), nullable=False),
    _time("created_at"),
    _one_of("role", ROLES),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id_hash", String(64), primary_key=True),  # SHA-256 of what the cookie holds
    Column("public_id", String(32), nullable=False, unique=True),  # to list and end it by
    _workspace(),  # the active one
    _user(),
    _time("created_at"),
    _time("seen_at"),
    _time("expires_at"),
    _time("revoked_at", nullable=True),
    Column("address", String(64), nullable=False),
    Column("agent", String(200), nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    _id(),
    _workspace(),
    _user(),
    Column("name", String(80), nullable=False),
    Column("token_hash", String(64), nullable=False, unique=True),
    Column("scopes", JSON, nullable=False),
    _time("created_at"),
    _time("expires_at"),
    _time("used_at", nullable=True),
    _time("revoked_at", nullable=True),
)

uploads = Table(
    "uploads",
    metadata,
    _id(),
    _workspace(),
    _user(),
    Column("purpose", String(10), nullable=False),
    Column("display_name", String(200), nullable=False),
    Column("size", BigInteger, nullable=False),  # as declared
    Column("received", BigInteger, nullable=False, default=0),  # durable bytes
    Column("sha256", String(64)),  # as declared, or as counted at the end
    Column("state", String(10), nullable=False),
    _time("created_at"),
    _time("touched_at"),
    _one_of("state", ("open", "done", "aborted")),
    _one_of("purpose", ("dataset", "model")),
)

datasets = Table(
    "datasets",
    metadata,
    _id(),
    _workspace(),
    _user(),
    Column("name", String(80), nullable=False),
    Column("file_name", String(200), nullable=False),  # as shown; the file's own name is made by us
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("upload_id", ForeignKey("uploads.id"), unique=True),
    Column("settings", JSON),  # of a recipe's section `data`, without paths; none: never said
    _time("created_at"),
    _time("deleted_at", nullable=True),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(120), primary_key=True),  # the folder's name
    _workspace(),
    _user(nullable=True),  # none: started in a terminal
    Column("name", String(80), nullable=False),
    Column("path", Text),  # only of an adopted folder outside the data root
    Column("tags", JSON, nullable=False, default=list),
    Column("state", String(12), nullable=False),  # this and what follows: read from the folder
    Column("step", Integer, nullable=False, default=0),
    Column("total_steps", Integer, nullable=False, default=0),
    Column("loss", Float),
    Column("measured_loss", Float),
    Column("accuracy", Float),
    Column("seen_seq", BigInteger, nullable=False, default=0),
    Column("size", BigInteger, nullable=False, default=0),
    _time("created_at"),
    _time("changed_at"),
    _time("deleted_at", nullable=True),
)

jobs = Table(
    "jobs",
    metadata,
    _id(),
    _workspace(),
    _user(),
    Column("number", _COUNTER, nullable=False, unique=True),  # order of submission
    Column("kind", String(10), nullable=False),
    Column("run_id", String(120), index=True),
    Column("args", JSON, nullable=False),
    Column("key", String(80)),  # makes submitting idempotent
    Column("args_hash", String(64), nullable=False),  # the same key must mean the same work
    Column("priority", Integer, nullable=False, default=0),  # among the jobs of its user
    Column("pool", String(10), nullable=False),  # which kind of slot it needs: light or device
    Column("state", String(12), nullable=False, default="queued"),
    Column("wish", String(8)),  # cancel or pause, as somebody asked
    Column("wish_at", Float),  # monotonic seconds of `lease_boot`, for escalating
    Column("fence", BigInteger, nullable=False, default=0),  # one higher at each claim; never back
    Column("deaths", Integer, nullable=False, default=0),  # in a row, without progress between
    Column("progress", BigInteger, nullable=False, default=0),  # the highest mark of its folder
    Column("owner", String(32)),  # the server process that holds the lease
    Column("lease_boot", String(36)),  # monotonic times count from this boot
    Column("lease_until", Float),  # monotonic seconds
    Column("pid", Integer),
    Column("process_start", BigInteger),
    Column("slots", JSON, nullable=False, default=list),  # what it holds, such as gpu:0
    Column("served", BigInteger, nullable=False, default=0),  # order of claims: whose turn is next
    Column("code", String(40)),
    Column("message", Text),
    _time("created_at"),
    _time("started_at", nullable=True),
    _time("ended_at", nullable=True),
    UniqueConstraint("workspace_id", "key"),
    Index("ix_jobs_turn", "state", "priority", "number"),
    Index("ix_jobs_served", "user_id", "served"),
    _one_of("state", JOB_STATES),
)

quotas = Table(
    "quotas",
    metadata,
    _id(),
    _workspace(),
    _user(nullable=True),  # none: every member of the workspace
    Column("running_jobs", Integer),
    Column("queued_jobs", Integer),
    Column("disk_bytes", BigInteger),
    UniqueConstraint("workspace_id", "user_id"),
)

secrets = Table(
    "secrets",
    metadata,
    _id(),
    _workspace(),
    _user(),
    Column("name", String(80), nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    _time("created_at"),
    _time("changed_at"),
    UniqueConstraint("workspace_id", "name"),
)

invitations = Table(
    "invitations",
    metadata,
    _id(),
    _workspace(),  # that whoever comes by it becomes a member of
    _user(),  # who made it
    Column("code_hash", String(64), nullable=False, unique=True),
    Column("role", String(10), nullable=False),
    Column("meant_for", String(80), nullable=False),  # a remark; anybody with the link may come
    _time("created_at"),
    _time("expires_at"),
    _time("used_at", nullable=True),
    Column("used_by", ForeignKey("users.id")),
    _time("revoked_at", nullable=True),
    _one_of("role", ROLES),
)

notice_targets = Table(
    "notice_targets",
    metadata,
    _id(),
    _workspace(),
    _user(),
    Column("kind", String(10), nullable=False),
    Column("shown", String(80), nullable=False),  # the address without what is secret in it
    Column("ciphertext", LargeBinary, nullable=False),  # the address
    Column("events", JSON, nullable=False),  # of NOTICE_EVENTS
    _time("created_at"),
    _one_of("kind", NOTICE_KINDS),
)

notices = Table(
    "notices",
    metadata,
    _id(),
    _workspace(),
    Column("target_id", ForeignKey("notice_targets.id"), nullable=False),
    Column("job_id", ForeignKey("jobs.id"), nullable=False),
    Column("event", String(10), nullable=False),
    Column("mark", BigInteger, nullable=False),  # which of several times: the claim of the job
    Column("state", String(10), nullable=False, default="waiting", index=True),
    Column("tries", Integer, nullable=False, default=0),
    _time("next_try_at"),
    Column("message", Text),  # why the last try failed
    _time("created_at"),
    _time("ended_at", nullable=True),
    UniqueConstraint("target_id", "job_id", "event", "mark"),
    _one_of("state", ("waiting", "sending", "sent", "failed", "unknown")),
    _one_of("event", NOTICE_EVENTS),
)

audit = Table(
    "audit",
    metadata,
    Column("seq", _COUNTER, primary_key=True, autoincrement=False),
    _workspace(),
    _time("time"),
    Column("actor", String(80), nullable=False),  # a user's id, or `system`
    Column("address", String(64), nullable=False),
    Column("action", String(60), nullable=False),
    Column("object", String(160), nullable=False),
    Column("detail", JSON, nullable=False),
    Column("hash", String(64), nullable=False),  # HMAC over the one before and this row
)

server = Table(
    "server",
    metadata,
    _workspace(primary_key=True),  # the first workspace: runs from a terminal belong to it
    Column("root_id", String(32), nullable=False),  # the data root that this database belongs to
    Column("last_job", BigInteger, nullable=False, default=0),  # highest `jobs.number` given out
    Column("last_claim", BigInteger, nullable=False, default=0),  # highest `jobs.served`
)

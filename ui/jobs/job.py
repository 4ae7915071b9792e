"""What a job is: its kinds, the slots they need, and one row of the queue as a value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from types import MappingProxyType
from typing import Any

from gemma_keras_tune.job_spec import is_light

KINDS = ("data", "plan", "train", "evaluate", "answer", "generate", "export")
WRITERS = ("train", "evaluate", "export")  # write in their run's folder: one at a time
ENDED = ("done", "failed", "cancelled", "quarantined")
HELD = ("running", "suspect")  # a child may be at work
HIGHEST_PRIORITY = 10
MOST_DEATHS = 3

LIGHT = "light"
DEVICE = "device"

Slots = Mapping[str, tuple[str, ...]]
"""The names of all slots of each pool, such as `{"light": ("light:0",), "device": ("gpu:0",)}`."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be done, as `job.json` holds it.

    Attributes:
        kind: One of `KINDS`.
        run: The id of the run it is about, or None.
        args: What the kind takes.
    """

    kind: str
    run: str | None
    args: Mapping[str, Any]

    @property
    def pool(self) -> str:
        """Which kind of slot it needs: a device, or only a light one."""
        return LIGHT if is_light(self.kind, self.args) else DEVICE

    @property
    def hash(self) -> str:
        """SHA-256 that is the same for the same work, 64 hex digits."""
        value = {"kind": self.kind, "run": self.run, "args": dict(self.args)}
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Job:
    """One row of the queue, as it was when it was read. `tables.jobs` explains the fields."""

    id: str
    workspace_id: str
    user_id: str
    number: int
    kind: str
    run_id: str | None
    args: Mapping[str, Any]
    key: str | None
    args_hash: str
    priority: int
    pool: str
    state: str
    wish: str | None
    wish_at: float | None
    fence: int
    deaths: int
    progress: int
    owner: str | None
    lease_boot: str | None
    lease_until: float | None
    pid: int | None
    process_start: int | None
    slots: tuple[str, ...]
    served: int
    code: str | None
    message: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def work(self) -> Work:
        """What is to be done."""
        return Work(kind=self.kind, run=self.run_id, args=self.args)

    @property
    def warm_kind(self) -> str | None:
        """Which warm worker, with what it needs loaded already, may do it; None: none."""
        if self.pool == LIGHT or self.kind == "generate":
            return self.kind
        return None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen to it, unless somebody asks for another try."""
        return self.state in ENDED


_FIELDS = tuple(field.name for field in fields(Job))


def job_of(row: Mapping[Any, Any]) -> Job:
    """The value of a row of `tables.jobs`."""
    values = {name: row[name] for name in _FIELDS}
    return Job(
        **values | {"slots": tuple(row["slots"]), "args": MappingProxyType(dict(row["args"]))}
    )

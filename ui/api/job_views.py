"""What a request for a job says, and what is told of one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from ..jobs.job import HIGHEST_PRIORITY
from .recipes import RecipeGiven

Kind = Literal["data", "plan", "train", "evaluate", "answer", "generate", "export"]
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$")]


class NewJob(BaseModel):
    """What is to be done. Files have names: `dataset:ID`, `shipped:FILE`, models `model:ID`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "kind": "train",
                    "recipe": {"recipe_name": "spam_classifier", "set": {"train.max_steps": 10}},
                },
                {"kind": "data", "args": {"action": "check", "path": "dataset:ID"}},
                {"kind": "generate", "run": "RUN", "args": {"prompt": "Hello"}},
            ]
        },
    )

    kind: Kind
    """What kind of work."""
    run: RunId | None = None
    """The run that it is about. A training without one begins a new run; with one, resumes it."""
    recipe: RecipeGiven | None = None
    """What to train or to plan."""
    args: dict[str, JsonValue] = {}
    """What else the kind takes; the reference of `job.json` lists it."""
    priority: int = Field(default=0, ge=-HIGHEST_PRIORITY, le=HIGHEST_PRIORITY)
    """Among your own jobs; above 0 only for admins of the workspace."""

    @model_validator(mode="after")
    def _check(self) -> NewJob:
        takes = self.kind == "plan" or (self.kind == "train" and self.run is None)
        if takes and self.recipe is None:
            raise ValueError("a plan or a new training needs a recipe")
        if not takes and self.recipe is not None:
            raise ValueError("only a plan or a new training takes a recipe")
        if "recipe" in self.args:
            raise ValueError("args takes no recipe; put it beside args")
        return self


class JobView(BaseModel):
    """One job."""

    id: str
    """What to ask for it by."""
    number: int
    """Its place in the order of submission."""
    kind: Kind
    """What kind of work."""
    run: str | None
    """The run that it is about."""
    state: str
    """queued, running, suspect, paused, done, failed, cancelled or quarantined."""
    wish: str | None
    """`cancel` or `pause`, if somebody asked for it and it isn't done yet."""
    priority: int
    """Among the jobs of the same person."""
    deaths: int
    """How often in a row its process died without progress."""
    code: str | None
    """Why it failed, for programs."""
    message: str | None
    """Why it failed, for people."""
    user_id: str
    """Who submitted it."""
    created_at: datetime
    """When it was submitted."""
    started_at: datetime | None
    """When a process began to work on it last."""
    ended_at: datetime | None
    """When it ended."""


class JobWhole(JobView):
    """One job, with what it was asked to do."""

    args: dict[str, JsonValue]
    """Its arguments."""


class ResultView(BaseModel):
    """What came of a job."""

    status: Literal["done", "failed", "stopped"]
    """How it ended; `stopped`: with a checkpoint, to be resumed."""
    code: str
    """Why it failed, for programs."""
    message: str
    """Why it failed, for people."""
    value: dict[str, JsonValue]
    """What the kind of job gives back."""


class Priority(BaseModel):
    """A new priority."""

    model_config = ConfigDict(extra="forbid")

    priority: int = Field(ge=-HIGHEST_PRIORITY, le=HIGHEST_PRIORITY)
    """Higher comes first, among the jobs of the same person."""

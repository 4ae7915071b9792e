"""What a job is asked to do: `job.json`, checked before anything of it is done.

A job is made by a program on a person's request, so nothing in it is trusted: unknown keys are
refused, sizes are bounded, a run is named by one path component and a file by its whole path.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from .errors import TuneError
from .recipe import DataRecipe, ExportRecipe, Recipe
from .recipe_files import listed_problems, problems, recipe_keys

LARGEST_JOB = 1_000_000  # bytes of job.json
_LONGEST_TEXT = 400_000  # characters; no model here takes a longer prompt


def _absolute(path: str) -> str:
    if not Path(path).is_absolute() or "\0" in path:
        raise ValueError("must be an absolute path: a job runs in a folder of its own")
    return path


FilePath = Annotated[str, Field(max_length=4096), AfterValidator(_absolute)]
LineNumber = Annotated[int, Field(ge=1, le=100_000_000)]
RunId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$")]
Prompt = Annotated[str, Field(min_length=1, max_length=_LONGEST_TEXT)]


class _Plain(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class DataArgs(_Plain):
    """Look at a file that somebody has uploaded, without JAX and within limits."""

    action: Literal["check", "preview", "columns", "split", "pack", "inspect_model"]
    """The health report; rows token by token; rows as a table; which rows are held back; the long
    rows that training makes of them; or what a model's files are."""
    path: FilePath
    """The file; for `inspect_model` a `.gguf` file or the folder of a model."""
    data: dict[str, JsonValue] = {}
    """What is known of the recipe's section `data`; the rest is guessed or default."""
    model: str | None = Field(default=None, min_length=1, max_length=4096)
    """Whose tokens: lengths of a check, `preview` and `pack` (there `demo` without it)."""
    rows: int = Field(default=20, ge=1, le=1000)
    """How many rows a preview, `columns`, `pack` or each part of a `split` shows."""
    offset: int = Field(default=0, ge=0, le=100_000_000)
    """How many rows stand before them."""
    lines: tuple[LineNumber, ...] = Field(default=(), max_length=1000)
    """Show only the rows at these lines of the file, in a preview or `columns`."""
    count: bool = False
    """Whether `columns` counts all rows that can be read, too, as `total`."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Of `pack`: the recipe's `train.seed`, which decides which rows come together."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = [key for key in DataRecipe.model_fields if key != "path"]
        for key, value in self.data.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1) or known
                raise ValueError(f"data.{key}: no such setting; there is {', '.join(near)}")
            if key.endswith("path") and isinstance(value, str):
                _absolute(value)
        return self


class _RecipeArgs(_Plain):
    recipe: Recipe
    """What to do, as in `recipe.json`; its paths are absolute."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        data, preset = self.recipe.data, self.recipe.model.preset
        for key in ("path", "validation_path", "test_path"):
            value = getattr(data, key)
            if value is not None and not Path(value).is_absolute():
                raise ValueError(f"recipe.data.{key}: must be an absolute path; got {value!r}")
        is_path = "://" not in preset and ("/" in preset or preset.startswith((".", "~")))
        if is_path and not Path(preset).is_absolute():
            raise ValueError(f"recipe.model.preset: must be an absolute path; got {preset!r}")
        return self


class PlanArgs(_RecipeArgs):
    """Memory, time and batch of a recipe before it starts."""

    compile: bool = False
    """Whether the compiler is asked, too."""
    probe: bool = False
    """Whether a step is measured."""


class TrainArgs(_RecipeArgs):
    """Start or resume the job's run: data, training, evaluation, exports."""

    ignore_plan: bool = False
    """Whether it starts although the plan says that it can't fit into memory."""


class EvaluateArgs(_Plain):
    """Measure a trained run."""

    data: FilePath | None = None
    """Other rows than those that the run held back."""


class AnswerArgs(_Plain):
    """Answer every row of a table, which is written anew in the job's folder."""

    data: FilePath
    """The table."""
    column: str | None = Field(default=None, min_length=1, max_length=4096)
    """What is read of each row; without it, the column that the run was trained on."""
    encoding: str = Field(default="auto", max_length=60)
    """The table's, as in a recipe's section `data`."""
    delimiter: Annotated[str, Field(pattern=r"^(auto|[^\r\n\"])$")] = "auto"
    """Between its columns, as there."""
    max_tokens: int | None = Field(default=None, ge=1, le=131_072)
    """The longest written answer; without it, the recipe's `evaluate.max_tokens`."""
    doubt_below: float | None = Field(default=None, ge=0, le=1)
    """With labels: mark answers whose confidence is below it."""


class Message(_Plain):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    """Who says it."""
    content: Prompt
    """What is said."""


class GenerateArgs(_Plain):
    """Let a run or a model answer."""

    prompt: Prompt | None = None
    """One question, within the text that the run's recipe puts around every prompt."""
    messages: tuple[Message, ...] | None = Field(default=None, min_length=1, max_length=1000)
    """A conversation instead, taken as it is; the user has the last word."""
    text: Prompt | None = None
    """The beginning of a text instead, which is gone on with; it stands in no turn."""
    max_tokens: int = Field(default=128, ge=1, le=131_072)
    """The longest answer."""
    temperature: float = Field(default=0.0, ge=0, le=10)
    """0 takes the most probable token; more makes unlikely tokens likelier."""
    top_k: int | None = Field(default=None, ge=1)
    """Choose among so many most probable tokens."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Choose among the most probable tokens that together have this probability."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Changes the choice where the temperature is above 0."""
    model: str | None = Field(default=None, min_length=1, max_length=4096)
    """A model, where the job has no run."""
    base: bool = False
    """Let the run's base model answer, without what was learned."""
    alternatives: int = Field(default=0, ge=0, le=20)
    """Tell of each token of the answer how probable it was, and so many likely others."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(asked is not None for asked in (self.prompt, self.messages, self.text)) != 1:
            raise ValueError("prompt: give either a prompt, messages or a text")
        return self


class JobSpec(_Plain):
    """One job: what kind, on which run, with which arguments. `parse_job` makes it."""

    kind: Literal["data", "plan", "train", "evaluate", "answer", "generate", "export"]
    """What is done."""
    run: RunId | None = None
    """The run that it is done with: the name of a folder under `ROOT/runs`."""


class _OnRun(JobSpec):
    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.run is None:
            raise ValueError(f"run: a job of the kind {self.kind!r} names its run")
        return self


class DataJob(JobSpec):
    """A job of the kind `data`."""

    kind: Literal["data"]
    args: DataArgs


class PlanJob(JobSpec):
    """A job of the kind `plan`."""

    kind: Literal["plan"]
    args: PlanArgs


class TrainJob(_OnRun):
    """A job of the kind `train`."""

    kind: Literal["train"]
    args: TrainArgs


class EvaluateJob(_OnRun):
    """A job of the kind `evaluate`."""

    kind: Literal["evaluate"]
    args: EvaluateArgs = EvaluateArgs()


class AnswerJob(_OnRun):
    """A job of the kind `answer`."""

    kind: Literal["answer"]
    args: AnswerArgs


class GenerateJob(JobSpec):
    """A job of the kind `generate`."""

    kind: Literal["generate"]
    args: GenerateArgs

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.run is None) == (self.args.model is None):
            raise ValueError("run: name either a run or args.model")
        if self.args.base and self.run is None:
            raise ValueError("args.base: a model that isn't a run's is a base model already")
        return self


class ExportJob(_OnRun):
    """A job of the kind `export`."""

    kind: Literal["export"]
    args: ExportRecipe


KINDS: dict[str, type[JobSpec]] = {
    "data": DataJob,
    "plan": PlanJob,
    "train": TrainJob,
    "evaluate": EvaluateJob,
    "answer": AnswerJob,
    "generate": GenerateJob,
    "export": ExportJob,
}
"""What `job.json` holds, by its kind."""


def is_light(kind: str, args: Mapping[str, Any]) -> bool:
    """Whether a job needs no device: it reads a file, or plans without JAX.

    Args:
        kind: The job's kind.
        args: Its arguments as plain values.
    """
    if kind != "plan":
        return kind == "data"
    place: Any = args
    for name in ("recipe", "train", "remat"):
        place = place.get(name) if isinstance(place, Mapping) else None
    return not (args.get("compile") or args.get("probe") or place == "offload")


def parse_job(values: Mapping[str, Any], *, where: str = "job") -> JobSpec:
    """The checked job made of plain values.

    Args:
        values: `kind`, `run` and `args`.
        where: What the error text calls them.

    Raises:
        TuneError: `JOB_INVALID`, with everything that is wrong by dotted key, or `JOB_TOO_LARGE`.
    """
    try:
        text = json.dumps(values, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TuneError(f"{where} can't be written as JSON: {error}.", code="JOB_INVALID") from None
    return parse_job_json(text.encode(), where=where)


def parse_job_json(text: bytes, *, where: str = "job.json") -> JobSpec:
    """The checked job in the bytes of a `job.json`.

    Raises:
        TuneError: As `parse_job`.
    """
    if len(text) > LARGEST_JOB:
        raise TuneError(
            f"{where} has {len(text):,} bytes; a job takes at most {LARGEST_JOB:,}. "
            "Put long texts into a file.",
            code="JOB_TOO_LARGE",
        )
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TuneError(f"{where} is no valid JSON: {error}.", code="JOB_INVALID") from None
    kind = values.get("kind") if isinstance(values, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        near = difflib.get_close_matches(str(kind), KINDS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise TuneError(
            f"{where} has the kind {kind!r}; there are {', '.join(KINDS)}.{hint}",
            code="JOB_INVALID",
        )
    try:
        return KINDS[kind].model_validate_json(text)
    except ValidationError as error:
        found = problems(error, known=list(recipe_keys(KINDS[kind])))
        raise TuneError(listed_problems(where, found), code="JOB_INVALID") from None

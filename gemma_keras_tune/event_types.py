"""The vocabulary of a run: every event that it can write. `events.py` has the file they go to.

`step` always counts the optimizer steps that are done: the first step's event has `step=1`, and a
checkpoint with `step=100` holds 100 steps.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue


def _printable(value: Any) -> Any:
    """The same text without lone surrogates, which UTF-8 can't hold (an odd file name has them)."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _plain_float(value: Any) -> Any:
    """A Python float from any scalar that has one inside, such as a NumPy or JAX one."""
    return float(value) if hasattr(value, "__float__") else value


Text = Annotated[str, BeforeValidator(_printable)]
Number = Annotated[float, BeforeValidator(_plain_float)]
StepCount = Annotated[int, Field(ge=0)]


class _Event(BaseModel):
    # A loss may be NaN; JSON has no NaN, and null would read back as "no loss".
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class RunStarted(_Event):
    """An attempt began. Its first step is `resumed_from + 1`; steps beyond are done again."""

    kind: Literal["run_started"] = "run_started"
    resumed_from: StepCount = 0
    name: Text = ""
    device: Text = ""
    versions: dict[str, str] = {}


class StageStarted(_Event):
    """One of the pipeline's stages began: data, model, training, evaluation, export."""

    kind: Literal["stage_started"] = "stage_started"
    stage: Text


class StageEnded(_Event):
    """A stage ended well after `seconds`."""

    kind: Literal["stage_ended"] = "stage_ended"
    stage: Text
    seconds: Number


class Progress(_Event):
    """How far a stage is: `done` of `total` (0: unknown), in whatever the stage counts.

    The training's measurements tell theirs as `validation`, in rows, until the event `validation`.
    """

    kind: Literal["progress"] = "progress"
    stage: Text
    done: Number
    total: Number
    seconds_left: Number | None = None


class Step(_Event):
    """One optimizer step: `loss` in nats per answer token, `tokens` without padding.

    Of its `seconds` it waited `waited_s` for its rows. `seconds_left` are those to the end of the
    training, about, with the measurements between its steps; null after the first step.
    """

    kind: Literal["step"] = "step"
    step: StepCount
    total_steps: StepCount
    epoch: Number
    loss: Number
    tokens: int
    answer_tokens: int
    learning_rate: Number
    grad_norm: Number
    seconds: Number
    waited_s: Number = 0.0
    tokens_per_s: Number
    seconds_left: Number | None = None


class Validation(_Event):
    """The loss on the validation rows, in nats per answer token; `best`: lowest so far.

    For a classification also what became of `label_rows` of the rows when every label was scored:
    `accuracy`, `macro_f1`, and by label the mean probability that its own rows gave to it.
    """

    kind: Literal["validation"] = "validation"
    step: StepCount
    loss: Number
    perplexity: Number
    tokens: int
    best: bool
    label_rows: int = 0
    accuracy: Number | None = None
    macro_f1: Number | None = None
    confidence: dict[Text, Number] | None = None


class CheckpointSaved(_Event):
    """A checkpoint is committed; `seconds` it took and `bytes` it takes."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: StepCount
    seconds: Number
    bytes: int
    reason: Literal["steps", "time", "best", "asked", "pause", "stop", "end"]


class RolledBack(_Event):
    """Step `bad_step` was not a number: the steps after `step` are done again."""

    kind: Literal["rolled_back"] = "rolled_back"
    step: StepCount
    bad_step: StepCount


class Sample(_Event):
    """What the model answered to `prompt` after `step` steps."""

    kind: Literal["sample"] = "sample"
    step: StepCount
    prompt: Text
    text: Text


class AnswerText(_Event):
    """What was answered so far: the whole text, a few times a second while a job writes it."""

    kind: Literal["answer_text"] = "answer_text"
    text: Text
    tokens: int


class Warned(_Event):
    """Something that a person should look at; the run goes on."""

    kind: Literal["warning"] = "warning"
    code: str
    message: Text


class Note(_Event):
    """A line for the log that asks for nothing."""

    kind: Literal["note"] = "note"
    message: Text


class ControlApplied(_Event):
    """The command `id` of `control.jsonl` took effect after `step` steps."""

    kind: Literal["control_applied"] = "control_applied"
    id: Text
    command: Text
    step: StepCount
    key: Text | None = None
    value: JsonValue = None


class ControlRefused(_Event):
    """The command `id` of `control.jsonl` was not carried out, and why; `step` steps were done."""

    kind: Literal["control_refused"] = "control_refused"
    id: Text
    command: Text
    reason: Text
    step: StepCount | None = None
    key: Text | None = None
    value: JsonValue = None


class Load(_Event):
    """What the process and the machine were busy with, every few seconds while a stage works.

    `cpu_percent` is the process's, 100 for each core that it keeps busy; `machine_cpu_percent` is
    the share of all cores. `rss_bytes` is the memory that the process has resident, and
    `peak_rss_bytes` the most so far. The device's figures are sums over this process's devices, and
    null where the backend doesn't tell; `device_percent` needs an NVIDIA GPU and `nvidia-ml-py`.
    """

    kind: Literal["load"] = "load"
    cpu_percent: Number
    rss_bytes: int
    peak_rss_bytes: int
    machine_cpu_percent: Number
    machine_memory_bytes: int
    machine_memory_total_bytes: int
    device_bytes: int | None = None
    peak_device_bytes: int | None = None
    device_limit_bytes: int | None = None
    device_percent: Number | None = None


class RunEnded(_Event):
    """An attempt ended: done, stopped with a checkpoint (then with its step), or failed."""

    kind: Literal["run_ended"] = "run_ended"
    status: Literal["done", "stopped", "failed"]
    code: str = ""
    message: Text = ""
    step: StepCount = 0


Event = Annotated[
    RunStarted
    | StageStarted
    | StageEnded
    | Progress
    | Step
    | Validation
    | CheckpointSaved
    | RolledBack
    | Sample
    | AnswerText
    | Warned
    | Note
    | ControlApplied
    | ControlRefused
    | Load
    | RunEnded,
    Field(discriminator="kind"),
]

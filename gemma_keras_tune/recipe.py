"""Recipes: everything a run needs to know, as one frozen value.

People write TOML that lists only what differs from the defaults; programs write the resolved
JSON. Defaults, bounds, units and help stand in the fields here and nowhere else: validation,
the reference page and every form are made from them.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, model_validator

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LoraTarget = Literal[
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "all-linear"
]
Task = Literal["classification", "instruction", "chat", "text"]
TASK_COLUMNS: dict[str, tuple[str, ...]] = {
    "classification": ("text", "label"),
    "instruction": ("prompt", "response", "system"),
    "chat": ("messages",),
    "text": ("text",),
}
ASKED_PART = {"classification": "text", "instruction": "prompt", "chat": "messages"}
"""The part of a row that asks, by task; a plain text asks nothing."""


class _Section(BaseModel):
    """Frozen, with unknown keys, silent conversions, NaN and infinity refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        use_attribute_docstrings=True,
    )


class DataRecipe(_Section):
    """Which rows, what they mean, and how they are split."""

    path: str = Field(min_length=1)
    """The file with the training rows, CSV or JSONL; relative to the recipe's folder."""
    validation_path: str | None = None
    """A file with the rows used to choose the best step; without it they are split off."""
    test_path: str | None = None
    """A file with the rows held back for the final report; without it they are split off."""
    format: Literal["auto", "csv", "jsonl"] = "auto"
    """How the files are written; `auto` goes by the name and the first line."""
    encoding: str = "auto"
    """Name of the text encoding; `auto` takes a byte-order mark or UTF-8 and refuses a guess."""
    delimiter: Annotated[str, Field(pattern=r"^(auto|[^\r\n\"])$")] = "auto"
    """The character between CSV columns; `auto` finds it."""
    task: Task
    """What a row is: a text with a label, a prompt with a response, a chat, or plain text."""
    columns: dict[str, str] = {}
    """Which column of the file plays which part, as part = "column"; leave out equal names."""
    prompt_format: str = "{prompt}"
    """The text around each prompt; contains `{prompt}` once, the rest is kept as it is."""
    system: str = ""
    """A system message for every row; put before the first prompt."""
    labels: tuple[str, ...] = ()
    """The allowed labels of a classification; empty means those of the training rows, sorted."""
    same_labels: dict[str, str] = {}
    """Labels that count as another one, as spelling = "label": for those that are misspelt."""
    max_length: int = Field(default=512, ge=8, le=131_072, json_schema_extra={"unit": "tokens"})
    """The longest example, and the length of the packed rows."""
    too_long: Literal["error", "truncate", "drop"] = "error"
    """What to do with longer examples: refuse the data, shorten the prompt, or leave them out."""
    bad_rows: Literal["error", "skip"] = "error"
    """What to do with rows that can't be read: refuse the data, or skip and count them."""
    validation_share: float = Field(default=0.1, ge=0, le=0.5)
    """Share of the rows split off to choose the best step, where no file is named."""
    test_share: float = Field(default=0.1, ge=0, le=0.5)
    """Share of the rows split off for the final report, where no file is named."""
    split_seed: int = Field(default=0, ge=0)
    """Changes which rows are split off."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        allowed = TASK_COLUMNS[self.task]
        for part in self.columns:
            if part not in allowed:
                raise ValueError(
                    f"columns: {part!r} is no part of the task {self.task!r}; "
                    f"its parts are {', '.join(allowed)}"
                )
        if self.prompt_format.count("{prompt}") != 1:
            raise ValueError('prompt_format: must contain "{prompt}" exactly once')
        if self.labels and self.task != "classification":
            raise ValueError('labels: only the task "classification" has labels')
        if len(set(self.labels)) != len(self.labels) or len(self.labels) == 1:
            raise ValueError("labels: name at least two, each once")
        self._check_same_labels()
        return self

    def _check_same_labels(self) -> None:
        if self.same_labels and self.task != "classification":
            raise ValueError('same_labels: only the task "classification" has labels')
        for label, meant in self.same_labels.items():
            if not label or not meant or label != label.strip() or meant != meant.strip():
                raise ValueError("same_labels: a label is not empty and has no blanks around it")
            if meant in self.same_labels:
                raise ValueError(
                    f"same_labels: {meant!r} counts as {self.same_labels[meant]!r}, so nothing "
                    "can count as it"
                )
            if self.labels and meant not in self.labels:
                raise ValueError(f"same_labels: {meant!r} is none of labels")

    def column(self, part: str) -> str:
        """The file's name of the column that plays `part`."""
        return self.columns.get(part, part)


class LoraRecipe(_Section):
    """The low-rank adapter beside the frozen weights."""

    rank: int = Field(default=8, ge=1, le=1024)
    """How large the adapter is (the inner size of its two matrices): more can learn more, and takes
    more memory."""
    alpha: float = Field(default=16.0, gt=0, le=4096)
    """Strength: the adapter's product is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of the adapter's inputs that are zeroed at random while training."""
    targets: tuple[LoraTarget, ...] = Field(default=("all-linear",), min_length=1)
    """Which projections get an adapter, named as PEFT names them; `all-linear` means all seven."""
    use_rslora: bool = False
    """Multiply by alpha / sqrt(rank) instead (rank-stabilised LoRA, arXiv:2312.03732)."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Changes the adapter's random start."""

    @property
    def projections(self) -> tuple[str, ...]:
        """The targeted projections, each once, in the order of the model."""
        if "all-linear" in self.targets:
            return LORA_TARGETS
        return tuple(name for name in LORA_TARGETS if name in self.targets)


class ModelRecipe(_Section):
    """Which weights to start from, and what is added to them."""

    preset: str = Field(default="demo", min_length=1)
    """`demo`, a KerasHub preset, a `kaggle://` or `hf://` handle, a local folder or GGUF file."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of the frozen weights; `auto` is bfloat16 on TPU and GPU, float32 on CPU."""
    template: Literal["auto", "gemma", "function_gemma", "gemma4", "plain"] = "auto"
    """How turns become tokens: `gemma` for instruct models, `plain` for pretrained ones; `auto`
    takes what belongs to the model."""
    adapter: str | None = Field(default=None, min_length=1)
    """An adapter to go on from, and its settings: a finished run, or a folder that PEFT wrote."""
    lora: LoraRecipe = LoraRecipe()
    """The adapter."""


class TrainRecipe(_Section):
    """How the adapter is trained."""

    epochs: int = Field(default=2, ge=1, le=1000)
    """How often every training row is seen."""
    max_steps: int | None = Field(default=None, ge=1)
    """Stop after so many optimizer steps, where that is earlier than the epochs' end."""
    learning_rate: float = Field(default=2e-4, gt=0, le=1)
    """Step size at its highest."""
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    """How the learning rate falls after the warm-up: not at all, straight, or as a cosine, to 0."""
    warmup_share: float = Field(default=0.05, ge=0, le=1)
    """Share of all steps over which the learning rate rises from 0."""
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    """AdamW's decay, multiplied by the learning rate."""
    adam_b1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of AdamW's mean of the gradients."""
    adam_b2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of AdamW's mean of the squared gradients."""
    adam_eps: float = Field(default=1e-8, gt=0, le=1)
    """Added to AdamW's divisor."""
    max_grad_norm: float = Field(default=1.0, ge=0)
    """Gradients longer than this are scaled down to it; 0 leaves them as they are."""
    batch_tokens: int = Field(default=2048, ge=8, json_schema_extra={"unit": "tokens"})
    """Tokens of one optimizer step, padding included; rounded down to whole micro-batches."""
    micro_batch_tokens: int = Field(default=1024, ge=8, json_schema_extra={"unit": "tokens"})
    """Tokens that pass through the model at once, rounded down to whole rows of `max_length`;
    less takes less memory, and gives the same result where a step's tokens stay the same."""
    remat: Literal["none", "dots", "full", "offload"] = "dots"
    """What the backward pass computes again to save memory: nothing, all but products, all; with
    `offload` products wait in the machine's memory, where a device has memory of its own."""
    attention: Literal["auto", "fused", "plain"] = "auto"
    """How long rows are attended to: `auto` takes a kernel for a TPU, `fused` also that for a GPU
    (from 512 tokens on, in bfloat16), `plain` none; the result is the same but for the last
    bits. No kernel has run on its device here yet."""
    loss_chunk: int = Field(default=128, ge=8, json_schema_extra={"unit": "tokens"})
    """Answer tokens whose loss is computed at once, each for some of the vocabulary at a time."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Changes the order of the rows and the dropout."""
    evaluate_every_steps: int | None = Field(default=None, ge=1)
    """Steps between two measurements on the validation rows; without it, once an epoch."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many measurements without a new best one; without it, run to the end."""
    checkpoint_every_steps: int | None = Field(default=None, ge=1)
    """Steps between two checkpoints; without it, only by time."""
    checkpoint_every_s: float = Field(default=300, gt=0, json_schema_extra={"unit": "seconds"})
    """Longest time between two checkpoints."""
    keep_checkpoints: int = Field(default=2, ge=1, le=100)
    """How many of the newest checkpoints stay; the best stays too."""
    on_nan: Literal["stop", "skip", "roll_back"] = "stop"
    """What to do if a step's loss is not a number: stop, skip it, or first do it again from the
    last checkpoint and skip it if that is no better."""
    nan_limit: int = Field(default=3, ge=1, le=1000)
    """Stop after so many steps in a row that were skipped."""
    sample_prompts: tuple[str, ...] = ()
    """Prompts that the model is asked while it learns."""
    sample_every_steps: int | None = Field(default=None, ge=1)
    """Steps between two rounds of these prompts; without it, only when somebody asks."""
    sample_max_tokens: int = Field(default=64, ge=1, le=4096, json_schema_extra={"unit": "tokens"})
    """The longest answer to such a prompt."""
    label_rows: int = Field(default=100, ge=0, le=100_000)
    """Validation rows on which the labels of a classification are scored at each measurement; 0
    for none."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.sample_every_steps is not None and not self.sample_prompts:
            raise ValueError("sample_prompts: name at least one, or leave out sample_every_steps")
        if any(not prompt.strip() for prompt in self.sample_prompts):
            raise ValueError("sample_prompts: a prompt can't be empty")
        return self


class EvaluateRecipe(_Section):
    """What is measured and shown at the end."""

    samples: int = Field(default=5, ge=0, le=1000)
    """Rows whose answers, before and after, are generated and shown side by side."""
    max_tokens: int = Field(default=64, ge=1, le=131_072, json_schema_extra={"unit": "tokens"})
    """The longest generated answer."""
    temperature: float = Field(default=0.0, ge=0, le=10)
    """0 takes the most probable token; more makes unlikely tokens likelier."""
    top_k: int | None = Field(default=None, ge=1)
    """Choose among so many most probable tokens."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Choose among the most probable tokens that together have this probability."""
    seed: int = Field(default=0, ge=0, le=2**32 - 1)
    """Changes the choice where the temperature is above 0."""
    batch_rows: int = Field(default=8, ge=1, le=1024)
    """Rows measured or generated at once."""


class MeshRecipe(_Section):
    """How a run is shared out where there are several devices, on one machine or on many."""

    data: int | None = Field(default=None, ge=1)
    """Groups of devices, each with rows of its own; without it, as many as there can be."""
    model: int | None = Field(default=None, ge=1)
    """Devices that hold the weights together, each a part; without it, as few as hold them."""


class ExportRecipe(_Section):
    """One artifact to write and check at the end."""

    format: Literal["hf", "peft"]
    """`hf`: a Hugging Face folder with the adapter merged; `peft`: the adapter alone."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of the written weights."""
    max_shard_bytes: int = Field(
        default=2_000_000_000, ge=1_000_000, json_schema_extra={"unit": "bytes"}
    )
    """Weights are split into files of at most this size."""


SAME_RESULT = (
    *("train.micro_batch_tokens", "train.remat", "train.attention", "train.loss_chunk"),
    *("mesh.data", "mesh.model", "evaluate.batch_rows"),
)
"""Settings that decide how a result is computed, and not which: a run may go on with others.

The last bits may differ, and with dropout which numbers are dropped.
"""


def is_same_result(assignment: str) -> bool:
    """Whether an assignment, such as `train.remat=full`, changes only such settings."""
    return all(part.partition("=")[0] in SAME_RESULT for part in assignment.split())


class Recipe(_Section):
    """A whole run: data, model, training, evaluation and exports."""

    version: Literal[1] = Field(default=1, alias="schema")
    """Version of this format."""
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    """What the run is called: letters, digits, dots, dashes and underscores."""
    data: DataRecipe
    """Which rows, what they mean, and how they are split."""
    model: ModelRecipe = ModelRecipe()
    """Which weights to start from, and what is added to them."""
    train: TrainRecipe = TrainRecipe()
    """How the adapter is trained."""
    mesh: MeshRecipe = MeshRecipe()
    """How the training is shared out where there are several devices."""
    evaluate: EvaluateRecipe = EvaluateRecipe()
    """What is measured and shown at the end."""
    export: tuple[ExportRecipe, ...] = ()
    """Artifacts to write and check at the end."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        formats = [item.format for item in self.export]
        if len(set(formats)) != len(formats):
            raise ValueError("export: each format may be named once")
        return self

    def to_json(self) -> str:
        """The resolved recipe as JSON, every default written out."""
        return self.model_dump_json(by_alias=True, indent=2)

    def to_toml(self) -> str:
        """The recipe as TOML, only what differs from the defaults."""
        plain = self.model_dump(
            mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
        )
        return tomli_w.dumps({"schema": 1, **plain})

    def gives_the_same_as(self, other: Recipe) -> bool:
        """Whether the two differ in nothing but what `SAME_RESULT` names."""
        names: dict[str, set[str]] = {}
        for section, _, name in (key.partition(".") for key in SAME_RESULT):
            names.setdefault(section, set()).add(name)
        return self.model_dump(exclude=names) == other.model_dump(exclude=names)

    def computed_otherwise(self, other: Recipe) -> tuple[str, ...]:
        """What of `SAME_RESULT` the other has changed, such as `train.remat: dots -> full`."""
        mine, theirs = self.model_dump(), other.model_dump()
        found = []
        for key in SAME_RESULT:
            section, _, name = key.partition(".")
            before, after = mine[section][name], theirs[section][name]
            if before != after:
                found.append(f"{key}: {before} -> {after}")
        return tuple(found)

    @property
    def sha256(self) -> str:
        """Hash of the resolved recipe."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

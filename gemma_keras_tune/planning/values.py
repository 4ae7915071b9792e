"""What a plan says, as plain frozen values; `to_json` of each is what jobs and programs read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..data.findings import Finding
from .fetch import Fetch

Status = Literal["fits", "tight", "too_big"]


@dataclass(frozen=True, kw_only=True)
class Term:
    """One share of the memory of a stage.

    Attributes:
        name: For programs, such as `frozen_weights`.
        words: For people.
        bytes: How much; negative where reserved memory is never filled.
    """

    name: str
    words: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Stage:
    """The highest point of one stage of a run.

    Attributes:
        name: `model`, `training`, `evaluation` or `export`.
        terms: What it is made of; the largest first.
        beside: What another process takes at the same time, such as the export's check.
    """

    name: str
    terms: tuple[Term, ...]
    beside: tuple[Term, ...] = ()

    @property
    def bytes(self) -> int:
        """What this process takes."""
        return sum(term.bytes for term in self.terms)

    @property
    def bytes_with_beside(self) -> int:
        """What this process and the one beside it take together."""
        return self.bytes + sum(term.bytes for term in self.beside)


@dataclass(frozen=True, kw_only=True)
class Room:
    """The memory that is there for a run.

    Attributes:
        where: `machine` or `device`.
        free_bytes: What the run may take, or None where nobody can say.
        total_bytes: What there is in all, or None.
        source: Who says so, in words.
    """

    where: Literal["machine", "device"]
    free_bytes: int | None
    total_bytes: int | None
    source: str


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a run takes of one kind of memory.

    Attributes:
        room: The memory that is there.
        stages: Each stage's highest point, before the correction.
        correction: What past runs on this machine say that the sum must be multiplied by.
    """

    room: Room
    stages: tuple[Stage, ...]
    correction: float = 1.0

    @property
    def highest(self) -> Stage:
        """The stage that takes most in this process."""
        return max(self.stages, key=lambda stage: stage.bytes)

    @property
    def peak_bytes(self) -> int:
        """What this process takes at its highest point."""
        return round(self.highest.bytes * self.correction)

    @property
    def needed_bytes(self) -> int:
        """What the run takes at its highest point, processes beside this one included."""

        def needed(stage: Stage) -> int:
            beside = stage.bytes_with_beside - stage.bytes
            return round(stage.bytes * self.correction) + beside

        return max(needed(stage) for stage in self.stages)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "where": self.room.where,
            "peak_bytes": self.peak_bytes,
            "peak_stage": self.highest.name,
            "needed_bytes": self.needed_bytes,
            "free_bytes": self.room.free_bytes,
            "total_bytes": self.room.total_bytes,
            "room_source": self.room.source,
            "correction": self.correction,
            "stages": [{**asdict(stage), "bytes": stage.bytes} for stage in self.stages],
        }


@dataclass(frozen=True, kw_only=True)
class Program:
    """What the compiler reserves for one compiled function.

    Attributes:
        argument_bytes: Its inputs: weights, adapters, optimizer state, batch.
        output_bytes: Its results.
        alias_bytes: Results that are written over inputs.
        temp_bytes: Everything in between.
    """

    argument_bytes: int
    output_bytes: int
    alias_bytes: int
    temp_bytes: int


@dataclass(frozen=True, kw_only=True)
class CompilerCheck:
    """What XLA says of the real functions, lowered on shapes without weights.

    Attributes:
        device: For which device it was compiled.
        programs: By name: `training`, `validation`, `evaluation`.
        seconds: What tracing and compiling took.
        cached: Whether it is an earlier answer to the same question.
    """

    device: str
    programs: dict[str, Program]
    seconds: float
    cached: bool


@dataclass(frozen=True, kw_only=True)
class Steps:
    """How long the data is.

    Attributes:
        total: Optimizer steps of the run.
        rows: Training rows.
        tokens: Tokens of one pass over them, padding not counted.
        answer_share: Share of the tokens that are answers.
        counted: `all` rows, or a `sample` of them from which the rest is estimated.
        packed_rows: Packed rows of the first pass.
        validation_rows: Rows that are measured while it trains.
        test_rows: Rows that are held back to the end.
    """

    total: int
    rows: int
    tokens: int
    answer_share: float
    counted: Literal["all", "sample"]
    packed_rows: int
    validation_rows: int
    test_rows: int


@dataclass(frozen=True, kw_only=True)
class FewSteps:
    """That a run has too few optimizer steps to learn much, and what would give it more.

    Attributes:
        steps: The optimizer steps that it then has; those that it has where nothing helps.
        set: Options that do it, such as `train.batch_tokens=512 train.epochs=5`; "" where the
            recipe asks for so few itself, or there are too few rows.
        words: What it is about, for people.
    """

    steps: int
    set: str
    words: str


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """How long an optimizer step takes.

    Attributes:
        seconds: Of one step, the first one's compilation not counted.
        source: `probe`, `past runs` of the same model on this machine, or `operations`: counted
            operations over the speed of this machine's matrix products.
        words: Where the figure comes from, for people.
        compile_seconds: What the first step takes longer, where it was measured.
    """

    seconds: float
    source: Literal["probe", "past runs", "operations"]
    words: str
    compile_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """Another size of the micro-batch.

    Attributes:
        micro_batch_tokens: The largest that leaves the margin, and is of use.
        set: The option that sets it, such as `train.micro_batch_tokens=2048`.
        peak_bytes: What the run would then take.
        words: What it changes, and what it doesn't.
    """

    micro_batch_tokens: int
    set: str
    peak_bytes: int
    words: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether it fits.

    Attributes:
        status: `fits`, `tight`, or `too_big`: it will not be started.
        words: Why, with numbers.
        changes: Settings that make it fit, the gentlest first: `(setting, peak in bytes)`.
    """

    status: Status
    words: str
    changes: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, kw_only=True)
class PastPlans:
    """How right earlier plans on this machine were.

    Attributes:
        count: Runs that were planned and measured.
        median_error: Median of the absolute errors of the peak, a share: 0.04 is 4 %.
        worst_error: The largest one, with its sign: above 0 the plan was too high.
        correction: What the formula is multiplied by from now on.
    """

    count: int
    median_error: float | None = None
    worst_error: float | None = None
    correction: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will take.

    Attributes:
        recipe: The recipe's name.
        model: What was planned for: preset, parameters, dtype, layers, width.
        device: Where it would run: platform, kind, and who says so.
        batch: Rows, lengths and micro-batches of a step.
        memories: The machine's memory and, where there is an accelerator, the device's.
        verdict: Whether it fits.
        fetch: What must be fetched first; None where nothing, or nobody looked.
        suggestion: Another micro-batch, or None where the recipe's is as good.
        steps: How many steps, or None where the data wasn't looked at.
        few_steps: What would give it more steps, or None where they are enough.
        step_time: How long a step takes, or None where nobody can say.
        measuring_seconds: What measuring takes, while it trains and at the end, about; None where
            nobody can say.
        compiler: What the compiler says, where it was asked.
        past: How right earlier plans were.
        findings: Warnings and remarks about the data; empty where it wasn't looked at.
        notes: What a person should know about how this was found.
    """

    recipe: str
    model: dict[str, Any]
    device: dict[str, Any]
    batch: dict[str, int]
    memories: tuple[Memory, ...]
    verdict: Verdict
    fetch: Fetch | None
    suggestion: Suggestion | None
    steps: Steps | None
    few_steps: FewSteps | None
    step_time: StepTime | None
    measuring_seconds: float | None
    compiler: CompilerCheck | None
    past: PastPlans
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def training_seconds(self) -> float | None:
        """Steps times seconds a step, the first one's compilation included where it is known."""
        if self.steps is None or self.step_time is None:
            return None
        return self.steps.total * self.step_time.seconds + (self.step_time.compile_seconds or 0.0)

    @property
    def memory(self) -> Memory:
        """The memory that is tightest: the device's where there is one, else the machine's."""
        return self.memories[-1]

    def to_json(self) -> dict[str, Any]:
        """Plain values, complete."""
        plain: dict[str, Any] = {
            name: None if (value := getattr(self, name)) is None else asdict(value)
            for name in (
                "verdict",
                "fetch",
                "suggestion",
                "steps",
                "few_steps",
                "step_time",
                "compiler",
                "past",
            )
        }
        plain["verdict"]["changes"] = [
            {"set": setting, "peak_bytes": peak} for setting, peak in self.verdict.changes
        ]
        return {
            "recipe": self.recipe,
            "model": self.model,
            "device": self.device,
            "batch": self.batch,
            "memories": [memory.to_json() for memory in self.memories],
            **plain,
            "training_seconds": self.training_seconds,
            "measuring_seconds": self.measuring_seconds,
            "findings": [item.to_json() for item in self.findings],
            "notes": list(self.notes),
        }

"""What plans said and runs took on this machine: `plans.jsonl` under the data root."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import psutil

from .. import locks
from ..durable import atomic_write_bytes, fsync_folder, write_all
from .values import PastPlans, StepTime

FILE = "plans.jsonl"
_LOOKED_AT = 20  # newest runs that count
_MOST_LINES, _KEPT_LINES = 400, 200
FEWEST = 3
"""Runs that must be known before they correct the formula."""

_CORRECTIONS = (0.5, 2.0)


@dataclass(frozen=True, kw_only=True)
class PastPlan:
    """One run: what was planned for it, and what it took.

    Attributes:
        time: When it ended, ISO 8601 in UTC.
        machine: What it ran on, as `machine_key` says it.
        model: Family, sizes, dtype and `remat`, as `make.model_key` says them.
        planned_bytes: The formula's peak of the memory that counts, not corrected.
        measured_bytes: The measured one.
        seconds_per_token: Of training, padding included; 0 where no second step was seen.
        fresh: Whether the process did nothing else before, so that its peak is the run's.
        recipe: The recipe's name.
    """

    time: str
    machine: str
    model: str
    planned_bytes: int
    measured_bytes: int
    seconds_per_token: float = 0.0
    fresh: bool = True
    recipe: str = ""


def machine_key(platform_name: str, kind: str = "") -> str:
    """A machine by what decides memory and speed: platform, processor, cores, memory.

    Args:
        platform_name: `cpu`, `gpu` or `tpu`.
        kind: The device's own name.
    """
    gigabytes = round(psutil.virtual_memory().total / 1e9)
    cores = os.cpu_count()
    return f"{platform_name} {kind} {platform.machine()} {cores} cores {gigabytes} GB".strip()


def now() -> str:
    """The time, as `PastPlan.time` has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def remember(root: Path, entry: PastPlan) -> None:
    """Adds a run, durably. Of more than 400 lines the oldest are left out.

    Args:
        root: The data root.
        entry: The run.

    Raises:
        OSError: If the file can't be written.
    """
    root.mkdir(parents=True, exist_ok=True)
    path = root / FILE
    lock = locks.take(root / f".{FILE}.lock", wait_s=5.0)
    try:
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        line = (json.dumps(asdict(entry), allow_nan=False) + "\n").encode()
        torn = bool(lines) and not lines[-1].endswith(b"\n")
        if len(lines) >= _MOST_LINES or torn:
            kept = [one for one in lines if one.endswith(b"\n")][-_KEPT_LINES:]
            atomic_write_bytes(path, b"".join([*kept, line]))
            return
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            write_all(handle, line)
            os.fsync(handle)
        finally:
            os.close(handle)
        fsync_folder(root)
    finally:
        locks.release(lock)


def past_plans(root: Path, machine: str) -> list[PastPlan]:
    """The newest runs on this machine, oldest first; lines that can't be read are left out.

    Args:
        root: The data root.
        machine: See `machine_key`.
    """
    known = {field.name for field in fields(PastPlan)}
    found = []
    with suppress(OSError):
        for line in (root / FILE).read_bytes().splitlines():
            with suppress(ValueError, TypeError, AttributeError):
                values = json.loads(line)
                entry = PastPlan(**{k: v for k, v in values.items() if k in known})
                if entry.machine == machine and entry.measured_bytes > 0 < entry.planned_bytes:
                    found.append(entry)
    return found[-_LOOKED_AT:]


def correction_of(entries: Sequence[PastPlan]) -> float:
    """What the formula is multiplied by: the median of measured over planned, or 1 if few.

    Args:
        entries: Runs; those of a process that did other things before don't count.
    """
    ratios = [entry.measured_bytes / entry.planned_bytes for entry in entries if entry.fresh]
    if len(ratios) < FEWEST:
        return 1.0
    low, high = _CORRECTIONS
    return min(high, max(low, statistics.median(ratios)))


def errors_of(entries: Sequence[PastPlan]) -> list[float]:
    """Error of each run's plan, as a share; above 0 it was too high.

    Each plan is corrected by the other runs only, so that the error is that of a plan made
    without having seen the run.

    Args:
        entries: Runs of one machine.
    """
    fresh = [entry for entry in entries if entry.fresh]
    errors = []
    for place, entry in enumerate(fresh):
        others = [*fresh[:place], *fresh[place + 1 :]]
        planned = entry.planned_bytes * correction_of(others)
        errors.append(planned / entry.measured_bytes - 1)
    return errors


def summary(entries: Sequence[PastPlan]) -> PastPlans:
    """How right the plans were, and the correction from now on.

    Args:
        entries: Runs of one machine.
    """
    errors = errors_of(entries)
    if not errors:
        return PastPlans(count=0)
    return PastPlans(
        count=len(errors),
        median_error=statistics.median(abs(error) for error in errors),
        worst_error=max(errors, key=abs),
        correction=correction_of(entries),
    )


def time_by_past_runs(
    entries: Sequence[PastPlan], *, model: str, tokens_of_step: int
) -> StepTime | None:
    """The time of a step by earlier runs of the same model, or None where there are none.

    Args:
        entries: Runs of one machine.
        model: Preset and dtype.
        tokens_of_step: Tokens of an optimizer step, padding included.
    """
    paces = [e.seconds_per_token for e in entries if e.model == model and e.seconds_per_token > 0]
    if not paces:
        return None
    words = f"by the last {len(paces)} runs of this model on this machine"
    if len(paces) == 1:
        words = "by the last run of this model on this machine"
    seconds = statistics.median(paces) * tokens_of_step
    return StepTime(seconds=seconds, source="past runs", words=words)

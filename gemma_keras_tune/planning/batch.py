"""The micro-batch that fits, what else would make a run fit, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from ..catalogue import catalogue
from .estimate import Setting, largest
from .known_models import known_config
from .values import Memory, Room, Status, Suggestion, Verdict

MARGIN = 0.85
"""Share of the free memory that a plan may take without being called tight."""

_CLEARLY = 0.95  # of what a setting takes; more isn't worth to be called less

Needed = Callable[[Setting], int]
"""What a setting takes at its highest point, in bytes."""


def judge(memory: Memory, setting: Setting, *, needed: Needed) -> Verdict:
    """Whether the run fits into a memory, and what would make it fit.

    Args:
        memory: What it takes, and what there is.
        setting: What was planned.
        needed: What another setting would take.
    """
    free, takes = memory.room.free_bytes, memory.needed_bytes
    place = "device" if memory.room.where == "device" else "machine"
    if free is None:
        words = f"It takes about {_gb(takes)}; how much the {place} has free is not known."
        return Verdict(status="fits", words=words)
    told = f"It takes about {_gb(takes)}; the {place} has {_gb(free)} free"
    if takes <= MARGIN * free:
        return Verdict(status="fits", words=f"{told}.")
    status: Status = "tight" if takes <= free else "too_big"
    changes = tuple(_changes(setting, free=free, needed=needed))
    worst = max(memory.stages, key=lambda stage: stage.bytes_with_beside)
    words = f"{told}. The highest point is the stage {worst.name}: {largest(worst)}."
    return Verdict(status=status, words=words, changes=changes)


def suggest(setting: Setting, room: Room, *, needed: Needed) -> Suggestion | None:
    """The largest micro-batch that leaves the margin, or None where the recipe's is that already.

    Only sizes with which a step sees as many rows are looked at, so that it gives the same result.
    Found by bisection: more at once never takes less.

    Args:
        setting: What was planned.
        room: The memory that counts.
        needed: What another setting would take.
    """
    if room.free_bytes is None:
        return None
    of_step = setting.rows * setting.micro_batches
    sizes = _sizes(setting)
    limit = MARGIN * room.free_bytes
    low, high = 0, len(sizes)  # the first `low` fit, those from `high` on don't
    while low < high:
        middle = (low + high) // 2
        if needed(setting.with_micro_batch(sizes[middle] * setting.length)) <= limit:
            low = middle + 1
        else:
            high = middle
    if not low or sizes[low - 1] == setting.rows:
        return None
    tokens = sizes[low - 1] * setting.length
    faster = sizes[low - 1] > setting.rows
    step_tokens = of_step * setting.length
    words = (
        f"{'More' if faster else 'Less'} at once; train.batch_tokens stays, so a step still sees "
        f"{step_tokens:,} tokens and gives the same result."
    )
    if faster and setting.platform == "cpu":
        words += " On a processor that is hardly faster."
    return Suggestion(
        micro_batch_tokens=tokens,
        set=f"train.micro_batch_tokens={tokens}",
        peak_bytes=needed(setting.with_micro_batch(tokens)),
        words=words,
    )


def smaller(setting: Setting, *, needed: Needed) -> tuple[tuple[str, int], ...]:
    """Settings that take clearly less than this one, the gentlest first, with what they take."""
    return tuple(_changes(setting, free=int(_CLEARLY * needed(setting) / MARGIN), needed=needed))


def _changes(setting: Setting, *, free: int, needed: Needed) -> Iterator[tuple[str, int]]:
    """Settings that make the run fit, the gentlest first: one of each kind, four at most."""
    kinds: set[str] = set()
    for words, other in _candidates(setting):
        kind = "".join(part.partition("=")[0] for part in words.split())
        if kind in kinds or len(kinds) == 4:
            continue
        takes = needed(other)
        if takes <= MARGIN * free:
            kinds.add(kind)
            yield words, takes


def _candidates(setting: Setting) -> Iterator[tuple[str, Setting]]:
    recipe = setting.recipe
    smaller = [rows for rows in reversed(_sizes(setting)) if rows < setting.rows]
    for rows in smaller:
        tokens = rows * setting.length
        yield f"train.micro_batch_tokens={tokens}", setting.with_micro_batch(tokens)
    for remat in ("dots", "full"):
        if (recipe.train.remat, remat) in (("none", "dots"), ("none", "full"), ("dots", "full")):
            spared = _with(setting, train={"remat": remat})
            yield f"train.remat={remat}", spared
            if smaller:
                tokens = smaller[-1] * setting.length
                both = f"train.remat={remat} train.micro_batch_tokens={tokens}"
                yield both, spared.with_micro_batch(tokens)
    if setting.dtype == "float32":
        yield "model.dtype=bfloat16", _with(setting, model={"dtype": "bfloat16"})
    if recipe.export:
        yield "export=[]", replace(setting, recipe=recipe.model_copy(update={"export": ()}))
    yield from _smaller_models(setting)


def _sizes(setting: Setting) -> list[int]:
    """Rows of a micro-batch with which a step has as many rows, fewest first.

    The optimizer's batch is rounded down to whole micro-batches: smaller ones may fill it further.
    """
    of_step = setting.rows * setting.micro_batches
    divisors = [rows for rows in range(1, of_step + 1) if of_step % rows == 0]
    found = []
    for rows in divisors:
        other = setting.with_micro_batch(rows * setting.length)
        if other.rows * other.micro_batches == of_step:
            found.append(rows)
    return found


def _smaller_models(setting: Setting) -> Iterator[tuple[str, Setting]]:
    """Models of the catalogue with fewer layers, the largest first."""
    entries = sorted(catalogue()[1:], key=lambda entry: -entry.parameters)
    for entry in entries:
        config = known_config(entry.size)
        if config.layers < setting.config.layers and entry.name.startswith("gemma3_instruct"):
            yield f"model.preset={entry.name}", replace(setting, config=config)


def _with(setting: Setting, **sections: dict[str, object]) -> Setting:
    recipe = setting.recipe
    changed = {
        name: getattr(recipe, name).model_copy(update=values) for name, values in sections.items()
    }
    return replace(setting, recipe=recipe.model_copy(update=changed))


def _gb(count: float) -> str:
    return f"{count / 1e9:.2f} GB"

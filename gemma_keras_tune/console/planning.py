"""The command `plan`: what a run would take, for a person or a program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..errors import TuneError
from . import screen, sources
from .progress import duration, size

if TYPE_CHECKING:
    from ..planning.values import Memory, Plan, Stage

_WIDTH = 30  # of the longest bar
_SMALLEST = 0.005  # share of a stage below which a term is told with the rest
_STATUS = {
    "fits": ("It fits", "green"),
    "tight": ("It is tight", "yellow"),
    "too_big": ("It doesn't fit", "bold red"),
}


def plan(
    source: str,
    settings: Mapping[str, Any],
    *,
    task: str | None,
    columns: Mapping[str, str],
    compile: bool,
    probe: bool,
    json_output: bool,
) -> None:
    """Shows the plan of a run.

    Args:
        source: A recipe or a data file.
        settings: Overrides by dotted key.
        task: Of a data file, where its columns don't tell.
        columns: Column by part of the task, for a data file.
        compile: Whether to ask the compiler.
        probe: Whether to measure a step.
        json_output: Whether to print one JSON object.

    Raises:
        TuneError: `PLAN_DOES_NOT_FIT`, after the plan was shown; or as `planning.make.plan`.
    """
    from ..planning.before_start import does_not_fit
    from ..planning.make import plan as make_plan

    recipe = sources.named_recipe(source, settings, task=task, columns=columns)
    made = make_plan(recipe, compile=compile, probe=probe)
    if json_output:
        screen.print_json(made.to_json())
    else:
        show_plan(screen.out(), made)
    if made.verdict.status == "too_big":
        refusal: TuneError = does_not_fit(made.verdict)
        raise refusal


def show_plan(console: Console, made: Plan) -> None:
    """The plan, for a person.

    Args:
        console: Where to.
        made: The plan.
    """
    words, style = _STATUS[made.verdict.status]
    model = made.model
    screen.say(
        console,
        screen.heading(f"The plan of {made.recipe}"),
        screen.pairs(
            [
                (
                    "Model",
                    f"{model['preset']}: {model['parameters'] / 1e6:,.0f} million parameters, "
                    f"{model['dtype']}",
                ),
                ("Device", f"{made.device['name']} ({made.device['source']})"),
                ("Verdict", Text.assemble((f"{words}. ", style), screen.text(made.verdict.words))),
                *([("Fetched first", made.fetch.words)] if made.fetch is not None else []),
            ]
        ),
    )
    for memory in made.memories:
        _show_memory(console, memory)
    _show_compiler(console, made)
    rows = [*_batch(made), *_time(made), *_past(made)]
    screen.say(console, screen.heading("Batch, time and past plans"), screen.pairs(rows))
    for item in made.findings:
        screen.say(console, screen.text(f"  {item}"))
    for note in made.notes:
        screen.say(console, screen.text(f"  {note}", "dim"))


def _show_memory(console: Console, memory: Memory) -> None:
    place = "The device's memory" if memory.room.where == "device" else "Memory"
    free = memory.room.free_bytes
    there = "unknown what is free" if free is None else f"{size(free)} free"
    worst = memory.highest
    head = f"{place}: {size(memory.peak_bytes)} at its highest point, {there}"
    screen.say(console, screen.heading(head), _bars(console, worst))
    if memory.correction != 1.0:
        screen.say(
            console,
            f"The sum, {size(worst.bytes)}, times {memory.correction:.2f}: what past runs on this "
            "machine took.",
        )
    others = [f"{stage.name} {size(stage.bytes)}" for stage in memory.stages if stage is not worst]
    if others:
        screen.say(console, f"Stage shown: {worst.name}. The others: {', '.join(others)}.")
    for stage in memory.stages:
        for term in stage.beside:
            screen.say(console, f"Beside it in {stage.name}: {term.words}, {size(term.bytes)}.")


def _bars(console: Console, stage: Stage) -> Table:
    """One bar a term; the small ones together."""
    letter = "\u2588" if console.encoding.startswith("utf") else "#"
    most = max(term.bytes for term in stage.terms)
    small = [term for term in stage.terms if abs(term.bytes) < _SMALLEST * stage.bytes]
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    for term in stage.terms:
        if term in small:
            continue
        bar = Text(letter * max(0, round(_WIDTH * term.bytes / most)), "cyan")
        table.add_row(screen.text(term.words), _signed(term.bytes), bar)
    if small:
        table.add_row(Text("the rest", "dim"), _signed(sum(term.bytes for term in small)), "")
    return table


def _signed(count: int) -> str:
    return f"-{size(-count)}" if count < 0 else size(count)


def _show_compiler(console: Console, made: Plan) -> None:
    check = made.compiler
    if check is None:
        return
    how = "an earlier answer" if check.cached else f"compiled in {duration(check.seconds)}"
    rows = [
        (name, f"{size(one.temp_bytes)} beside {size(one.argument_bytes)} of inputs")
        for name, one in check.programs.items()
    ]
    title = f"Checked by the compiler for {check.device} ({how})"
    screen.say(console, screen.heading(title), screen.pairs(rows))


def _batch(made: Plan) -> Iterator[tuple[str, str]]:
    batch = made.batch
    yield (
        "Batch",
        f"{batch['micro_batches']} x {batch['rows']} rows of {batch['length']} tokens: "
        f"{batch['tokens_at_once']:,} at once, {batch['tokens_of_step']:,} a step",
    )
    if made.suggestion is not None:
        found = made.suggestion
        text = f"--set {found.set}, {size(found.peak_bytes)}. {found.words}"
        yield "Suggested", text


def _time(made: Plan) -> Iterator[tuple[str, str]]:
    steps, step_time = made.steps, made.step_time
    if steps is not None:
        how = "counted" if steps.counted == "all" else "estimated from a sample of the rows"
        yield (
            "Steps",
            f"{steps.total:,} ({how}): {steps.rows:,} rows of {steps.tokens:,} tokens, "
            f"{steps.answer_share:.0%} of them answers",
        )
    if made.few_steps is not None:
        few = made.few_steps
        more = f" --set {few.set.replace(' ', ' --set ')}: {few.steps} steps." if few.set else ""
        yield "Few steps", few.words + more
    if step_time is None:
        yield "Time", "not known here yet; --probe measures a step"
        return
    text = f"{duration(step_time.seconds)} a step, {step_time.words}"
    if made.training_seconds is not None:
        text = f"about {duration(made.training_seconds)} of training, {text}"
    if made.measuring_seconds is not None:
        text = f"{text}; about {duration(made.measuring_seconds)} of measuring"
    yield "Time", f"{text}. Compiling and exports come on top."


def _past(made: Plan) -> Iterator[tuple[str, str]]:
    past = made.past
    if past.median_error is None or past.worst_error is None:
        yield "Past plans", "none yet on this machine"
        return
    runs = "1 plan" if past.count == 1 else f"{past.count} plans"
    yield (
        "Past plans",
        f"the last {runs} on this machine were off by {past.median_error:.1%} at the median, "
        f"{past.worst_error:+.1%} at worst",
    )

"""The command `bench`: how fast a recipe trains here, for a person or a program."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from . import screen, sources
from .progress import RunView, duration, size

if TYPE_CHECKING:
    from ..benchmark import Speed


def bench(
    source: str,
    settings: Mapping[str, Any],
    *,
    steps: int,
    ignore_plan: bool,
    json_output: bool,
) -> None:
    """Measures some steps of a recipe, and shows their speed.

    Args:
        source: A recipe or a data file.
        settings: Overrides by dotted key.
        steps: Steps to measure.
        ignore_plan: Measure what the plan says can't fit.
        json_output: Whether to print one JSON object.

    Raises:
        TuneError: `PLAN_DOES_NOT_FIT`, or what loading and training raise.
    """
    from ..benchmark import measure_speed

    recipe = sources.named_recipe(source, settings)
    with RunView() as view:
        found = measure_speed(recipe, steps=steps, ignore_plan=ignore_plan, on_event=view)
    if json_output:
        screen.print_json(found.to_json())
    else:
        show_speed(screen.out(), recipe.name, found)


def show_speed(console: Console, name: str, found: Speed) -> None:
    """The speed, for a person.

    Args:
        console: Where to.
        name: Of the recipe.
        found: The speed.
    """
    memory = size(found.peak_rss_bytes)
    if found.peak_device_bytes is not None:
        memory += f", and {size(found.peak_device_bytes)} on the device"
    steps = "1 step" if found.steps == 1 else f"{found.steps} steps"
    rows = [
        ("Device", f"{found.device}, {found.dtype}"),
        ("Answer tokens", f"{found.useful_tokens_per_s:,.1f} a second"),
        (
            "All tokens",
            f"{found.tokens_per_s:,.1f} a second; {found.filled_share:.1%} of the places were "
            "filled",
        ),
        ("Measured", f"{steps} in {duration(found.seconds)}"),
        ("First step", f"{duration(found.first_step_s)}, compiling included"),
        ("Memory", f"{memory} at its highest point"),
        (
            "Share of peak",
            f"{found.peak_flops_share:.0%} of {found.matrix_gflops:,.0f} GFLOP/s, which matrix "
            "products reach here",
        ),
        ("Loss", f"{found.loss:.3f} nats per answer token"),
    ]
    screen.say(console, screen.heading(f"The speed of {name}"), screen.pairs(rows))

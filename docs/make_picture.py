"""Draws the picture of the README from a finished run: what the command line prints, as an SVG.

    python docs/make_picture.py ~/.gemma-keras-tune/runs/RUN

Every figure comes from the run's own files; nothing is put in by hand.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.terminal_theme import MONOKAI

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "demo.svg"
_WIDTH = 104  # letters


def main(arguments: list[str] | None = None) -> int:
    """0 once the picture is written."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("--out", type=Path, default=PICTURE)
    given = parser.parse_args(arguments)
    given.out.write_text(picture(given.run), encoding="utf-8")
    print(f"{given.out}: {given.out.stat().st_size / 1000:.0f} kB")
    return 0


def picture(run: Path) -> str:
    """The SVG of a finished run.

    Args:
        run: Its folder.
    """
    from gemma_keras_tune.console import reports, screen

    console = Console(record=True, width=_WIDTH, file=io.StringIO(), markup=False, highlight=False)
    report = _read(run / "report.json")
    screen.say(console, screen.pairs(_facts(run)), screen.heading("Before and after"))
    reports.show_evaluation(console, report)
    screen.say(console, screen.heading("Answers"))
    reports.show_answers(console, report["samples"][:2])
    screen.say(console, screen.heading("Exports, each reloaded in a fresh process and compared"))
    found = sorted(run.glob("artifacts/*/parity.json"))
    names = [path.parent.name for path in found]
    reports.show_exports(
        console,
        [(name, f"artifacts/{name}", _read(path)) for name, path in zip(names, found, strict=True)],
    )
    svg = console.export_svg(title="gemma-keras-tune", theme=MONOKAI, unique_id="demo")
    # The fonts that rich names are fetched from elsewhere; a picture in a repository should not.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def _facts(run: Path) -> list[tuple[str, str]]:
    """What was run, on what, and when."""
    from gemma_keras_tune.events import Step, read_events, resolved

    recipe, lineage = _read(run / "recipe.json"), _read(run / "lineage.json")
    records = resolved(read_events(run / "events.jsonl"))
    steps = [record.event for record in records if isinstance(record.event, Step)]
    answer_tokens = sum(step.answer_tokens for step in steps)
    device, lora = lineage["device"], recipe["model"]["lora"]
    return [
        ("Recipe", recipe["name"]),
        ("Model", f"{lineage['base']['name']}, LoRA of rank {lora['rank']}"),
        ("Training", f"{len(steps)} steps, {answer_tokens:,} answer tokens"),
        ("Machine", f"{device['kind']}, {device['machine']}; {records[0].time[:10]}"),
    ]


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())

"""A run's events as progress bars with the time left, or as lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
)
from rich.text import Text

from .. import events
from ..stages import TRUSTED
from . import screen

_EVERY_S = 15.0  # seconds between two lines where there is no terminal
_LONGEST_ANSWER = 300  # characters of a sample

_TITLES = {
    "data": "Reading the data",
    "model": "Loading the model",
    "training": "Training",
    "validation": "Measuring on the validation rows",
    "evaluation": "Measuring base and tuned model",
    "generation": "Writing answers",
    "answering": "Answering the table",
    "export": "Exporting",
}


class RunView:
    """Shows the events of a run on standard error; to be passed as `on_event`.

    Attributes:
        seconds: How long each stage took, by its name, for those that ended.
        step: Optimizer steps done.

    Args:
        console: Where to write; standard error by default.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or screen.err()
        self.seconds: dict[str, float] = {}
        self.step = 0
        self._bars = _Bars(self.console) if self.console.is_terminal else _Lines(self.console)

    def __enter__(self) -> Self:
        self._bars.show("start", "Starting JAX")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def __call__(self, event: events.Event) -> None:
        """Shows one event."""
        self._bars.finish("start")
        match event:
            case events.StageStarted():
                self._bars.show(event.stage, title(event.stage))
            case events.StageEnded():
                self.seconds[event.stage] = event.seconds
                self._bars.finish(event.stage)
                self._line(f"{title(event.stage)}: {duration(event.seconds)}", "green", done=True)
            case events.Progress():
                self._progress(event)
            case events.Step():
                self._step(event)
            case events.Validation():
                self._bars.finish("validation")
                best = ", the best so far" if event.best else ""
                self._line(f"After step {event.step}: validation loss {event.loss:.4f}{best}")
            case events.ControlApplied():
                self._obeyed(event)
            case events.ControlRefused():
                what = f"{event.command} {event.key or ''}".strip()
                self._line(f"Not done: {what}. {event.reason}", "yellow")
            case events.Sample():
                answer = screen.short(event.text, _LONGEST_ANSWER)
                self._line(f"After step {event.step}, {event.prompt!r}: {answer}")
            case events.RolledBack():
                self._line(f"Back to step {event.step}", "yellow")
            case events.Warned():
                self._line(f"Warning: {event.message}", "yellow")
            case events.Note():
                self._note(event.message)

    def _progress(self, event: events.Progress) -> None:
        if event.stage == "validation" and not self.console.is_terminal:
            return  # a line comes with what was measured
        total = event.total or None
        if total is None:
            counted = ""
        elif event.stage in ("model", "export"):
            counted = f"{size(event.done)} of {size(event.total)}"
        else:
            counted = f"{event.done:,.0f} of {event.total:,.0f}"
        left = event.seconds_left if event.done >= TRUSTED * event.total else None
        self._bars.show(event.stage, title(event.stage), event.done, total, counted, left)
        if event.stage == "generation" and event.done >= event.total:
            self._bars.finish(event.stage)

    def _step(self, event: events.Step) -> None:
        self.step = event.step
        counted = (
            f"step {event.step} of {event.total_steps}, loss {event.loss:.3f}, "
            f"{event.tokens_per_s:,.0f} tokens/s"
        )
        self._bars.show(
            "training",
            title("training"),
            event.step,
            event.total_steps,
            counted,
            event.seconds_left,
        )

    def _obeyed(self, event: events.ControlApplied) -> None:
        if event.command == "pause":
            self._line(f"Paused after step {event.step}; it waits for the command resume", "cyan")
            self._bars.show("training", f"Paused after step {event.step}")
        elif event.command == "resume":
            self._line(f"Going on after step {event.step}", "cyan")
            self._bars.show("training", title("training"))
        elif event.command == "set":
            value = "none" if event.value is None else event.value
            self._line(f"After step {event.step}: {event.key} = {value}", "cyan")

    def _note(self, message: str) -> None:
        if message.startswith("Checking the "):  # takes a while, and says nothing meanwhile
            self._bars.show("export", message.rstrip("."))
        else:
            self._line(message)

    def _line(self, message: str, style: str = "", *, done: bool = False) -> None:
        mark = "\u2713 " if done and self.console.encoding.startswith("utf") else "  "
        self._bars.line(Text(mark, style=style) + screen.text(message, "" if done else style))


def title(stage: str) -> str:
    """What a stage is called for a person."""
    return _TITLES.get(stage, stage.capitalize())


def duration(seconds: float) -> str:
    """A length of time as `3.2 s`, `45 s`, `2 min 05 s` or `1 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: float) -> str:
    """A number of bytes as `12 kB`, `340 MB` or `1.1 GB`."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}" if unit == "GB" else f"{count / scale:.0f} {unit}"
    return f"{count:.0f} B"


class _TimeLeft(ProgressColumn):
    """The time left, counted down between two events; where nobody knows, the time so far."""

    def render(self, task: Task) -> Text:
        until = task.fields["until"]
        if until is not None:
            return Text(f"{duration(max(0.0, until - time.monotonic()))} left", "cyan")
        return Text(f"{duration(task.elapsed or 0.0)} so far", "dim")


class _Bars:
    """Live bars, for a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[counted]}", markup=False),
            _TimeLeft(),
            console=console,
            transient=True,
        )

    def stop(self) -> None:
        self._live.stop()

    def show(
        self,
        stage: str,
        name: str,
        done: float = 0,
        total: float | None = None,
        counted: str = "",
        seconds_left: float | None = None,
    ) -> None:
        self._live.start()  # does nothing where it runs already
        if stage not in self._tasks:
            description = screen.plain(name, lines=False)
            self._tasks[stage] = self._live.add_task(
                description, total=None, counted="", until=None
            )
        until = None if seconds_left is None else time.monotonic() + seconds_left
        self._live.update(
            self._tasks[stage],
            description=screen.plain(name, lines=False),
            completed=done,
            total=total,
            counted=counted,
            until=until,
        )

    def finish(self, stage: str) -> None:
        if stage in self._tasks:
            self._live.remove_task(self._tasks.pop(stage))
        if not self._tasks:  # rich prints an empty line again and again where there is no bar
            self._live.stop()

    def line(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)


class _Lines:
    """The same as lines, a few a minute, for a file or a pipe."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, str] = {}
        self._at = 0.0

    def stop(self) -> None:
        pass

    def show(
        self,
        stage: str,
        name: str,
        done: float = 0,
        total: float | None = None,
        counted: str = "",
        seconds_left: float | None = None,
    ) -> None:
        now = time.monotonic()
        if self._said.get(stage) == name and now - self._at < _EVERY_S:
            return
        self._said[stage], self._at = name, now
        left = "" if seconds_left is None else f", {duration(seconds_left)} left"
        self.line(screen.text(f"  {name}{': ' * bool(counted)}{counted}{left}"))

    def finish(self, stage: str) -> None:
        self._said.pop(stage, None)

    def line(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True)

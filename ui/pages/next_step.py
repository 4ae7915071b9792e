"""What is sensible to do next, from what there is."""

from __future__ import annotations

from dataclasses import dataclass

from ..overview import Overview
from ..words import home as words

_UNFINISHED = ("stopped", "failed", "died")


@dataclass(frozen=True)
class NextStep:
    """A suggestion.

    Attributes:
        icon: Its picture.
        title: What it is about.
        text: What to do.
        links: Names and targets of its buttons, the likeliest first.
        is_start: Whether nothing has been done yet, so that example and tour are offered.
    """

    icon: str
    title: str
    text: str
    links: tuple[tuple[str, str], ...] = ()
    is_start: bool = False


def next_step(overview: Overview) -> NextStep:
    """The suggestion: look at what works, else at what ended last, else begin."""
    runs = overview.runs
    working = next((run for run in runs if run.state == "running"), None)
    if working is not None:
        title = words.WORKING_TITLE.format(name=working.name)
        watch = (words.WATCH, f"/runs/{working.id}")
        return NextStep("show_chart", title, words.WORKING_TEXT, (watch,))
    last = max(runs, key=lambda run: run.changed_at, default=None)
    if last is not None and last.state in _UNFINISHED:
        title = words.STOPPED_TITLE.format(name=last.name)
        look, another = (words.LOOK, f"/runs/{last.id}"), (words.ANOTHER, "/configure")
        return NextStep("pause_circle", title, words.STOPPED_TEXT, (look, another))
    done = overview.newest_done
    if done is not None:
        title, at = words.DONE_TITLE.format(name=done.name), f"/runs/{done.id}"
        links = (
            (words.RESULT, f"{at}/result"),
            (words.TRY, f"{at}/playground"),
            (words.TABLE, f"{at}/table"),
            (words.EXPORT, f"{at}/export"),
            (words.ANOTHER, "/configure"),
        )
        return NextStep("task_alt", title, words.DONE_TEXT, links)
    if overview.datasets:
        configure = (words.CONFIGURE, "/configure")
        return NextStep("table_chart", words.DATA_TITLE, words.DATA_TEXT, (configure,))
    return NextStep("rocket_launch", words.START_TITLE, words.START_TEXT, is_start=True)

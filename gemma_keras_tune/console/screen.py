"""The two places that are written to, and the one way that other people's text gets there."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

_HARMLESS = frozenset("\u200c\u200d")  # joiners: letters of some scripts and many emoji need them
_NARROW, _WIDE = 60, 120


def out() -> Console:
    """Standard output: what the command was asked for."""
    return _console(sys.stdout)


def err() -> Console:
    """Standard error: progress, warnings, errors."""
    return _console(sys.stderr)


def plain(text: str, *, lines: bool = True) -> str:
    """The text with everything that could steer a terminal made visible, as `\\x1b`.

    Args:
        text: Anything, from anybody.
        lines: Whether line breaks stay; else they become spaces.
    """
    text = text.replace("\r\n", "\n").replace("\t", "    ")
    if not lines:
        text = " ".join(text.split("\n"))
    return "".join(_visible(letter) for letter in text)


def text(value: object, style: str = "", *, lines: bool = True) -> Text:
    """Anything as text that rich shows literally: its brackets are no markup."""
    return Text(plain(str(value), lines=lines), style=style)


def short(value: str, longest: int) -> str:
    """The first `longest` characters on one line, with dots where something was left out."""
    line = " ".join(value.split())
    return line if len(line) <= longest else line[: longest - 3].rstrip() + "..."


def say(console: Console, *parts: RenderableType | str) -> None:
    """Prints parts one below the other.

    Strings are shown literally, and on a terminal broken between words. `Text` is never broken,
    so that a command in it can be copied whole.
    """
    for part in parts:
        if isinstance(part, str):
            console.print(text(part), soft_wrap=not console.is_terminal)
        else:
            console.print(part, soft_wrap=isinstance(part, Text))


def heading(title: str) -> Text:
    """A title with room above it."""
    return Text(f"\n{title}", style="bold")


def pairs(rows: Iterable[tuple[str, RenderableType | str]]) -> Table:
    """Names and values in two columns, the values wrapped beside their names."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(text(name), text(value) if isinstance(value, str) else value)
    return table


def print_json(values: Mapping[str, Any]) -> None:
    """One JSON object on one line of standard output, in ASCII so that any pipe carries it."""
    sys.stdout.write(json.dumps(values, allow_nan=False) + "\n")
    sys.stdout.flush()


def command(*arguments: str) -> str:
    """A command line that works when it is pasted into the shell this program was called from."""
    return shlex.join([*_program(), *arguments])


def path_name(path: str | os.PathLike[str]) -> str:
    """The path from the working folder where it lies below it, else in full."""
    full = Path(path).absolute()
    try:
        return str(full.relative_to(Path.cwd()))
    except ValueError:
        return str(full)


def _visible(letter: str) -> str:
    if letter.isprintable() or letter == "\n" or letter in _HARMLESS:
        return letter
    return letter.encode("unicode_escape").decode("ascii")


def _program() -> list[str]:
    """How this program is called here: by its name, by its path, or as a module."""
    called = Path(sys.argv[0])
    if called.name not in ("gemma-keras-tune", "gkt"):
        if called.name == "__main__.py":
            return [path_name(sys.executable), "-m", "gemma_keras_tune"]
        return ["gemma-keras-tune"]
    found = shutil.which(called.name)
    if found is not None and Path(found).resolve() == called.resolve():
        return [called.name]
    return [path_name(called)]


def _console(file: Any) -> Console:
    console = Console(file=file, markup=False, highlight=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 100
    elif console.width > _WIDE:
        console.width = _WIDE
    return console

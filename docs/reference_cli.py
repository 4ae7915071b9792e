"""The page of every command and option, from the functions that Typer makes commands of.

Typer's own command objects look different in each of its versions; the functions, and what
`typer.Option` and `typer.Argument` were told about them, don't.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.models import ArgumentInfo, OptionInfo

from docs.markdown_text import one_line, table

PROGRAM = "gemma-keras-tune"

_INTRO = """\
# Command line

`gkt` is short for `gemma-keras-tune`. Exit codes: 0 if all went well, 1 if the fault is ours, 2 if
the user can mend it (for `data check`: any finding of severity error), 75 if a run stopped with a
checkpoint and can be resumed. Where a command has `--json`, its last line of output is one JSON
object. Every command has `--help`."""

_TYPES = {int: "INTEGER", float: "NUMBER", str: "TEXT", Path: "PATH"}


@dataclass(frozen=True)
class Command:
    """One command.

    Args:
        words: How it is called, the program's name first.
        function: What runs.
        is_group: Whether it only carries options of the commands inside it.
    """

    words: tuple[str, ...]
    function: Callable[..., Any]
    is_group: bool = False


def page() -> str:
    """The page as Markdown."""
    return "\n\n".join([_INTRO, *(_section(command) for command in commands())])


def commands() -> list[Command]:
    """Every command that isn't hidden, in the order of the code."""
    from gemma_keras_tune.cli import app

    return list(_commands(app, (PROGRAM,)))


def _commands(app: typer.Typer, words: tuple[str, ...]) -> Iterator[Command]:
    group = app.registered_callback
    if group is not None and group.callback is not None:
        yield Command(words, group.callback, is_group=group.invoke_without_command is not True)
    for command in app.registered_commands:
        if command.callback is not None and not command.hidden:
            name = command.name or command.callback.__name__.replace("_", "-")
            yield Command((*words, name), command.callback)
    for inner in app.registered_groups:
        if inner.typer_instance is not None and not inner.hidden:
            yield from _commands(inner.typer_instance, (*words, str(inner.name)))


def _section(command: Command) -> str:
    arguments, options = [], []
    for parameter, kind, info in _parameters(command.function):
        if isinstance(info, ArgumentInfo):
            name = info.metavar or parameter.name.upper()
            arguments.append([f"`{name}`", one_line(info.help or "")])
        elif not info.hidden:
            options.append(_option(parameter, kind, info))
    title = f"`{' '.join(command.words)}`" + (", before any command" if command.is_group else "")
    parts = [f"## {title}", "" if command.is_group else _help(command.function)]
    if arguments:
        parts.append(table(["argument", "what it is"], arguments))
    if options:
        parts.append(table(["option", "default", "what it does"], options))
    return "\n\n".join(part for part in parts if part)


def _help(function: Callable[..., Any]) -> str:
    """The function's docstring; its examples as blocks of code."""
    blocks = []
    for block in inspect.cleandoc(function.__doc__ or "").split("\n\n"):
        words, is_example, line = one_line(block).partition("Example: ")
        blocks.append(f"```bash\n{line}\n```" if is_example and not words else one_line(block))
    return "\n\n".join(blocks)


def _parameters(
    function: Callable[..., Any],
) -> Iterator[tuple[inspect.Parameter, Any, OptionInfo | ArgumentInfo]]:
    """`(parameter, type, what Typer was told)` of each argument and option."""
    hints = typing.get_type_hints(function, include_extras=True)
    for parameter in inspect.signature(function).parameters.values():
        kind, *extras = typing.get_args(hints[parameter.name]) or (hints[parameter.name],)
        for info in extras:
            if isinstance(info, OptionInfo | ArgumentInfo):
                yield parameter, kind, info


def _option(parameter: inspect.Parameter, kind: Any, info: OptionInfo) -> list[str]:
    plain = f"--{parameter.name.replace('_', '-')}"
    # with `Annotated`, the first name given stands where a default used to
    names = [str(name) for name in (info.default, *(info.param_decls or ())) if _is_name(name)]
    if not names:
        names = [plain, f"--no-{plain.removeprefix('--')}"] if kind is bool else [plain]
    if kind is not bool:
        names[-1] += f" {info.metavar or _TYPES[_inner(kind)]}"
    default = parameter.default
    shown = "" if default is None or default is False else f"`{default}`"
    if default is inspect.Parameter.empty:
        shown = "**required**"
    limits = [
        f"{sign} {limit}" for sign, limit in (("≥", info.min), ("≤", info.max)) if limit is not None
    ]
    about = one_line(info.help or "") + (f" ({', '.join(limits)})" if limits else "")
    return [", ".join(f"`{name}`" for name in names), shown, about]


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("-")


def _inner(kind: Any) -> Any:
    """The type inside `X | None` and `list[X]`."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is not None:
        return _inner(next(one for one in typing.get_args(kind) if one is not types.NoneType))
    return kind

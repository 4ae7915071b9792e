"""The commands of the web app: starting it, and what its operator does from a terminal."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ..errors import need
from . import screen

Root = Annotated[
    Path | None,
    typer.Option(
        help="The data root: runs, jobs and the database. By default ~/.gemma-keras-tune."
    ),
]
Config = Annotated[
    Path | None, typer.Option(help="A settings file; by default ROOT/server.toml, if it is there.")
]


def ui(
    host: Annotated[
        str | None, typer.Option(help="The address to listen on; by default 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="By default 8080; 0 takes a free one.")
    ] = None,
    root: Root = None,
    config: Config = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in a browser.")
    ] = False,
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="Show every setting and its origin, and end.")
    ] = False,
) -> None:
    """Start the web app on this machine; the first visit makes the administrator's account.

    Example: gemma-keras-tune ui --show-settings
    """
    sources = _of_the_app("settings_sources")
    given = {"host": host, "port": port, "root": root}
    resolved = sources.read_settings(given, config=config)
    if show_settings:
        show(sources.shown(resolved))
        return
    server = _of_the_app("server")
    server.serve(resolved.settings, say=_say, open_browser=open_browser)


def show(settings: list[tuple[str, str, str]]) -> None:
    """Settings with where each came from, on standard output."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("setting", "value", "from"):
        table.add_column(name, overflow="fold")
    for row in settings:
        table.add_row(*(screen.text(cell) for cell in row))
    screen.say(screen.out(), table)


def _of_the_app(module: str) -> Any:
    """A module of the web app, whose libraries come with the extra `ui`."""
    for library in ("nicegui", "sqlalchemy", "pydantic_settings"):
        need(library, extra="ui")
    return importlib.import_module(f"gemma_keras_tune_ui.{module}")


def _say(line: str) -> None:
    screen.say(screen.out(), screen.text(line))
    sys.stdout.flush()

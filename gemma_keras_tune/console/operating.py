"""The commands of the web app: starting it, and what its operator does from a terminal."""

from __future__ import annotations

import importlib
import secrets
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ..errors import TuneError, need
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
Name = Annotated[str, typer.Argument(metavar="NAME", help="The account's name.")]

server_app = typer.Typer(no_args_is_help=True, help="Look after the web app's accounts and data.")
users_app = typer.Typer(no_args_is_help=True, help="Accounts.")
tokens_app = typer.Typer(no_args_is_help=True, help="Tokens for programs that use the API.")
audit_app = typer.Typer(no_args_is_help=True, help="The audit log.")
secrets_app = typer.Typer(no_args_is_help=True, help="Stored secrets.")
server_app.add_typer(users_app, name="users")
server_app.add_typer(tokens_app, name="tokens")
server_app.add_typer(audit_app, name="audit")
server_app.add_typer(secrets_app, name="secrets")


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


@server_app.command()
def backup(root: Root = None, config: Config = None) -> None:
    """Copy the server's SQLite database, checked, into ROOT/backups.

    Example: gemma-keras-tune server backup
    """
    _say(str(_of_the_app("terminal").back_up(_settings(root, config))))


@users_app.command("add")
def users_add(
    name: Name,
    role: Annotated[
        str, typer.Option(help="In the first workspace: viewer, editor, admin or owner.")
    ] = "editor",
    display_name: Annotated[str | None, typer.Option(help="What others see.")] = None,
    root: Root = None,
    config: Config = None,
) -> None:
    """Make an account; its first password is printed, once.

    Example: gemma-keras-tune server users add bob --role viewer
    """
    password = secrets.token_urlsafe(15)
    roles = {one.label: one for one in _of_the_app("identity.access").Role}
    if role not in roles:
        raise TuneError(f"--role is one of {', '.join(roles)}; got {role!r}.", code="ROLE_UNKNOWN")
    _ask(
        root,
        config,
        "user_create",
        name,
        display_name=display_name or name,
        password=password,
        role=roles[role],
    )
    _say(f"{name} can sign in with: {password}")


@users_app.command("reset-password")
def users_reset_password(name: Name, root: Root = None, config: Config = None) -> None:
    """Give an account a fresh password, printed once; its sessions end.

    Example: gemma-keras-tune server users reset-password bob
    """
    password = _ask(root, config, "user_reset_password", name)
    _say(f"{name} can sign in with: {password}")


@users_app.command("disable")
def users_disable(name: Name, root: Root = None, config: Config = None) -> None:
    """Shut an account out; its sessions end.

    Example: gemma-keras-tune server users disable bob
    """
    _ask(root, config, "user_set_disabled", name, True)
    _say(f"{name} is shut out.")


@users_app.command("enable")
def users_enable(name: Name, root: Root = None, config: Config = None) -> None:
    """Let an account in again.

    Example: gemma-keras-tune server users enable bob
    """
    _ask(root, config, "user_set_disabled", name, False)
    _say(f"{name} may sign in again.")


@tokens_app.command("add")
def tokens_add(
    name: Name,
    scopes: Annotated[
        str, typer.Option(help="Some of read, write, run and admin, with commas between.")
    ] = "read",
    days: Annotated[float, typer.Option(min=0.001, max=366, help="How long it holds.")] = 30,
    called: Annotated[str, typer.Option(help="What its owner's list calls it.")] = "terminal",
    root: Root = None,
    config: Config = None,
) -> None:
    """Make a token with which a program may use the API as this account; printed once, alone.

    Example: gemma-keras-tune server tokens add bob --scopes read,write,run --days 7
    """
    given = [scope.strip() for scope in scopes.split(",")]
    named = {"token_name": called, "scopes": given, "days": days}
    _say(_ask(root, config, "token_create", name, **named))


@audit_app.command("verify")
def audit_verify(root: Root = None, config: Config = None) -> None:
    """Check that no entry of the audit log was changed or taken out; exit code 2 if one was.

    Example: gemma-keras-tune server audit verify
    """
    verdict = _ask(root, config, "audit_verify")
    if not verdict.is_sound:
        raise TuneError(str(verdict), code="AUDIT_NOT_SOUND")
    _say(str(verdict))


@audit_app.command("accept-head")
def audit_accept_head(root: Root = None, config: Config = None) -> None:
    """Go on with the audit log after a backup was put back, which lacks the newest entries.

    Example: gemma-keras-tune server audit accept-head
    """
    _say(f"Before: {_ask(root, config, 'audit_accept_head')}")


@secrets_app.command("rotate")
def secrets_rotate(root: Root = None, config: Config = None) -> None:
    """Encrypt all stored secrets with a new key, and forget the old one.

    Example: gemma-keras-tune server secrets rotate
    """
    count = _ask(root, config, "secrets_rotate")
    _say(f"{count} secret{'' if count == 1 else 's'} encrypted with a new key.")


def show(settings: list[tuple[str, str, str]]) -> None:
    """Settings with where each came from, on standard output."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("setting", "value", "from"):
        table.add_column(name, overflow="fold")
    for row in settings:
        table.add_row(*(screen.text(cell) for cell in row))
    console = screen.out()
    if not console.is_terminal:  # a pipe has no width, and what is searched for must not be broken
        console.width = max(console.width, *(len("  ".join(row)) + 80 for row in settings))
    screen.say(console, table)


def _settings(root: Path | None, config: Path | None) -> Any:
    sources = _of_the_app("settings_sources")
    return sources.read_settings({"root": root}, config=config).settings


def _ask(root: Path | None, config: Path | None, operation: str, *args: Any, **kwargs: Any) -> Any:
    """What one of the app's operations answers, called with accounts, secrets and audit log."""
    do = getattr(_of_the_app("identity.operations"), operation)
    settings = _settings(root, config)
    return _of_the_app("terminal").ask(settings, lambda identity: do(identity, *args, **kwargs))


def _of_the_app(module: str) -> Any:
    """A module of the web app, whose libraries come with the extra `ui`."""
    for library in ("nicegui", "sqlalchemy", "pydantic_settings"):
        need(library, extra="ui")
    return importlib.import_module(f"gemma_keras_tune_ui.{module}")


def _say(line: str) -> None:
    screen.say(screen.out(), screen.text(line))
    sys.stdout.flush()

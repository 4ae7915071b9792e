"""The settings from everywhere that they can come from, and where each one came from."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import EnvSettingsSource, SettingsError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.recipe_files import listed_problems, nearest_key, problems, recipe_keys
from gemma_keras_tune.run_folder import HOME_VARIABLE, data_root

from .identity.keys import AUDIT_VARIABLE, COOKIE_VARIABLE, VAULT_VARIABLE
from .settings import ENVIRONMENT_PREFIX, SECTION_MARK, Settings

FILE_NAME = "server.toml"
HIDDEN = "[hidden]"
_SECRET = frozenset({"database.url", "oidc.client_secret", "notices.mail_password"})
# Variables of the same family that are no settings of the server.
_OTHER_VARIABLES = frozenset(
    {
        HOME_VARIABLE,
        f"{ENVIRONMENT_PREFIX}DEBUG",
        VAULT_VARIABLE,
        AUDIT_VARIABLE,
        COOKIE_VARIABLE,
    }
)


@dataclass(frozen=True)
class Resolved:
    """The settings and their origins.

    Args:
        settings: The checked settings.
        origins: Where a value came from, by dotted key; what isn't named is a default.
    """

    settings: Settings
    origins: Mapping[str, str]


def read_settings(
    arguments: Mapping[str, Any] | None = None, *, config: Path | None = None
) -> Resolved:
    """The settings by the command line, then the environment, then the file.

    Args:
        arguments: What the command line named, by top-level key.
        config: A TOML file; by default `server.toml` in the data root, if there is one.

    Raises:
        TuneError: `SETTINGS_UNREADABLE`, `SETTINGS_SYNTAX`, or `SETTINGS_INVALID` with every
            problem and the nearest name of what is misspelt.
    """
    given = {key: value for key, value in (arguments or {}).items() if value is not None}
    from_variables, wrong = _environment()
    first = {**from_variables, **given}
    root = Path(first["root"]) if "root" in first else None
    file = config or _beside(root)
    from_file = _read(file) if config or file.is_file() else {}
    if config is None and "root" in from_file:
        wrong.append(f"root: {file} lies in the root, so it can't name one. Use --root.")
        del from_file["root"]
    layers = ((str(file), from_file), ("environment", from_variables), ("command line", given))
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, values in layers:
        _merge(merged, values)
        origins |= dict.fromkeys(_leaves(values), name)
    where = f"The configuration ({', '.join(dict.fromkeys(origins.values())) or 'environment'})"
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        wrong += problems(error, known=keys(), secret=_SECRET)
        raise _invalid(where, wrong) from error
    if wrong:
        raise _invalid(where, wrong)
    return Resolved(settings, origins)


def keys() -> list[str]:
    """Every dotted key that the settings may hold."""
    return list(recipe_keys(Settings))


def variable(key: str) -> str:
    """The environment variable of a setting."""
    if key == "root":
        return HOME_VARIABLE
    return ENVIRONMENT_PREFIX + key.upper().replace(".", SECTION_MARK)


def shown(resolved: Resolved) -> list[tuple[str, str, str]]:
    """`(key, value, origin)` of every setting, secrets hidden."""
    rows = []
    for key in keys():
        value: Any = resolved.settings
        for part in key.split("."):
            value = getattr(value, part)
        rows.append((key, _text(key, value), resolved.origins.get(key, "default")))
    return rows


def database_url(settings: Settings) -> str:
    """The database's URL with its password, for opening it and nothing else.

    Raises:
        TuneError: `SETTINGS_UNREADABLE` if the file with the password can't be read, `DB_URL` if
            the URL is none.
    """
    given = settings.database.url
    if given is None:
        return f"sqlite+aiosqlite:///{settings.root / 'server.sqlite3'}"
    if settings.database.password_file is None:
        return given.get_secret_value()
    try:
        url = make_url(given.get_secret_value())
    except ArgumentError:
        raise TuneError("database.url is no URL of a database.", code="DB_URL") from None
    password = secret_from(settings.database.password_file)
    return url.set(password=password).render_as_string(hide_password=False)


def client_secret(settings: Settings) -> str | None:
    """The secret of single sign-on, from the settings or from its file.

    Raises:
        TuneError: `SETTINGS_UNREADABLE` if the file can't be read.
    """
    return _secret(settings.oidc.client_secret, settings.oidc.client_secret_file)


def mail_password(settings: Settings) -> str | None:
    """The password of the server's mail account, from the settings or from its file.

    Raises:
        TuneError: `SETTINGS_UNREADABLE` if the file can't be read.
    """
    return _secret(settings.notices.mail_password, settings.notices.mail_password_file)


def _secret(given: SecretStr | None, file: Path | None) -> str | None:
    if given is not None:
        return given.get_secret_value()
    return None if file is None else secret_from(file)


def secret_from(path: Path) -> str:
    """The first line of a file that holds one secret.

    Raises:
        TuneError: `SETTINGS_UNREADABLE`.
    """
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TuneError(
            f"The secret in {path} can't be read: {getattr(error, 'strerror', '') or 'no text'}.",
            code="SETTINGS_UNREADABLE",
        ) from error
    if not text:
        raise TuneError(f"{path} should hold a secret and is empty.", code="SETTINGS_UNREADABLE")
    return text.splitlines()[0]


def _environment() -> tuple[dict[str, Any], list[str]]:
    """What the environment names, and what it misspells."""
    try:
        values = dict(EnvSettingsSource(Settings)())
    except SettingsError as error:
        raise TuneError(f"The environment: {error}.", code="SETTINGS_INVALID") from error
    values.pop("root", None)
    if os.environ.get(HOME_VARIABLE):
        values["root"] = os.environ[HOME_VARIABLE]
    known = {variable(key) for key in keys()} | _OTHER_VARIABLES
    wrong = [
        f"{name}: no such variable.{nearest_key(name, sorted(known))}"
        for name in sorted(os.environ)
        if name.upper().startswith(ENVIRONMENT_PREFIX)
        and name.upper() not in known
        and not _is_section_part(name)
    ]
    return values, wrong


def _is_section_part(name: str) -> bool:
    """Whether pydantic reads a variable into a section, and so finds its fault by itself."""
    section, mark, _ = name.upper().removeprefix(ENVIRONMENT_PREFIX).partition(SECTION_MARK)
    return bool(mark) and section.lower() in {key.partition(".")[0] for key in keys()}


def _beside(root: Path | None) -> Path:
    where = root if root is not None else data_root()
    return where.expanduser().absolute() / FILE_NAME


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TuneError(
            f"The settings file {path} can't be read: {error}.", code="SETTINGS_UNREADABLE"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise TuneError(
            f"The settings file {path} is no valid TOML: {error}.", code="SETTINGS_SYNTAX"
        ) from error


def _merge(into: dict[str, Any], values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif isinstance(value, Mapping):
            into[key] = {}
            _merge(into[key], value)
        else:
            into[key] = value


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def _text(key: str, value: Any) -> str:
    if value is None:
        return "none"
    if key == "database.url":
        return _url_without_password(value)
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return str(value)


def _url_without_password(url: SecretStr) -> str:
    try:
        parsed = make_url(url.get_secret_value())
    except ArgumentError:
        return HIDDEN
    return parsed.set(query={}).render_as_string(hide_password=True)


def _invalid(where: str, wrong: list[str]) -> TuneError:
    return TuneError(listed_problems(where, wrong), code="SETTINGS_INVALID")

"""The page of every setting of the web app's server, from the fields' own schema."""

from __future__ import annotations

from typing import Any

from docs.markdown_text import one_line, table
from docs.reference_recipe import bounds
from gemma_keras_tune_ui.settings import Settings
from gemma_keras_tune_ui.settings_sources import keys, variable

_INTRO = """\
# Settings of the web app

A setting stands in `server.toml` in the data root (or in the file that `--config` names), in an
environment variable, or for a few on the command line; the command line wins over the environment,
and that over the file. Unknown names are refused, and all problems are reported at once.
`gemma-keras-tune ui --show-settings` shows every setting, its value and where it came from; secrets
are hidden.

In the file, what stands before the dot is a section: `[log]` with `level = "debug"`. Several names
are a list there; in the environment they have commas between them.

The keys of the vault, of the audit log and of cookies are files in `secrets` in the data root, made
at the first start; `GEMMA_KERAS_TUNE_VAULT_KEYS`, `GEMMA_KERAS_TUNE_AUDIT_KEY` and
`GEMMA_KERAS_TUNE_COOKIE_KEY` take their place."""


def page() -> str:
    """The page as Markdown."""
    schema = Settings.model_json_schema()
    parts = [_INTRO]
    for title, names in _by_section().items():
        section = schema if not title else _section(schema, title)
        rows = [_row(f"{title}.{name}".strip("."), section["properties"][name]) for name in names]
        about = one_line(section.get("description", "")) if title else ""
        heading = f"## `[{title}]`\n\n{about}" if title else "## Top level"
        parts.append(heading)
        parts.append(table(["setting", "variable", "default", "bounds", "what it does"], rows))
    return "\n\n".join(parts)


def _by_section() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key in keys():
        section, _, name = key.rpartition(".")
        found.setdefault(section, []).append(name)
    return found


def _section(schema: dict[str, Any], name: str) -> dict[str, Any]:
    field = schema["properties"][name]
    reference = field.get("$ref") or field["allOf"][0]["$ref"]
    section: dict[str, Any] = schema["$defs"][reference.rpartition("/")[2]]
    return section


def _row(key: str, field: dict[str, Any]) -> list[str]:
    unit = f" {field['unit']}" if "unit" in field else ""
    default = field.get("default")
    shown = "" if default in (None, [], ()) else f"`{str(default).lower()}`{unit}"
    if isinstance(default, str):
        shown = f"`{default}`"
    choices = field.get("enum")
    limits = ", ".join(f"`{one}`" for one in choices) if choices else bounds(field)
    return [
        f"`{key.rpartition('.')[2]}`",
        f"`{variable(key)}`",
        shown,
        limits,
        one_line(field.get("description", "")),
    ]

"""Docstrings and tables as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence

_SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields|Source|Example|Examples):\s*")
_ENTRY = re.compile(r"(\*{0,2}[\w.]+)(?: \([^)]*\))?: (.*)", re.DOTALL)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; `|` and line breaks in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def one_line(text: str) -> str:
    """The text with every run of white space made one space."""
    return " ".join(text.split())


def summary(docstring: str | None) -> str:
    """The first paragraph of a docstring, on one line."""
    return one_line(inspect.cleandoc(docstring or "").split("\n\n")[0])


def docstring_markdown(docstring: str | None, *, of_class: bool = False) -> str:
    """A Google-style docstring as Markdown: its text, then its sections as lists.

    Args:
        docstring: The text.
        of_class: Whether it describes a value, whose arguments are its fields.
    """
    blocks = []
    for title, lines in _sections(inspect.cleandoc(docstring or "").splitlines()):
        text = inspect.cleandoc("\n".join(lines))
        if not title:
            blocks.append(text)
        elif title in ("Args", "Attributes", "Raises"):
            shown = "Fields" if of_class and title != "Raises" else title
            blocks.append(f"**{shown}**\n\n" + "\n".join(map(_bullet, _entries(text))))
        else:
            blocks.append(f"**{title}**\n\n{one_line(text)}")
    return "\n\n".join(block for block in blocks if block)


def _sections(lines: Sequence[str]) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = [("", [])]
    for line in lines:
        heading = _SECTION.fullmatch(line)
        if heading:
            found.append((heading[1], []))
        elif found[-1][0] and line and not line.startswith(" "):
            found.append(("", [line]))  # text after a section
        else:
            found[-1][1].append(line)
    return found


def _entries(text: str) -> list[str]:
    """The entries of a section, each begun by a line that isn't indented."""
    entries: list[str] = []
    for line in text.splitlines():
        if line.startswith(" ") and entries:
            entries[-1] += " " + line.strip()
        elif line.strip():
            entries.append(line.strip())
    return entries


def _bullet(entry: str) -> str:
    named = _ENTRY.fullmatch(entry)
    return f"- `{named[1]}`: {one_line(named[2])}" if named else f"- {one_line(entry)}"


def _cell(text: str) -> str:
    return one_line(text).replace("|", "\\|")

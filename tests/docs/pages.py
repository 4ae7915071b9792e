"""The pages of the documentation, and what their blocks ask a reader to do."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from docs.snippets import Block, blocks

ROOT = Path(__file__).parents[2]
PROGRAM = "gemma-keras-tune"
PAGES = sorted(
    str(path.relative_to(ROOT)) for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
)
OTHER_PAGES = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "recipes/data/README.md")

SHELL_PAGES = ("docs/api.md",)
"""Pages for a shell with `curl` and `jq`: test_api_page.py runs them whole."""

# Commands that no test can run as they stand, each with the reason.
NOT_RUN = {"source .venv/bin/activate": "it changes the reader's shell"}


def text_of(page: str) -> str:
    """The Markdown of a page, named from the root."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks_of(page: str) -> list[Block]:
    """All blocks of code on a page."""
    return list(blocks(text_of(page)))


def commands_of(block: Block) -> Iterator[list[str]]:
    """The words of each command of a block; continued lines are one command."""
    if block.language in ("bash", "console", "sh"):
        for line in block.code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


def all_commands() -> list[tuple[str, list[str]]]:
    """`(page, words)` of every command in the documentation."""
    return [
        (page, words) for page in PAGES for block in blocks_of(page) for words in commands_of(block)
    ]

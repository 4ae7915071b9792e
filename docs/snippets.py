"""The Python on a page of these docs: run in order, in one namespace, its output compared.

A block of `python` may be followed by a block of `text`, which is what it prints.

    python docs/snippets.py docs/one_batch.md            # compare
    python docs/snippets.py --write docs/one_batch.md    # put in what the code prints
"""

from __future__ import annotations

import argparse
import contextlib
import io
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BLOCK = re.compile(
    r"(?:^<!-- file: (?P<file>[^ ]+) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```\n"
    r"(?:\n```text\n(?P<output>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """One block of code on a page.

    Args:
        language: What stands behind its opening fence.
        code: Its lines.
        output: The block of `text` right after it; `""` if there is none.
        file: The name of the file that it is, from a comment right before it; else `""`.
        line: Where it begins in the page, from 1.
    """

    language: str
    code: str
    output: str
    file: str
    line: int


@dataclass(frozen=True)
class Snippet:
    """One block that was run.

    Args:
        code: The Python.
        expected: What the page says it prints; `""` if it says nothing.
        printed: What it printed.
        line: Where the block begins in the page, from 1.
    """

    code: str
    expected: str
    printed: str
    line: int


def main(arguments: list[str] | None = None) -> int:
    """0 if every block prints what the page says, or now does; else 1."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--write", action="store_true", help="put in what the code prints")
    given = parser.parse_args(arguments)
    page = given.page.read_text(encoding="utf-8")
    ran = list(run(page))
    wrong = [snippet for snippet in ran if snippet.printed != snippet.expected]
    for snippet in wrong:
        print(f"{given.page}:{snippet.line} prints\n{snippet.printed}not\n{snippet.expected}")
    if given.write:
        given.page.write_text(_with_output(page, ran), encoding="utf-8")
    return int(bool(wrong) and not given.write)


def blocks(page: str) -> Iterator[Block]:
    """Every block of a page, in order; the output of a block is a part of it.

    Args:
        page: The page's Markdown.
    """
    for found in _BLOCK.finditer(page):
        line = page[: found.start()].count("\n") + 1
        parts = (found["output"] or "", found["file"] or "", line)
        yield Block(found["language"], found["code"], *parts)


def run(page: str) -> Iterator[Snippet]:
    """Every Python block of a page, run in an empty folder.

    Args:
        page: The page's Markdown.
    """
    names: dict[str, Any] = {"__name__": "__page__"}
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for block in blocks(page):
            if block.language == "python":
                yield run_block(block, names)


def run_block(block: Block, names: dict[str, Any]) -> Snippet:
    """One Python block, run in the working folder.

    Args:
        block: The block.
        names: The namespace, shared by the blocks of a page.
    """
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        # The code is that of our own pages; the empty lines make tracebacks point into them.
        exec(compile("\n" * block.line + block.code, "page", "exec"), names)  # noqa: S102 - our page
    return Snippet(block.code, block.output, printed.getvalue(), block.line)


def _with_output(page: str, ran: list[Snippet]) -> str:
    outputs = iter(ran)

    def filled(block: re.Match[str]) -> str:
        if block["language"] != "python":
            return block[0]
        snippet = next(outputs)
        output = f"\n```text\n{snippet.printed}```\n" if snippet.printed else ""
        return f"```python\n{snippet.code}```\n{output}"

    return _BLOCK.sub(filled, page)


if __name__ == "__main__":
    sys.exit(main())

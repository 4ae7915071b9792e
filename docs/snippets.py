"""The Python on a page of these docs: run in order, in one namespace, its output compared.

A block of `python` may be followed by a block of `text`, which is what it prints.

    python docs/snippets.py docs/one_batch.md            # compare
    python docs/snippets.py --write docs/one_batch.md    # put in what the code prints
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)


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


def run(page: str) -> Iterator[Snippet]:
    """Every Python block of a page, run in a folder of its own.

    Args:
        page: The page's Markdown.
    """
    names: dict[str, Any] = {"__name__": "__page__"}
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            for block in _BLOCK.finditer(page):
                line = page[: block.start()].count("\n") + 1
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    # The code is that of our own pages; `line` makes tracebacks point into them.
                    code = "\n" * line + block["code"]
                    exec(compile(code, "page", "exec"), names)  # noqa: S102
                yield Snippet(block["code"], block["output"] or "", printed.getvalue(), line)
        finally:
            os.chdir(before)


def _with_output(page: str, ran: list[Snippet]) -> str:
    outputs = iter(ran)

    def filled(block: re.Match[str]) -> str:
        snippet = next(outputs)
        output = f"\n```text\n{snippet.printed}```\n" if snippet.printed else ""
        return f"```python\n{snippet.code}```\n{output}"

    return _BLOCK.sub(filled, page)


if __name__ == "__main__":
    sys.exit(main())

"""The Python in the docs prints what the pages say."""

from pathlib import Path

import pytest

from docs.snippets import run

DOCS = Path(__file__).parents[2] / "docs"


def test_every_block_of_one_batch_prints_what_the_page_says():
    ran = list(run((DOCS / "one_batch.md").read_text(encoding="utf-8")))
    assert len(ran) == 11
    wrong = [f"line {one.line}:\n{one.printed}" for one in ran if one.printed != one.expected]
    assert not wrong, "\n".join(wrong)


def test_a_block_that_prints_something_else_is_noticed():
    page = "```python\nx = 2\nprint(x)\n```\n\n```text\n3\n```\n\n```python\nprint(x + 1)\n```\n"
    first, second = run(page)
    assert (first.expected, first.printed) == ("3\n", "2\n")
    assert (second.expected, second.printed) == ("", "3\n")


def test_an_error_on_a_page_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(run("```python\n1 / 0\n```\n"))

"""The table of attacks in docs/security.md against the tests that try them."""

from __future__ import annotations

import ast
import re

from gemma_keras_tune_ui.gate.headers import page_policy
from gemma_keras_tune_ui.gate.rules import PUBLIC_PATHS
from tests.docs.pages import ROOT, text_of

PAGE = "docs/security.md"
GATES_OWN = {*range(23, 31), *range(34, 40), *range(41, 45), 47, *range(50, 61), 62}


def rows_of_the_table() -> set[int]:
    found: set[int] = set()
    for first, last in re.findall(r"^\| (\d+)(?:-(\d+))? \|", text_of(PAGE), re.MULTILINE):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def rows_of_the_tests() -> set[int]:
    """From names such as `test_row_36_37_50_what_people_wrote…`."""
    found: set[int] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                match = re.match(r"test_row_((?:\d\d_)+)", node.name)
                found |= {int(number) for number in match[1].split("_")[:-1]} if match else set()
    return found


def numbers(text: str) -> set[int]:
    """`1-7, 11` in full."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:-(\d+))?", text):
        found |= set(range(int(first), int(last or first) + 1))
    return found


def test_the_table_has_every_row() -> None:
    assert rows_of_the_table() == set(range(1, 63))


def test_every_row_is_tried_by_a_test_or_the_page_says_that_none_is() -> None:
    untried = text_of(PAGE).partition("Rows\n")[2].partition(" have no test")[0]
    assert set(range(1, 63)) - rows_of_the_tests() <= numbers(untried)
    assert not numbers(untried) & GATES_OWN


def test_no_test_is_named_after_a_row_that_is_not_there() -> None:
    assert rows_of_the_tests() <= set(range(1, 63))


def test_the_policy_on_the_page_is_the_one_that_is_sent() -> None:
    shown = text_of(PAGE).partition("```text\n")[2].partition("```")[0]
    assert " ".join(shown.split()) == page_policy("…")


def test_the_public_paths_on_the_page_are_those_of_the_code() -> None:
    listed = text_of(PAGE).partition("Without a session answer only ")[2].partition(" and ")[0]
    assert set(re.findall(r"`([^`]+)`", listed)) == PUBLIC_PATHS | {"/readyz"}

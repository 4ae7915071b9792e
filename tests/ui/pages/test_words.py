"""All texts stand in one place, and every explained term is in the glossary."""

from __future__ import annotations

import ast
import string
from collections.abc import Iterator
from pathlib import Path

import pytest

import gemma_keras_tune_ui
from gemma_keras_tune_ui.words.glossary import TERMS

UI = Path(gemma_keras_tune_ui.__file__).parent
PAGES = sorted((UI / "pages").rglob("*.py"))
SHOWN = {
    "label", "button", "link", "notify", "heading", "card", "note", "primary", "secondary",
    "link_button", "empty_state", "Figure", "labelled", "input", "textarea", "select", "switch",
    "checkbox", "number", "tab", "expansion", "tooltip", "Column", "Chip", "confirm", "page_title",
}  # fmt: skip
"""Calls whose arguments people read."""

NOT_READ = {"on", "icon", "kind", "term", "type", "classes", "color", "sort", "target", "tone"}
"""Their arguments that nobody reads."""


def is_prose(text: str) -> bool:
    """Whether people would read it: words with a space between them, or a capital first."""
    letters = text.strip(string.punctuation + string.digits + " \u2013")
    return bool(letters) and (" " in letters or letters[0].isupper())


def shown_texts(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name not in SHOWN:
            continue
        named = [one.value for one in node.keywords if one.arg not in NOT_READ]
        for value in [*node.args, *named]:
            for part in ast.walk(value):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.lineno, part.value


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_page_has_a_text_of_its_own(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    found = [f"{path.name}:{line}: {text!r}" for line, text in shown_texts(tree) if is_prose(text)]
    assert not found, "put it into ui/words"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_term_that_a_page_explains_is_in_the_glossary(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        given = [one.value for one in node.keywords if one.arg == "term"]
        for value in [*given, *(node.args[:1] if name == "explain" else [])]:
            if isinstance(value, ast.Constant) and value.value:
                assert value.value in TERMS, f"{path.name}:{value.lineno}"


def test_every_term_says_what_it_means_in_a_sentence() -> None:
    for key, term in TERMS.items():
        assert term.plain.endswith("."), key
        assert term.name[0] in string.ascii_letters, key

"""The reference pages say what the code says."""

import re

from docs.generate_reference import PAGES, ROOT, outdated, page_text
from docs.source import Source, modules
from gemma_keras_tune import __all__
from gemma_keras_tune.data_codes import CODES
from gemma_keras_tune.recipe_files import recipe_keys


def test_the_committed_reference_is_what_the_code_says():
    assert not outdated(), "write the pages again with: make docs"


def test_every_page_of_the_reference_is_listed():
    assert {path.name for path in (ROOT / "docs" / "reference").glob("*.md")} == set(PAGES)


def test_every_setting_of_a_recipe_is_on_its_page():
    page = page_text("recipe.md")
    missing = [key for key in recipe_keys() if f"| `{key.rpartition('.')[2]}` |" not in page]
    assert not missing


def test_every_public_name_is_on_the_page_of_the_api():
    page = page_text("api.md")
    names = [name for name in __all__ if not name.startswith("__")]
    assert not [name for name in names if f"### `{name}`" not in page]


def test_every_code_that_the_source_names_is_on_the_page_of_errors():
    page = page_text("errors.md")
    named = {
        code
        for module in modules()
        for code in re.findall(r'code="([A-Z_]+)"', Source.of_module(module).code)
    } - {"INTERNAL"}  # said of what is no TuneError
    assert len(named) > 50
    assert not [code for code in sorted(named | set(CODES)) if f"| `{code}` |" not in page]


def test_a_message_with_values_keeps_its_words():
    assert "a tokenizer of type …; a Gemma file has 'llama' or 'gemma4'" in page_text("errors.md")


def test_a_page_that_was_edited_by_hand_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr("docs.generate_reference.REFERENCE", tmp_path)
    (tmp_path / "events.md").write_text(page_text("events.md") + "and more\n")
    assert "events.md" in outdated()
    (tmp_path / "events.md").write_text(page_text("events.md"))
    assert "events.md" not in outdated()

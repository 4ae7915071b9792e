"""Writes the pages of `docs/reference` from the code, so that they can't disagree with it.

    python docs/generate_reference.py            # write them
    python docs/generate_reference.py --check    # fail if a page isn't what the code says

Only the recipe, the events, the settings and the command line are imported; the rest is read as
source text. So no JAX is loaded, and every Python version writes the same bytes.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
NOTICE = "<!-- Written by docs/generate_reference.py from the code. Change the code instead. -->"

# Page to the module beside this file whose `page()` gives its text, without the notice.
PAGES = {
    "recipe.md": "docs.reference_recipe",
    "api.md": "docs.reference_api",
    "cli.md": "docs.reference_cli",
    "errors.md": "docs.reference_errors",
    "events.md": "docs.reference_events",
    "glossary.md": "docs.reference_glossary",
    "settings.md": "docs.reference_settings",
}


def main(arguments: list[str] | None = None) -> int:
    """0 if the pages are as the code says, or now are; 1 if `--check` found one that isn't."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a page is old")
    check = parser.parse_args(arguments).check
    old = outdated()
    for name, text in old.items():
        print(f"docs/reference/{name}: {'is out of date' if check else 'written'}")
        if not check:
            REFERENCE.mkdir(exist_ok=True)
            (REFERENCE / name).write_text(text, encoding="utf-8")
    if check and old:
        print("Write them again with: make docs")
    return int(check and bool(old))


def outdated() -> dict[str, str]:
    """The right text of every page whose file says something else, or isn't there."""
    right = {name: page_text(name) for name in PAGES}
    return {name: text for name, text in right.items() if _committed(name) != text}


def page_text(name: str) -> str:
    """What a page must say.

    Args:
        name: A key of `PAGES`.
    """
    if str(ROOT) not in sys.path:  # run as a script, only this folder is there
        sys.path.insert(0, str(ROOT))
    page: Callable[[], str] = importlib.import_module(PAGES[name]).page
    return f"{NOTICE}\n\n{page().strip()}\n"


def _committed(name: str) -> str | None:
    path = REFERENCE / name
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())

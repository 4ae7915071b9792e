"""What `pyproject.toml` promises about the installed package."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_in_the_tree_is_listed_for_the_wheel():
    folders = {"gemma_keras_tune": "gemma_keras_tune"}
    folders |= {folder: name for name, folder in SETUPTOOLS["package-dir"].items()}
    in_tree = {
        ".".join([name, *init.parent.relative_to(ROOT / folder).parts])
        for folder, name in folders.items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert in_tree == set(SETUPTOOLS["packages"])


def test_every_recipe_and_data_file_is_listed_for_the_wheel():
    recipes = ROOT / "recipes"
    patterns = SETUPTOOLS["package-data"]["gemma_keras_tune_recipes"]
    listed = {path for pattern in patterns for path in recipes.glob(pattern)}
    found = {p for p in recipes.rglob("*") if p.is_file() and p.suffix not in {".py", ".pyc"}}
    assert found == listed

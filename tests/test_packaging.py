"""What `pyproject.toml` promises about the installed package."""

import tomllib
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("folder", ["recipes", "ui"])
def test_every_file_that_is_no_code_is_listed_for_the_wheel(folder):
    package = next(name for name, path in SETUPTOOLS["package-dir"].items() if path == folder)
    patterns = SETUPTOOLS["package-data"][package]
    listed = {path for pattern in patterns for path in (ROOT / folder).glob(pattern)}
    files = (path for path in (ROOT / folder).rglob("*") if path.is_file())
    found = {path for path in files if path.suffix not in {".py", ".pyc"}}
    assert found == listed

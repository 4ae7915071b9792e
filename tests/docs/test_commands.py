"""Every command in the documentation exists, has the options it is given, and runs.

A page is run from top to bottom as a reader would: its files are written, its commands and its
Python are run, in one folder. The demo's weights are small and random here, and the runs short;
`tests/docs/pages.py` names the commands that can't be run at all.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import gemma_keras_tune as gkt
from docs import reference_cli
from docs.snippets import Block, run_block
from gemma_keras_tune.cli import app
from gemma_keras_tune.recipe import Recipe
from gemma_keras_tune.recipe_files import load_recipe
from tests.docs.pages import (
    NOT_RUN,
    PAGES,
    PROGRAM,
    ROOT,
    SHELL_PAGES,
    all_commands,
    blocks_of,
    commands_of,
)
from tests.docs.working_run import WorkingRun
from tests.support.app_root import make_root
from tests.support.command_line import save_tiny_model

# The examples of the command line's help speak of files that a reader has.
_GIVEN = {
    "docs/reference/cli.md": {
        "messages.csv": "message,kind\n"
        + "".join(f"call {i} now,spam\nlunch at {i},ham\n" for i in range(8)),
        "mails.csv": "message\nfree prize\nsee you at noon\n",
        "new_messages.csv": "message,label\nfree prize,spam\nsee you at noon,ham\n",
    }
}
# A page that is about what comes after training.
_BEFORE = {"docs/exports.md": [PROGRAM, "train", "spam_classifier"]}
# Pages whose commands look after accounts: there is an administrator.
_WITH_ACCOUNTS = {"docs/web_app.md", "docs/reference/cli.md"}
_CHEAP = {("models",), ("recipes",), ("recipes", "copy"), ("data", "check")}
_PAGES_THAT_RUN = [
    page
    for page in PAGES
    if any(words[0] == PROGRAM for b in blocks_of(page) for words in commands_of(b))
]


def test_there_are_commands_and_all_of_them_are_of_a_kind_that_is_tested():
    commands = all_commands()
    assert len(commands) > 30
    unknown = [
        f"{page}: {' '.join(words)}"
        for page, words in commands
        if words[0] not in (PROGRAM, "make")
        and " ".join(words) not in NOT_RUN
        and page not in SHELL_PAGES
    ]
    assert not unknown, "no test runs these"


def test_every_command_in_the_docs_exists_and_has_the_options_it_is_given():
    known = {command.words: command for command in reference_cli.commands()}
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    for where, words in all_commands():
        if words[0] != PROGRAM:
            continue
        plain = [word for word in words if not word.startswith("-")]
        called = next(tuple(plain[:n]) for n in (4, 3, 2, 1) if tuple(plain[:n]) in known)
        assert len(called) > 1, f"{where}: {words}"
        section = page.split(f"## `{' '.join(called)}`\n")[1].split("\n## ")[0]
        for word in words:
            if word.startswith("--"):
                assert f"`{word}" in section, f"{where}: {' '.join(words)}"


@pytest.mark.parametrize("target", sorted({w[1] for _, w in all_commands() if w[0] == "make"}))
def test_make_knows_its_targets(target):
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", _PAGES_THAT_RUN)
def test_commands_of_a_page_that_need_no_model_run(page, reader):
    for block in blocks_of(page):
        reader.write_file(block)
        for words in commands_of(block):
            if words[0] == PROGRAM and reference_words(words) in _CHEAP and "--model" not in words:
                reader.run(words)


@pytest.mark.slow
@pytest.mark.parametrize("page", _PAGES_THAT_RUN)
def test_a_page_runs_from_top_to_bottom(page, reader, tiny_demo, working):
    names: dict[str, Any] = {"__name__": "__page__"}
    if page in _BEFORE:
        reader.run(_BEFORE[page])
    for block in blocks_of(page):
        reader.write_file(block)
        for words in commands_of(block):
            if words[0] == PROGRAM:
                if words[1] == "control":
                    working.begin()
                else:
                    working.end()
                reader.run(words)
        if block.language == "python" and page != "docs/reference/api.md":
            snippet = run_block(block, names)
            assert snippet.printed == snippet.expected, f"{page}:{block.line}"


def reference_words(words: list[str]) -> tuple[str, ...]:
    """The words of a command that say which one it is, without its arguments."""
    known = {command.words[1:] for command in reference_cli.commands()}
    return next(tuple(words[1 : 1 + n]) for n in (3, 2, 1, 0) if tuple(words[1 : 1 + n]) in known)


class _Reader:
    """Somebody who does what a page says, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write_file(self, block: Block) -> None:
        if block.file:
            (self.folder / block.file).write_text(block.code, encoding="utf-8")

    def run(self, words: list[str]) -> None:
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, f"{' '.join(words)}\n{done.output}\n{done.exception!r}"


@pytest.fixture
def reader(tmp_path, monkeypatch, request) -> Iterator[_Reader]:
    """A reader with a folder of their own and the files that the page takes for granted."""
    monkeypatch.setenv("GEMMA_KERAS_TUNE_HOME", str(tmp_path / "home"))
    if request.node.callspec.params["page"] in _WITH_ACCOUNTS:
        make_root(tmp_path / "home")
    folder = tmp_path / "work"
    folder.mkdir()
    for name, text in _GIVEN.get(request.node.callspec.params["page"], {}).items():
        (folder / name).write_text(text)
    with contextlib.chdir(folder):
        yield _Reader(folder)


@pytest.fixture
def working(reader, tiny_demo) -> Iterator[WorkingRun]:
    """A run that works while commands of the kind `control` are tried on it."""
    run = WorkingRun(lambda name: gkt.load_recipe(name))
    yield run
    run.end()


@pytest.fixture
def tiny_demo(tmp_path, monkeypatch) -> None:
    """Makes `demo` a tiny random model, and runs with it short."""
    from gemma_keras_tune.model import load

    folder, really_open = save_tiny_model(tmp_path / "tiny"), load._open
    monkeypatch.setattr(
        load, "_open", lambda preset: really_open(str(folder) if preset == "demo" else preset)
    )
    short = _short(load_recipe, tmp_path)
    for place in ("cli.load_recipe", "console.sources.load_recipe"):
        monkeypatch.setattr(f"gemma_keras_tune.{place}", short)
    monkeypatch.setattr(gkt, "load_recipe", short)


def _short(load: Callable[..., Recipe], folder: Path) -> Callable[..., Recipe]:
    """`load_recipe` whose recipes take two steps; those that ship get few rows and one export.

    The tiny tokenizer needs more tokens for a word, so rows may be longer.
    """

    def load_short(source: Any, overrides: Any = None) -> Recipe:
        small: dict[str, Any] = {
            "data.max_length": 512,
            "train.max_steps": 2,
            "evaluate.samples": 1,
        }
        if source == "spam_classifier":
            recipe = load(source)
            for key in ("path", "test_path"):
                path = Path(getattr(recipe.data, key))
                lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[:25]
                (folder / path.name).write_text("".join(lines), encoding="utf-8")
                small[f"data.{key}"] = str(folder / path.name)
            small["export"] = [{"format": "peft"}]
        return load(source, {**(overrides or {}), **small})

    return load_short

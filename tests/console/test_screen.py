"""What reaches the terminal, and the commands that are shown."""

import io
import json
import sys

import pytest
from rich.console import Console

from gemma_keras_tune.console import screen


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("ring\x07 \x9b2J", "ring\\x07 \\x9b2J"),
        ("abc\u202edcba", "abc\\u202edcba"),
        ("half \ud83d letter", "half \\ud83d letter"),
        ("a\r\nb\rc", "a\nb\\rc"),
        ("na\u00efve \u65e5\u672c \U0001f600", "na\u00efve \u65e5\u672c \U0001f600"),
        ("\u0645\u06cc\u200c\u062e\u0648", "\u0645\u06cc\u200c\u062e\u0648"),
    ],
)
def test_control_characters_are_made_visible_and_letters_stay(given, shown):
    assert screen.plain(given) == shown


def test_text_is_never_markup():
    file = io.StringIO()
    screen.say(
        Console(file=file, width=80), "[bold]x[/bold] [link=http://a]y", screen.text("[/nothing]")
    )
    assert file.getvalue() == "[bold]x[/bold] [link=http://a]y\n[/nothing]\n"


def test_a_command_is_never_broken():
    file = io.StringIO()
    console = Console(file=file, width=20, force_terminal=True, color_system=None)
    screen.say(console, screen.text("a command that is longer than the line"))
    assert file.getvalue() == "a command that is longer than the line\n"


def test_json_is_one_ascii_line(capsys):
    screen.print_json({"text": "na\u00efve\n\u2028"})
    out = capsys.readouterr().out
    assert out.isascii() and out.count("\n") == 1
    assert json.loads(out) == {"text": "na\u00efve\n\u2028"}


@pytest.mark.parametrize(
    ("called", "on_path", "expected"),
    [
        ("bin/gemma-keras-tune", True, "gemma-keras-tune"),
        ("bin/gkt", True, "gkt"),
        ("bin/gemma-keras-tune", False, "bin/gemma-keras-tune"),
    ],
)
def test_commands_are_shown_as_they_can_be_called_here(
    called, on_path, expected, tmp_path, monkeypatch
):
    program = tmp_path / called
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setenv("PATH", str(program.parent) if on_path else "")
    line = screen.command("generate", "latest", "it's; rm -rf $HOME")
    assert line == f"{expected} generate latest 'it'\"'\"'s; rm -rf $HOME'"

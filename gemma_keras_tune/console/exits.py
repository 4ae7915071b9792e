"""How commands end: one clean message and an exit code, never a traceback that nobody asked for."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from ..errors import DataError, TuneError
from . import screen

DEBUG_VARIABLE = "GEMMA_KERAS_TUNE_DEBUG"
_ORDER = (
    *(
        "demo",
        "models",
        "recipes",
        "data",
        "plan",
        "bench",
        "train",
        "resume",
        "control",
        "evaluate",
        "generate",
        "answer",
    ),
    *("export", "doctor", "ui", "server", "work"),
)
OUR_FAULT, USER_CAN_FIX, INTERRUPTED = 1, 2, 130


class TuneGroup(TyperGroup):
    """A group of commands whose errors are told in one place."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands in the order in which one meets them."""
        return [name for name in _ORDER if name in self.commands]

    def invoke(self, ctx: Any) -> Any:
        """Runs the command.

        Raises:
            typer.Exit: With 2 for what the user can fix, 1 for what is our fault.
        """
        try:
            return super().invoke(ctx)
        except TuneError as error:
            show_error(error)
            raise typer.Exit(USER_CAN_FIX) from None
        except KeyboardInterrupt:
            screen.say(screen.err(), "\nInterrupted.")
            raise typer.Exit(INTERRUPTED) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except Exception as error:  # the edge of the process: a message, not a traceback
            if _is_usage(error) or debugging(ctx):
                raise
            _show_bug(error)
            raise typer.Exit(OUR_FAULT) from None


def debugging(ctx: Any) -> bool:
    """Whether tracebacks are wanted."""
    asked = ctx.params.get("debug") or os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")
    return bool(asked)


def show_error(error: TuneError) -> None:
    """What is wrong and what to do, with the code that programs go by."""
    message = str(error)
    named = isinstance(error, DataError) and error.code and error.code in message
    head = "Error" if named or not error.code else f"Error {error.code}"
    screen.say(screen.err(), Text.assemble((f"{head}: ", "bold red"), screen.text(message)))


def _show_bug(error: Exception) -> None:
    reason = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError):
        reason = "there is not enough memory. Try a smaller model or train.micro_batch_tokens"
    screen.say(
        screen.err(),
        Text.assemble(("Failed: ", "bold red"), screen.text(reason)),
        f"This is a fault of gemma-keras-tune or of its surroundings. Run it again with "
        f"{DEBUG_VARIABLE}=1 (or --debug before the command) for the traceback.",
    )


def _is_usage(error: Exception) -> bool:
    """Whether it is Typer's own word on a wrong option, which it shows by itself."""
    return hasattr(error, "format_message") and hasattr(error, "exit_code")


def prepare_streams() -> None:
    """Lets letters that the terminal's encoding lacks through as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")

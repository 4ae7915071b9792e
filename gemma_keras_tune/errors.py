"""The errors that a user can mend, and the one way to ask for an optional library."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any


class TuneError(Exception):
    """Something the user can fix: the text says what, where, what is allowed and what to do.

    Args:
        message: One or more lines for a person.
        code: A stable upper-case code for programs, such as `CSV_RAGGED_ROW`.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class RecipeError(TuneError):
    """A recipe can't be read, or some of its settings are wrong; all of them are listed."""


class DataError(TuneError):
    """A data file can't be used as it is.

    Args:
        message: What is wrong, with file and row.
        code: A stable code, such as `MISSING_COLUMN`.
        findings: Every finding behind the message, where there are several.
    """

    def __init__(self, message: str, *, code: str = "", findings: Sequence[Any] = ()) -> None:
        super().__init__(message, code=code)
        self.findings = tuple(findings)


class ModelError(TuneError):
    """A model can't be found, reached, or read."""


class CheckpointError(TuneError):
    """A checkpoint can't be written, or none can be read back whole."""


class ExportError(TuneError):
    """An artifact can't be written, or did not compute what the trained model computes."""


class CloudError(TuneError):
    """A cloud service refused or could not be reached."""


class MissingExtraError(TuneError):
    """An optional library is not installed; the text has the command that installs it."""


class OutOfMemory(TuneError):
    """Memory ran out. What was saved before stands.

    Args:
        message: Where it ran out and what takes less.
        stage: The run's stage, such as `training`.
    """

    def __init__(self, message: str, *, stage: str) -> None:
        super().__init__(message, code="OUT_OF_MEMORY")
        self.stage = stage


class StoppedWithCheckpoint(TuneError):
    """A run was asked to stop, has saved a checkpoint, and can be resumed (exit code 75).

    Args:
        message: Where it stopped and how to resume.
        step: Optimizer steps that the checkpoint holds.
    """

    def __init__(self, message: str, *, step: int) -> None:
        super().__init__(message, code="STOPPED_WITH_CHECKPOINT")
        self.step = step


def need(module: str, *, extra: str) -> ModuleType:
    """The optional module, imported now.

    Args:
        module: Dotted name, such as `transformers`.
        extra: The extra of this package that installs it.

    Raises:
        MissingExtraError: If the module isn't installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingExtraError(
            f"This needs the library {module!r}, which is not installed. "
            f'Install it with: pip install "gemma-keras-tune[{extra}]"',
            code="MISSING_EXTRA",
        ) from error


def expect(name: str, value: object, kind: type, *, such_as: str) -> None:
    """Refuses a mistake in a program: a value of another kind where one looks like the other.

    Args:
        name: What the caller calls it.
        value: What was given.
        kind: What is needed.
        such_as: Where a caller has one.

    Raises:
        TypeError: If it is of another kind.
    """
    if not isinstance(value, kind):
        given = type(value).__name__
        raise TypeError(f"{name} must be of type {kind.__name__}, such as {such_as}, not {given}")

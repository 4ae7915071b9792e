"""What a working run is asked: `control.jsonl`, one command a line, written by others.

A command is checked before it is written, so a typo never reaches the run. The run reads the file
between two steps and answers in its events, by the command's id: `ControlApplied` with the step,
or `ControlRefused` with the reason. `control_inbox.py` is the run's side.
"""

from __future__ import annotations

import difflib
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError
from pydantic.fields import FieldInfo

from .durable import FULL_DISK, append_line
from .errors import RecipeError, TuneError
from .event_types import RunEnded
from .events import last_record
from .recipe import TrainRecipe
from .run_folder import resume_command
from .writing import WorkFolder, current_writer

COMMANDS: Mapping[str, str] = {
    "pause": "Wait between two steps, with the process, its memory and the compiled step kept.",
    "resume": "Go on after a pause.",
    "checkpoint": "Save a checkpoint now.",
    "sample": "Answer a prompt, or those of the recipe, with the model as it is now.",
    "stop": "Save a checkpoint and end with exit code 75.",
    "set": "Change a setting from the next step on.",
}
"""Every command, and what it does."""

SETTABLE: Mapping[str, str] = {
    "learning_rate": "Step size at its highest; the schedule keeps its shape.",
    "weight_decay": "AdamW's decay, multiplied by the learning rate.",
    "evaluate_every_steps": "Steps between two measurements; none: once an epoch.",
    "checkpoint_every_steps": "Steps between two checkpoints; none: only by time.",
    "checkpoint_every_s": "Longest time between two checkpoints, in seconds.",
    "patience": "Stop after so many measurements without a new best one; none: run to the end.",
    "end_step": "The last optimizer step; the rest of the schedule is fitted to it.",
}
"""What `set` can change, and what it means."""

_LONGEST_TEXT = 20_000  # characters of a prompt
_LONGEST_NAME = 200  # characters of who asks


@dataclass(frozen=True, kw_only=True)
class Command:
    """One line of `control.jsonl`.

    Attributes:
        id: Its name in the events; given by `send`.
        command: One of `COMMANDS`.
        key: What `set` changes.
        value: To what; or the prompt of `sample`.
        by: Who asked, for people.
        time: When, as ISO 8601 in UTC.
    """

    id: str
    command: str
    key: str | None = None
    value: JsonValue = None
    by: str = ""
    time: str = ""


def send(
    path: str | os.PathLike[str],
    command: str,
    *,
    key: str | None = None,
    value: JsonValue = None,
    by: str = "",
) -> str:
    """The id of the command that now stands, durably, in the file at `path`.

    Nobody may be reading: `send_to` asks first whether somebody is.

    Args:
        path: The `control.jsonl`; made if it is missing.
        command: One of `COMMANDS`.
        key: One of `SETTABLE`, for `set`.
        value: The new value, or the prompt of `sample`.
        by: Who asks.

    Raises:
        RecipeError: `CONTROL_UNKNOWN`, `CONTROL_KEY` or `CONTROL_VALUE`; nothing is written then.
        TuneError: `NEEDS_SPACE` or `CONTROL_NOT_WRITABLE`.
    """
    check(command, key=key, value=value)
    fields = {
        "id": secrets.token_hex(6),
        "command": command,
        "key": key,
        "value": value,
        "by": by[:_LONGEST_NAME],
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    try:
        append_line(path, json.dumps(fields, allow_nan=False).encode())
    except OSError as error:
        raise TuneError(
            f"{path} can't be written: {error.strerror or error}. Check the free space and the "
            "permissions, then ask again.",
            code="NEEDS_SPACE" if error.errno in FULL_DISK else "CONTROL_NOT_WRITABLE",
        ) from error
    return str(fields["id"])


def send_to(
    folder: WorkFolder,
    command: str,
    *,
    key: str | None = None,
    value: JsonValue = None,
    by: str = "",
) -> str:
    """The id of the command, sent to the process that works in `folder`.

    Raises:
        RecipeError: As `send`.
        TuneError: `NOT_RUNNING` if no process works there: a command never lies in wait for one;
            or as `send`.
    """
    check(command, key=key, value=value)
    if current_writer(folder) is None:
        raise TuneError(_not_running(folder), code="NOT_RUNNING")
    return send(folder.control, command, key=key, value=value, by=by)


def read_commands(path: str | os.PathLike[str], after: int = 0) -> tuple[list[Command], int]:
    """The commands from byte `after` of the file on, and where the next ones will begin.

    Torn lines are skipped; a last line without its line break may still be on its way, and waits.
    A file that isn't there is empty. Commands are not checked here: see `check`.

    Raises:
        OSError: If the file can't be read.
    """
    try:
        file = open(path, "rb")
    except FileNotFoundError:
        return [], after
    with file:
        if os.fstat(file.fileno()).st_size < after:
            after = 0  # another file than before; ids tell what is known already
        file.seek(after)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    found = (_command(line) for line in whole.splitlines())
    return [command for command in found if command is not None], after + len(whole)


def check(command: str, *, key: str | None = None, value: JsonValue = None) -> None:
    """Refuse what no run can carry out; bounds are those of the recipe's fields.

    Raises:
        RecipeError: `CONTROL_UNKNOWN`, `CONTROL_KEY` or `CONTROL_VALUE`, with what works.
    """
    if command not in COMMANDS:
        raise RecipeError(
            f"There is no command {command!r}.{_nearest(command, COMMANDS)}", code="CONTROL_UNKNOWN"
        )
    if command == "set":
        _check_setting(key, value)
    elif key is not None:
        raise RecipeError(
            f"The command {command!r} takes no key, but {key!r} was given. "
            f"To change a setting: set {key}=...",
            code="CONTROL_KEY",
        )
    elif command == "sample":
        _check_prompt(value)
    elif value is not None:
        raise RecipeError(
            f"The command {command!r} takes no value, but {value!r} was given.",
            code="CONTROL_VALUE",
        )


def size_of(path: str | os.PathLike[str]) -> int:
    """Bytes of the file; 0 if it isn't there."""
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return 0


def field_of(key: str) -> FieldInfo:
    """The recipe's field with the bounds of a settable key."""
    return TrainRecipe.model_fields[_field_name(key)]


def _field_name(key: str) -> str:
    return "max_steps" if key == "end_step" else key


def _check_setting(key: str | None, value: JsonValue) -> None:
    if key is None or key not in SETTABLE:
        said = "'set' needs a key and a value, such as learning_rate=1e-4."
        if key is not None:
            said = f"A working run can't change {key!r}.{_nearest(key, SETTABLE)}"
        raise RecipeError(said, code="CONTROL_KEY")
    name = _field_name(key)
    try:
        TrainRecipe.model_validate_json(json.dumps({name: value}))
    except ValidationError as error:
        message = str(error.errors()[0]["msg"])
        raise RecipeError(f"{key}: {message}; got {value!r}.", code="CONTROL_VALUE") from error
    if key == "end_step" and value is None:
        raise RecipeError("end_step: a number of steps is needed; got None.", code="CONTROL_VALUE")


def _check_prompt(value: JsonValue) -> None:
    if value is None:
        return
    text = value if isinstance(value, str) else ""
    is_whole = text == text.encode("utf-8", "replace").decode()  # no lone surrogates
    if not text.strip() or len(text) > _LONGEST_TEXT or not is_whole:
        raise RecipeError(
            f"A prompt is a text of 1 to {_LONGEST_TEXT:,} characters, or is left out.",
            code="CONTROL_VALUE",
        )


def _nearest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{hint} There are: {', '.join(known)}."


def _command(line: bytes) -> Command | None:
    """The command that a line holds, or None if it is torn, or none."""
    try:
        fields: Any = json.loads(line)
    except ValueError:
        return None
    if not isinstance(fields, dict) or not fields.get("id"):
        return None
    texts = {name: fields.get(name) or "" for name in ("id", "command", "by", "time")}
    key = fields.get("key")
    if not all(isinstance(text, str) for text in (*texts.values(), key or "")):
        return None
    return Command(**texts, key=key, value=fields.get("value"))


def _not_running(folder: WorkFolder) -> str:
    last = last_record(folder.events) or {}
    ended = RunEnded.model_fields["kind"].default
    if last.get("kind") == ended and last.get("status") == "done":
        return f"The {folder.what} {folder.id} is done; there is nothing left to control."
    said = f"No process works on the {folder.what} {folder.id} now, so nobody would obey."
    if folder.what != "run":
        return said
    return f"{said} Go on with it first: {resume_command(folder)}"

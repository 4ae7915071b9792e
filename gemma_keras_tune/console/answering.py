"""One prompt or a table of them: answers on a terminal, whole for a program, or in a file."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..run_folder import RunFolder
from ..text.turns import Turn
from . import reports, running, screen, sources
from .progress import RunView

if TYPE_CHECKING:
    from ..text.tokenizer import Tokenizer


def answer(
    name: str,
    prompt: str,
    *,
    root: Path,
    as_is: bool,
    goes_on: bool,
    json_output: bool,
    **how: Any,
) -> None:
    """Prints the model's answer.

    Args:
        name: A run or a model.
        prompt: The user's text.
        root: The data root.
        as_is: Whether a run's prompt format and system text are left out.
        goes_on: Whether the prompt is the beginning of a text that stands in no turn.
        json_output: Print `prompt_ids`, `ids`, `text` and `stop_reason` instead of the text.
        **how: What `generate` takes.

    Raises:
        TuneError: If the model can't be found or read, or the prompt can't be used.
    """
    from ..evaluation.generate import generate
    from ..model.load import load_model
    from ..run_outputs import load_run
    from ..text.as_trained import turns_as_trained

    found = sources.named_model(name, root)
    if not json_output:
        running.show_licence()
    turns = [Turn("text" if goes_on else "user", prompt)]
    if isinstance(found, RunFolder):
        recipe, model = load_run(found.path)
        if not as_is and not goes_on:
            turns = turns_as_trained(recipe.data, prompt)
    else:
        model = load_model(found)
    live = not json_output and sys.stdout.isatty()
    stream = _Stream(model.tokenizer, model.template.stop_ids) if live else None
    result = generate(model, [turns], on_token=stream, batch_rows=1, **how)[0]
    if json_output:
        screen.print_json(asdict(result))
        return
    shown = screen.plain(result.text)
    sys.stdout.write((shown[stream.written :] if stream else shown) + "\n")
    if result.stop_reason == "length":
        screen.say(screen.err(), "(cut off; a longer answer: --max-tokens)")


def answer_a_table(
    folder: RunFolder, table: Path, *, out: Path, json_output: bool, **how: Any
) -> None:
    """Writes the table with a run's answers, and prints what came of its rows.

    Args:
        folder: The run's.
        table: The table.
        out: The new file.
        json_output: Print one JSON object instead.
        **how: What `answer_table` takes.

    Raises:
        TuneError: If the run isn't trained, or the table can't be used.
    """
    from ..after_training import answer_table

    running.show_licence()
    with RunView() as view:
        found = answer_table(
            folder.path, table.expanduser(), out.expanduser(), **how, on_event=view
        )
    if json_output:
        screen.print_json(found.to_json())
        return
    reports.show_answered(screen.out(), found)


class _Stream:
    """Writes an answer while it grows; `written` counts its letters so far."""

    def __init__(self, tokenizer: Tokenizer, stop_ids: tuple[int, ...]) -> None:
        self._tokenizer, self._stop_ids = tokenizer, stop_ids
        self._ids: list[int] = []
        self.written = 0

    def __call__(self, place: int, token: int) -> None:
        if token in self._stop_ids or token >= self._tokenizer.vocab_size:
            return
        self._ids.append(token)
        # half of a letter is U+FFFD until its other half comes
        whole = screen.plain(self._tokenizer.decode(self._ids).rstrip("\ufffd"))
        sys.stdout.write(whole[self.written :])
        sys.stdout.flush()
        self.written = max(self.written, len(whole))

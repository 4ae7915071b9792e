"""Prompts to try, from the rows that were held back, and how the run's recipe asks them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from nicegui import ui

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.recipe import DataRecipe
from gemma_keras_tune.recipe_files import load_recipe
from gemma_keras_tune.run_folder import RunFolder
from gemma_keras_tune.run_result import read_report
from gemma_keras_tune.text.as_trained import asked_rows, turns_as_trained

from ...words import playground as words
from ..tables import shortened
from ..widgets import secondary

_LONGEST = 500  # characters of a right answer


@dataclass(frozen=True)
class HeldBackRow:
    """A row that can be asked, and its right answer."""

    prompt: str
    expected: str


@dataclass(frozen=True)
class Questions:
    """What a run was trained to be asked.

    Attributes:
        data: The recipe's section `data`; None if it can't be read.
        rows: Some of its held-back rows.
    """

    data: DataRecipe | None
    rows: Sequence[HeldBackRow]

    @property
    def asks_for(self) -> str:
        """What is to be typed, in the words of the task."""
        return words.PROMPTS.get(self.data.task if self.data else "", words.PROMPT)

    @property
    def ways(self) -> dict[str, str]:
        """In which ways a prompt can be given, the one of the training first, with their names."""
        first = "trained" if self.has_frame else "text" if self.is_of_texts else "question"
        others = [way for way in ("question", "text") if way != first]
        return {way: words.WAYS[way] for way in (first, *others)}

    @property
    def is_of_texts(self) -> bool:
        """Whether texts were learned that stand in no turn."""
        return self.data is not None and self.data.task == "text"

    def about(self, way: str) -> str:
        """What a way does to the prompt, where it isn't plain."""
        if way == next(iter(self.ways)):
            return words.AS_TRAINED_TEXT if self.has_frame else ""
        if way == "text":
            return words.AS_TEXT_TEXT
        return words.AS_QUESTION_TEXT if self.is_of_texts else words.AS_IS_TEXT

    @property
    def has_frame(self) -> bool:
        """Whether the recipe puts any text around a prompt."""
        return self.shown_with("") != ""

    def shown_with(self, prompt: str) -> str:
        """What the model reads when it is asked as in training."""
        if self.data is None:
            return prompt
        return "\n".join(turn.text for turn in turns_as_trained(self.data, prompt))


async def questions_of(folder: RunFolder) -> Questions:
    """What a run was trained to be asked."""
    return await asyncio.to_thread(_read, folder)


def _read(folder: RunFolder) -> Questions:
    try:
        data = load_recipe(folder.recipe_json).data
        report = read_report(folder)
    except TuneError:
        return Questions(None, ())  # of an older or foreign run; it can be asked all the same
    return Questions(data, [HeldBackRow(*row) for row in asked_rows(data, report)])


class Suggestions:
    """Puts one held-back row after the other into the field of the prompt.

    Args:
        field: The field.
        questions: Has the rows; without any, nothing is shown.
    """

    def __init__(self, field: ui.textarea, questions: Questions) -> None:
        self._field, self._rows, self._at = field, questions.rows, -1
        self._said = words.GOES_ON if questions.is_of_texts else words.RIGHT_ANSWER
        if not self._rows:
            return
        with ui.row().classes("items-center gap-x-3 gap-y-1"):
            if len(self._rows) > 1:
                secondary(words.ANOTHER, self._next, icon="shuffle").mark("another")
            self._expected = ui.label().classes("gkt-note")
        self._next()
        field.on_value_change(lambda event: self._look(event.value))

    def _next(self) -> None:
        self._at = (self._at + 1) % len(self._rows)
        self._field.value = self._rows[self._at].prompt
        self._look(self._field.value)

    def _look(self, prompt: str) -> None:
        """The right answer stands there as long as the row is as it was."""
        row = self._rows[self._at]
        self._expected.text = self._said.format(answer=shortened(row.expected, _LONGEST))
        self._expected.set_visibility(prompt == row.prompt)

"""One data set as a page has it open: its settings, what is asked about it, and who is told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from gemma_keras_tune.errors import TuneError
from gemma_keras_tune.recipe import DataRecipe

from ...api.dataset_settings import checked_settings
from ...identity.access import Action
from ..visit import Visit
from .looks import look
from .source import Settings, Source, keep

MODEL = "demo"  # whose tokens are counted
_READING = ("format", "encoding", "delimiter")
_PARTS_NEEDED = {
    "classification": ("text", "label"),
    "instruction": ("prompt", "response"),
    "chat": ("messages",),
    "text": ("text",),
}


class Looked:
    """A source and what was said of it.

    Args:
        visit: The page.
        source: What is looked at.
        changed: Called after the settings have changed.
        read_again: Called when the file itself is to be read in another way.

    Attributes:
        settings: What is known; None as long as nobody could tell what the columns are.
        reading: How the file is read, if somebody said so before it was known what it is.
        columns: The names of the file's columns.
        line: Which row to show token by token; 0: the first.
    """

    def __init__(
        self,
        visit: Visit,
        source: Source,
        *,
        changed: Callable[[], Awaitable[None]],
        read_again: Callable[[], Awaitable[None]],
    ) -> None:
        self.visit, self.source = visit, source
        self._changed, self._read_again = changed, read_again
        self.reading: Settings = {}
        self.settings: Settings | None = source.settings
        self.columns: list[str] = []
        self.line = 0

    @property
    def may_change(self) -> bool:
        """Whether to offer changes: of an example anybody may try them out."""
        return self.source.dataset_id is None or self.visit.may(Action.CHANGE_DATA)

    @property
    def recipe(self) -> DataRecipe:
        """The settings with the defaults of what wasn't said."""
        return DataRecipe.model_validate({"task": "text", **(self.settings or {}), "path": "rows"})

    async def look(self, action: str, **args: Any) -> dict[str, Any]:
        """What a data job finds out, with the settings as they are.

        Raises:
            TuneError: Why it failed.
        """
        settings = {**(self.settings or {}), **self.reading}
        if action == "columns":  # a table doesn't depend on what its columns mean
            settings = {key: settings[key] for key in _READING if key in settings}
        return await self.look_as(settings, action, **args)

    async def look_measured(self, action: str, **args: Any) -> tuple[dict[str, Any], str]:
        """As `look`, with the rows' lengths; where the model isn't installed without, and why.

        Raises:
            TuneError: Why it failed.
        """
        try:
            return await self.look(action, model=MODEL, **args), ""
        except TuneError as error:
            if error.code != "MISSING_EXTRA":
                raise
            return await self.look(action, **args), self.visit.text_of(error)

    async def look_as(self, settings: Settings, action: str, **args: Any) -> dict[str, Any]:
        """As `look`, with other settings.

        Raises:
            TuneError: Why it failed.
        """
        return await look(self.visit, self.source.name, action, data=settings, **args)

    async def change(self, **values: Any) -> None:
        """Says something else of it, and keeps that; None takes a setting back.

        Raises:
            TuneError: `DATASET_SETTINGS`, or that it isn't allowed.
        """
        if await self._said(values):
            await self._changed()

    async def read_as(self, **values: str) -> None:
        """Reads the file in another way.

        Raises:
            TuneError: As `change`.
        """
        self.reading = {**self.reading, **values}
        if self.settings is not None:
            await self._said({})
        await self._read_again()

    async def _said(self, values: Settings) -> bool:
        """Whether that is news; then it is kept."""
        both = {**(self.settings or {}), **self.reading, **values}
        settings = checked_settings({key: one for key, one in both.items() if one is not None})
        if settings == self.settings:
            return False
        before, self.settings = self.settings, settings  # at once: the next change is made to it
        try:
            await keep(self.visit, self.source, settings)
        except TuneError:
            self.settings = before
            raise
        return True

    async def take_guess(self, guess: dict[str, Any] | None) -> bool:
        """Whether the names of the columns told what they are; nothing said before is lost.

        A guess by what stands in the columns is not taken: a person looks at it first.
        """
        if self.settings is not None or guess is None or guess["by"] != "names":
            return False
        columns = {one["part"]: one["column"] for one in guess["columns"]}
        said = {"task": guess["task"], "columns": columns, **self.reading}
        settings = checked_settings(said)
        if self.visit.may(Action.CHANGE_DATA):
            await keep(self.visit, self.source, settings)
        self.settings = settings
        return True


def needed(task: str) -> tuple[str, ...]:
    """The parts that each row must have."""
    return _PARTS_NEEDED[task]

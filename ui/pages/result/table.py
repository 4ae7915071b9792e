"""A whole table answered by a run: choose it, see what is read of it, and get it back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from nicegui import ui

from gemma_keras_tune.errors import RecipeError, TuneError
from gemma_keras_tune.recipe import ASKED_PART, Recipe

from ...api.datasets import list_datasets
from ...api.job_args import real_args
from ...api.naming import Names, shipped_data
from ...api.run_rows import folder_of, recipe_of, run_row
from ...api.submitting import Wanted, submit
from ...identity.access import Action
from ...words import data as data_words
from ...words import table as words
from ..data.looks import look
from ..data.source import Source, dataset_source, shipped_source
from ..data.upload import Upload
from ..data.waiting import waiting
from ..frame import page
from ..run_tabs import run_tabs
from ..tables import Column, Line, LinesTable, shortened
from ..visit import Visit
from ..widgets import card, empty_state, explain, link_button, note, primary, secondary
from .table_answers import TableAnswers
from .table_doubt import DoubtField

_MOST_DATASETS = 200
_MINE = "dataset:"
_ROWS = 5
_LONGEST = 200  # characters of a cell
_READING = ("format", "encoding", "delimiter")


def register(app: FastAPI) -> None:
    """Adds the page."""

    @page(app, "/runs/{run_id}/table", title=words.TITLE, needs=Action.VIEW_RUNS, wide=True)
    async def show(visit: Visit, run_id: str, data: str = "") -> None:
        asked = visit.asked(Action.VIEW_RUNS)
        row = await run_row(asked.rows, run_id)
        run_tabs(visit, row, at="/table")
        folder = folder_of(asked.root, run_id)
        recipe = await asyncio.to_thread(recipe_of, folder)
        if not await asyncio.to_thread(folder.adapter.is_dir) or recipe is None:
            empty_state("table_chart", words.NOT_TRAINED_TITLE, words.NOT_TRAINED)
            return
        if recipe.data.task not in ASKED_PART:
            empty_state("table_chart", words.PLAIN_TITLE, words.PLAIN)
            return
        above = ui.column().classes("w-full gap-6")
        answers = TableAnswers(visit, run_id, is_labelled=recipe.data.task == "classification")
        await answers.start()
        with above:
            if visit.may(Action.SUBMIT_GENERATE):
                await _Form(visit, run_id, recipe, on_start=answers.look).show(data)
            else:
                ui.label(words.VIEWER).classes("gkt-soft")


class _Form:
    """What is chosen: a table, the column that is read, and how long an answer may be."""

    def __init__(
        self,
        visit: Visit,
        run_id: str,
        recipe: Recipe,
        *,
        on_start: Callable[[], Awaitable[None]],
    ) -> None:
        self._visit, self._run_id, self._recipe = visit, run_id, recipe
        self._on_start = on_start
        self._is_labelled = recipe.data.task == "classification"
        self._learned = recipe.data.column(ASKED_PART[recipe.data.task])
        self._source: Source | None = None
        self._encoding: str | None = None
        self._columns: list[str] = []

    async def show(self, dataset_id: str) -> None:
        """Fills the page; with the id of a data set, that one is chosen."""
        options = await self._options()
        with card(words.CHOOSE):
            text = words.CHOOSE_LABELS if self._is_labelled else words.CHOOSE_TEXTS
            ui.label(text).classes("gkt-soft max-w-prose")
            self._select = ui.select(options, label=words.TABLE).mark("table")
            self._select.props("outlined dense options-dense").classes("w-full max-w-md")
            self._select.on_value_change(self._visit.tells(lambda event: self._choose(event.value)))
            if self._visit.may(Action.UPLOAD_DATA):
                has_none = not any(name.startswith(_MINE) for name in options)
                with ui.expansion(words.UPLOAD, value=has_none).classes("w-full gkt-expansion"):
                    Upload(self._visit, target=f"/runs/{quote(self._run_id)}/table?data=")
        self._place = ui.column().classes("w-full")
        if (name := f"{_MINE}{dataset_id}") in options:
            self._select.value = name

    async def _options(self) -> dict[str, str]:
        """The workspace's data sets, the newest first, and those that ship."""
        asked = self._visit.asked(Action.VIEW_DATA)
        found = await list_datasets(asked, limit=_MOST_DATASETS)
        mine = {f"{_MINE}{one.id}": one.name for one in found.items}
        titles = {name: data_words.EXAMPLE_TEXTS.get(name, (name,))[0] for name in shipped_data()}
        return mine | {
            f"shipped:{name}": words.EXAMPLE.format(title=title) for name, title in titles.items()
        }

    async def _choose(self, name: str | None) -> None:
        """Takes another table, or none."""
        self._source, self._encoding = None, None
        self._place.clear()
        if name is not None:
            rest = name.partition(":")[2]
            is_mine = name.startswith(_MINE)
            self._source = (
                await dataset_source(self._visit, rest) if is_mine else shipped_source(rest)
            )
            await self._look()

    async def _look(self) -> None:
        """Shows what would be read of the table, or why it can't be."""
        source, why, found = self._source, "", None
        if source is None:
            return
        self._place.clear()
        with self._place:
            waiting(words.READING)
        try:
            reading = self._reading(source)
            how: dict[str, Any] = {"rows": _ROWS, "count": True, "data": reading}
            found = await look(self._visit, source.name, "columns", **how)
        except TuneError as error:
            why = self._visit.text_of(error)
        if self._source is not source:
            return  # another one was chosen meanwhile
        self._place.clear()
        with self._place:
            if found is None:
                self._refuse(source, why, [])
            elif count := found["unreadable"]:
                many = words.UNREADABLE.format(count=self._visit.reader.number(count))
                text = words.UNREADABLE_ONE if count == 1 else many
                self._refuse(source, text, found["findings"])
            else:
                await self._check(found)

    def _reading(self, source: Source) -> dict[str, Any]:
        """How the table is read, as far as somebody said so."""
        said = {**(source.settings or {})}
        if self._encoding is not None:
            said["encoding"] = self._encoding
        return {key: said[key] for key in _READING if key in said}

    def _refuse(self, source: Source, why: str, findings: Sequence[Mapping[str, Any]]) -> None:
        """Why the table can't be answered as it is, and what can be done about it."""
        encodings = (finding["settings"].get("encoding") for finding in findings)
        encoding = next(filter(None, encodings), None)
        if encoding is not None:
            name = data_words.ENCODINGS.get(encoding, encoding)
            with note(data_words.SAVED_AS.format(name=name), kind="warning").classes("gkt-asks"):
                take = self._visit.tells(lambda: self._read_as(encoding))
                secondary(data_words.READ_IT_AS.format(name=name), take).mark("read-as")
            return
        note(why, kind="bad")
        if source.dataset_id is not None:
            link_button(words.LOOK_AT_IT, f"/data/{source.dataset_id}", icon="table_view")

    async def _read_as(self, encoding: str) -> None:
        self._encoding = encoding
        await self._look()

    async def _check(self, found: Mapping[str, Any]) -> None:
        """The first rows, and what is asked before the start."""
        reader, total = self._visit.reader, found["total"]
        self._columns = [str(column["name"]) for column in found["columns"]]
        with card(words.CHECK):
            rows = words.ROWS.format(rows=reader.number(total))
            ui.label(words.ROWS_ONE if total == 1 else rows).classes("gkt-soft")
            columns = [Column(words.LINE), *map(Column, self._columns)]
            LinesTable(words.FIRST_ROWS, columns).show(
                [
                    Line(
                        str(row["row"]),
                        (
                            reader.number(row["row"]),
                            *(
                                shortened(row["cells"][one["id"]], _LONGEST)
                                for one in found["columns"]
                            ),
                        ),
                    )
                    for row in found["rows"]
                ]
            )
            await self._ask()

    async def _ask(self) -> None:
        place = likely_column(self._columns, self._learned)
        with ui.element("div").classes("gkt-fields"):
            self._column = ui.select(
                dict(enumerate(self._columns)), value=place, label=words.COLUMN
            ).mark("column")
            self._column.props("outlined dense options-dense").classes("w-full")
            self._longest = None if self._is_labelled else self._longest_answer()
            self._doubt = self._doubt_field() if self._is_labelled else None
        said = ui.label().classes("gkt-note").mark("column-said")

        def tell(text: str) -> None:
            said.text = text.format(name=f"“{self._learned}”")
            said.set_visibility(bool(text))

        tell(words.COLUMN_ASKED if place is None else self._about(place, words.COLUMN_GUESSED))
        self._column.on_value_change(lambda event: tell(self._about(event.value, "")))
        if self._doubt is not None:
            self._doubt.build_line()
        primary(words.START, self._visit.tells(self._begin), icon="play_arrow").mark("start")
        if self._doubt is not None:
            await self._doubt.tell()

    def _doubt_field(self) -> DoubtField:
        return DoubtField(self._visit, folder_of(self._visit.parts.settings.root, self._run_id))

    def _about(self, place: int, other: str) -> str:
        return words.COLUMN_FITS if self._columns[place] == self._learned else other

    def _longest_answer(self) -> ui.number:
        with ui.row().classes("items-start no-wrap gap-1"):
            value = self._recipe.evaluate.max_tokens
            field = ui.number(words.MAX_TOKENS, value=value, min=1, max=2048, step=1)
            field.props("outlined dense stack-label").classes("flex-1 min-w-0").mark("longest")
            field._props["hint"] = words.MAX_TOKENS_HINT
            explain("token")
        return field

    async def _begin(self) -> None:
        """Puts the job into the queue, once however often somebody clicks."""
        if self._source is None:
            return
        if self._column.value is None:
            raise RecipeError(words.NO_COLUMN, code="MISSING_COLUMN")
        source, self._source = self._source, None
        try:
            await self._submit(source)
        except TuneError:
            self._source = source
            raise
        self._select.value = None
        ui.notify(words.STARTED)
        await self._on_start()

    async def _submit(self, source: Source) -> None:
        asked = self._visit.asked(Action.SUBMIT_GENERATE)
        reading = self._reading(source)
        args: dict[str, Any] = {
            "data": source.name,
            "column": self._columns[self._column.value],
            **{key: reading[key] for key in ("encoding", "delimiter") if key in reading},
        }
        if self._longest is not None and self._longest.value is not None:
            args["max_tokens"] = int(self._longest.value)
        if self._doubt is not None and self._doubt.below is not None:
            args["doubt_below"] = self._doubt.below
        real = await real_args("answer", args, Names(asked.rows, asked.root))
        await submit(asked, Wanted(kind="answer", run=self._run_id, args=real))


def likely_column(columns: list[str], learned: str) -> int | None:
    """Where the column stands that the model learned from, or one that must be it; else None.

    Its name may be spelt with other capitals; a table with a single column leaves no choice.
    """
    if learned in columns:
        return columns.index(learned)
    alike = [place for place, name in enumerate(columns) if name.lower() == learned.lower()]
    if len(alike) == 1:
        return alike[0]
    return 0 if len(columns) == 1 else None

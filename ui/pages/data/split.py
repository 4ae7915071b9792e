"""Which rows are learned from, and which are kept away to choose and to measure by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nicegui import ui

from ...words import data as words
from ..tables import Column, Line, Link, PagedTable, shortened
from ..widgets import card, explain, heading
from .looked import Looked
from .rows import row_path

_FIRST = 5  # rows of each part
_LONGEST = 160  # characters of a text


async def prepare(looked: Looked) -> Callable[[], Any]:
    """The form, and the counts and first rows of each part."""
    found, _ = await looked.look_measured("split", rows=_FIRST)

    async def fill() -> None:
        with card():
            ui.label(words.SPLIT_LEAD).classes("gkt-soft")
            _form(looked)
        for part in found["parts"]:
            await _part(looked, part)

    return fill


def _form(looked: Looked) -> None:
    recipe, tells = looked.recipe, looked.visit.tells
    with ui.element("div").classes("gkt-fields"):
        shares = [
            ui.number(name, value=round(share * 100, 1), min=0, max=50, suffix="%").mark(mark)
            for name, share, mark in (
                (words.VALIDATION_SHARE, recipe.validation_share, "validation-share"),
                (words.TEST_SHARE, recipe.test_share, "test-share"),
            )
        ]
        seed = ui.number(words.SPLIT_SEED, value=recipe.split_seed, min=0, precision=0)
        seed.props(f'hint="{words.SPLIT_SEED_HELP}"').mark("split-seed")

    async def change(_: Any) -> None:
        given = [shares[0].value, shares[1].value, seed.value]
        if None not in given:
            await looked.change(
                validation_share=given[0] / 100, test_share=given[1] / 100, split_seed=int(given[2])
            )

    for one in (*shares, seed):
        one.props("outlined dense debounce=700").set_enabled(looked.may_change)
        one.on_value_change(tells(change))


async def _part(looked: Looked, part: Mapping[str, Any]) -> None:
    reader = looked.visit.reader
    name, term = words.SPLIT_PARTS[part["part"]]
    with card():
        with ui.row().classes("items-center gap-1"):
            heading(name, level=2)
            explain(term)
            ui.space()
            many = words.ROWS_OF.format(rows=reader.number(part["rows"]))
            ui.label(words.ROWS_OF_ONE if part["rows"] == 1 else many).classes("gkt-figure-value")
        if part["labels"]:
            with ui.row().classes("gap-2"):
                for one in part["labels"][:20]:
                    ui.label(f"{one['label']}: {reader.number(one['rows'])}").classes("gkt-chip")
        if part["first"]:
            of_task = words.SPLIT_COLUMNS if part["part"] == "train" else words.HELD_COLUMNS
            await _first(looked, name, part, titles=of_task[looked.recipe.task])


async def _first(
    looked: Looked, name: str, part: Mapping[str, Any], *, titles: Sequence[str]
) -> None:
    rows, number = part["first"], looked.visit.reader.number
    if part["rows"] > len(rows):
        shown = number(len(rows))
        ui.label(words.FIRST_OF.format(shown=shown, count=number(part["rows"])))
    lines = [
        Line(
            str(row["row"]),
            (
                Link(number(row["row"]), row_path(looked, row["row"])),
                *(shortened(row[side], _LONGEST) for side in ("given", "answer")[-len(titles) :]),
            ),
        )
        for row in rows
    ]

    async def load(_: Any) -> tuple[Sequence[Line], int]:
        return lines, len(lines)

    columns = [Column(title) for title in (words.LINE, *titles)]
    table = PagedTable(name, columns, load)
    table.table.props("hide-pagination")
    await table.refresh()

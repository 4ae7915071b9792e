"""The first page: what it suggests, and what it lists."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import FastAPI
from nicegui import ui
from nicegui.testing import User

from gemma_keras_tune.run_folder import new_run
from gemma_keras_tune_ui.overview import Overview, RunLine
from gemma_keras_tune_ui.pages.next_step import next_step
from gemma_keras_tune_ui.words import data
from gemma_keras_tune_ui.words import home as words
from tests.support.pages import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def run(id: str, state: str, *, hours_ago: int = 0) -> RunLine:
    return RunLine(id, id.upper(), state, 1, 2, 0.5, NOON - timedelta(hours=hours_ago))


def having(*runs: RunLine, datasets: int = 0) -> Overview:
    return Overview(jobs=(), more_jobs=0, runs=runs, more_runs=0, datasets=datasets)


@pytest.mark.parametrize(
    ("overview", "title", "first"),
    [
        (having(), words.START_TITLE, None),
        (having(datasets=1), words.DATA_TITLE, "/configure"),
        (having(run("a", "done"), run("b", "running")), "B is at work", "/runs/b"),
        (having(run("a", "done"), datasets=1), "A is finished", "/runs/a/result"),
        (
            having(run("a", "failed"), run("b", "done", hours_ago=1)),
            "A has not finished",
            "/runs/a",
        ),
        (
            having(run("a", "failed", hours_ago=1), run("b", "done")),
            "B is finished",
            "/runs/b/result",
        ),
        (having(run("a", "new"), datasets=1), words.DATA_TITLE, "/configure"),
    ],
)
async def test_the_next_step_follows_from_what_there_is(
    overview: Overview, title: str, first: str | None
) -> None:
    step = next_step(overview)
    assert step.title == title
    assert (step.links[0][1] if step.links else None) == first
    assert step.is_start == (first is None)


async def test_of_a_finished_run_every_use_is_offered() -> None:
    links = next_step(having(run("a", "done"))).links
    parts = ("result", "playground", "table", "export")
    assert [href for _, href in links] == [*(f"/runs/a/{part}" for part in parts), "/configure"]


async def test_who_has_nothing_is_shown_the_example_the_tour_and_the_terminal(
    app: FastAPI, ann: User
) -> None:
    await ann.open("/")
    await ann.should_see(words.START_TITLE)
    await ann.should_see(f"gemma-keras-tune train spam_classifier --root {app.state.settings.root}")
    ann.find(marker="tour").click()
    ann.find(marker="skip").click()
    (dialog,) = ann.find(ui.dialog).elements
    assert not dialog.value
    await ann.open("/")
    ann.find(marker="tour").click()
    for _, title, text in words.TOUR_STEPS:
        await ann.should_see(title)
        await ann.should_see(text)
        last = (title, text) == words.TOUR_STEPS[-1][1:]
        ann.find(words.TOUR_END if last else words.TOUR_NEXT).click()
    await until(ann, data.LEAD)  # it leads to the first of the pages that it showed


async def test_a_run_of_a_terminal_appears_with_a_link(app: FastAPI, ann: User) -> None:
    await ann.open("/")
    folder = new_run(app.state.settings.root, "mine")
    folder.recipe_json.write_text('{"name": "mine"}')
    assert ann.client is not None
    elements = ann.client.elements.values()
    tables = {one.props["aria-label"]: one for one in elements if isinstance(one, ui.table)}
    for _ in range(100):
        if tables[words.RUNS].rows:
            break
        await asyncio.sleep(0.1)
    (row,) = tables[words.RUNS].rows
    assert (row["c0"], row["c0_href"]) == ("mine", f"/runs/{folder.id}")
    assert row["c1"] == words.STATES["new"]

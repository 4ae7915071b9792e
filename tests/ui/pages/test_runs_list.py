"""The list of runs: found, sorted, renamed and tagged."""

from __future__ import annotations

import json

import pytest
from fastapi import FastAPI
from nicegui import ui
from nicegui.events import TableSelectionEventArguments, handle_event
from nicegui.testing import User

from gemma_keras_tune.event_types import RunEnded
from gemma_keras_tune_ui.words import runs as words
from tests.support.pages import HEADERS, wait_for
from tests.ui.pages.test_runs import HOSTILE, listed, run_of, step, table

pytestmark = pytest.mark.asyncio(loop_scope="module")


def choose_all(user: User) -> None:
    """As clicks on the boxes do."""
    shown = table(user, words.TITLE)
    shown.selected = shown.rows
    told = TableSelectionEventArguments(
        sender=shown, client=shown.client, selection=list(shown.rows)
    )
    for handler in shown._selection_handlers:
        handle_event(handler, told)


async def test_runs_are_listed_and_found_by_name_state_and_tag(app: FastAPI, ann: User) -> None:
    one = run_of(app, "first", step(1), step(2), RunEnded(status="done", step=2))
    two = run_of(app, "second", step(1), RunEnded(status="stopped", step=1))
    await listed(app, one, two)
    await ann.http_client.patch(
        f"/api/v1/runs/{two.id}", json={"tags": ["mail"]},
        headers={"Origin": "http://localhost", "x-gkt-request": "1"},
    )  # fmt: skip
    for query, names in (
        ("", {"first", "second"}), ("?search=FIR", {"first"}), ("?state=stopped", {"second"}),
        ("?tag=mail", {"second"}), ("?tag=mai", set()), ("?search=%25", set()),
    ):  # fmt: skip
        await ann.open(f"/runs{query}")
        assert {row["c0"] for row in table(ann, words.TITLE).rows} == names, query
    await ann.should_see(words.NOTHING_FOUND)


async def test_runs_are_sorted_by_what_was_measured_with_the_others_last(
    app: FastAPI, ann: User
) -> None:
    for name, accuracy in (("good", 0.9), ("none", None), ("poor", 0.5)):
        folder = run_of(app, f"sorted-{name}", step(1), RunEnded(status="done"))
        if accuracy is not None:
            folder.report_json.write_text(
                json.dumps({"tuned": {"loss": 0.1, "accuracy": accuracy}})
            )
    await app.state.parts.runs.sweep(all_of_them=True)
    for sort, names in (
        ("-accuracy", ["good", "poor", "none"]),
        ("accuracy", ["poor", "good", "none"]),
    ):
        found = await ann.http_client.get(f"/api/v1/runs?search=sorted-&sort={sort}")
        assert [row["name"] for row in found.json()["items"]] == [
            f"sorted-{name}" for name in names
        ]
    await ann.open("/runs?search=sorted-good")
    (row,) = table(ann, words.TITLE).rows
    assert (row["c3"], row["c4"], row["c5"]) == ("3", "0.1", "90.0%")


async def test_a_run_is_renamed_and_tagged(app: FastAPI, ann: User) -> None:
    folder = run_of(app, "plain", RunEnded(status="done"))
    await listed(app, folder)
    await ann.open("/runs?search=plain")
    choose_all(ann)
    ann.find(words.EDIT).click()
    await ann.should_see(words.TAGS)
    ann.find(kind=ui.input, content=words.NAME).clear().type(f"new {HOSTILE}")
    ann.find(words.TAGS).type("a, b,, a")
    ann.find(marker="save").click()
    await ann.should_see(words.SAVED)
    view = (await ann.http_client.get(f"/api/v1/runs/{folder.id}")).json()
    assert (view["name"], view["tags"]) == (f"new {HOSTILE}", ["a", "b"])


async def test_a_tag_leads_to_the_runs_that_have_it(app: FastAPI, ann: User) -> None:
    one, two = run_of(app, "tagged-1", RunEnded(status="done")), run_of(app, "tagged-2")
    await listed(app, one, two)
    for run, tags in ((one, ["50 % & more", "mail"]), (two, ["50 %"])):
        address = f"/api/v1/runs/{run.id}"
        await ann.http_client.patch(address, json={"tags": tags}, headers=HEADERS)
    await ann.open("/runs?search=tagged-1")
    (row,) = table(ann, words.TITLE).rows
    assert row["c7"] == "50 % & more, mail"
    first, second = row["c7_tags"]
    assert second == {"text": "mail", "href": "/runs?tag=mail"}
    await ann.open(f"/runs/{one.id}")
    (chip,) = ann.find(kind=ui.link, content="50 % & more").elements
    assert chip.props["href"] == first["href"]
    await ann.open(first["href"])
    assert [row["c0"] for row in table(ann, words.TITLE).rows] == ["tagged-1"]


async def test_several_runs_get_tags_besides_those_that_they_have(app: FastAPI, ann: User) -> None:
    one, two = run_of(app, "batch-1", RunEnded(status="done")), run_of(app, "batch-2")
    await listed(app, one, two)
    address = f"/api/v1/runs/{one.id}"
    await ann.http_client.patch(address, json={"tags": ["old"]}, headers=HEADERS)
    await ann.open("/runs?search=batch-")
    choose_all(ann)
    ann.find(words.EDIT).click()
    await ann.should_see(words.EDIT_SEVERAL)
    await ann.should_not_see(words.NAME)
    ann.find(words.TAGS).type("sweep, old")
    ann.notify.messages.clear()
    ann.find(marker="save").click()
    await wait_for(lambda: words.SAVED in ann.notify.messages)
    views = [(await ann.http_client.get(f"/api/v1/runs/{run.id}")).json() for run in (one, two)]
    assert [(view["name"], view["tags"]) for view in views] == [
        ("batch-1", ["old", "sweep"]), ("batch-2", ["sweep", "old"]),
    ]  # fmt: skip
